"""What a user sets about which parameters are trained, and how fast each (imports neither jax nor flax)."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence

from sketch_jax.errors import refuse_faults

ATTENTION_INPUTS = r"(^|/)(attn|token_mixer)/(qkv|qkv_proj|q_proj|k_proj|v_proj)/kernel$"
"""Kernels that make queries, keys and values, of any family, whether fused or split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything:
    """Every parameter is trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOnly:
    """The head alone is trained: the classifiers, and the norms and maps that timm counts to the head."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionOnly:
    """Attention, the head, position embeddings and class tokens are trained (arXiv:2203.09795).

    Patch embedding, MLPs and norms are frozen, and of CoAtNet and MaxViT also the stem and the first two
    stages.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastBlocks:
    """The last blocks and the head are trained."""

    count: int = 1
    """Blocks before the head, at least 1, as layer decay numbers them; the final norm is part of the last."""

    def __post_init__(self):
        """Refuses what is no number of blocks."""
        faults = [f"--tuning.count {self.count}: must be at least 1"] if self.count < 1 else []
        refuse_faults("no block would be trained", faults, "count from 1, or train the head alone (HeadOnly)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormsAndBiases:
    """Scales and biases of norms, all other biases, and the head are trained (arXiv:2106.10199)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patterns:
    """Parameters are trained whose paths hold a pattern."""

    trained: tuple[str, ...] = ()
    """Regular expressions, found anywhere in a path such as `blocks_3/attn/qkv/kernel`."""
    frozen: tuple[str, ...] = ()
    """Regular expressions of exceptions: what holds one of these stays frozen."""

    def __post_init__(self):
        """Refuses what is no regular expression."""
        faults = [
            *_broken("--tuning.trained", self.trained),
            *_broken("--tuning.frozen", self.frozen),
        ]
        refuse_faults(
            "patterns must be regular expressions", faults, "write `.` for any letter, `\\.` for a dot"
        )
        nothing = [] if self.trained else ["--tuning.trained: holds no pattern"]
        refuse_faults("nothing would be trained", nothing, "name at least one, such as '^head/'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
    """Kernels get a trained product of two narrow matrices, and the head is trained (arXiv:2106.09685)."""

    rank: int = 8
    """Width of the narrow matrices, at least 1."""
    alpha: float = 16.0
    """The product is multiplied by this over the rank; above 0."""
    targets: tuple[str, ...] = (ATTENTION_INPUTS,)
    """Regular expressions, found anywhere in the paths of kernels; those of queries, keys and values by
    default. All but the last axis of a kernel count as its input."""

    def __post_init__(self):
        """Refuses numbers out of their ranges and what is no regular expression."""
        faults = [f"--tuning.rank {self.rank}: must be at least 1"] if self.rank < 1 else []
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            faults.append(f"--tuning.alpha {self.alpha:g}: must be above 0")
        faults += _broken("--tuning.targets", self.targets)
        if not self.targets:
            faults.append("--tuning.targets: holds no pattern")
        refuse_faults("the low-rank changes cannot be made", faults, "change these options")


StageTuning = Everything | HeadOnly | AttentionOnly | LastBlocks | NormsAndBiases | Patterns | Lora


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningStage:
    """What is trained from an epoch on."""

    first_epoch: int
    """Epochs that are over when the stage begins; 0 for the first."""
    tuning: StageTuning
    """What is trained in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Staged:
    """More and more is trained.

    At the border of two stages what was trained keeps its values, and so do running statistics and the
    learning rate's place in its schedule; the optimizer's own state (moments, averages of weights) begins
    anew, since it would lack that of the newly trained parameters.
    """

    stages: tuple[TuningStage, ...] = (
        TuningStage(first_epoch=0, tuning=HeadOnly()),
        TuningStage(first_epoch=3, tuning=Everything()),
    )
    """In order; each trains all that the one before it did. `Lora` may only be the last."""

    def __post_init__(self):
        """Refuses stages that do not follow one another."""
        firsts = [stage.first_epoch for stage in self.stages]
        faults = []
        if not firsts or firsts[0] != 0:
            faults.append("the first stage must begin at epoch 0")
        if any(later <= earlier for earlier, later in itertools.pairwise(firsts)):
            faults.append(f"stages begin at epochs {', '.join(map(str, firsts))}: each must begin later")
        if any(isinstance(stage.tuning, Lora) for stage in self.stages[:-1]):
            faults.append("Lora is followed by another stage: it can only be the last")
        refuse_faults("--tuning.stages do not follow one another", faults, "change first_epoch or the order")


Tuning = StageTuning | Staged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """The learning rate of some parameters."""

    pattern: str
    """Regular expression, found anywhere in a path such as `head/kernel`."""
    factor: float
    """Of the learning rate, at least 0; 0 trains nothing, but is no freezing: memory is used all the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """What the learning rate is multiplied by, parameter by parameter."""

    layer_decay: float = 1.0
    """Factor from each layer to the one before it, above 0 and at most 1; 0.65 to 0.9 is usual, 1 is none.
    The head has the full rate; layers are numbered as timm does (arXiv:2106.08254)."""
    factors: tuple[Rate, ...] = ()
    """Further factors; the first pattern that is found in a path counts."""

    def __post_init__(self):
        """Refuses numbers out of their ranges and what is no regular expression."""
        faults = []
        if not 0.0 < self.layer_decay <= 1.0:
            faults.append(f"--rates.layer-decay {self.layer_decay:g}: must be above 0 and at most 1")
        for rate in self.factors:
            if not (math.isfinite(rate.factor) and rate.factor >= 0):
                faults.append(f"--rates.factors {rate.pattern!r} {rate.factor:g}: must be at least 0")
        faults += _broken("--rates.factors", [rate.pattern for rate in self.factors])
        refuse_faults("factors of the learning rate out of their ranges", faults, "set them in these ranges")


def _broken(flag: str, patterns: Sequence[str]) -> list[str]:
    faults = []
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            faults.append(f"{flag} {pattern!r}: {error}")
    return faults
