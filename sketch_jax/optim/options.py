"""What a user sets about the optimizer and its schedule (imports no jax, so that `--help` starts fast)."""

import dataclasses
import math
from collections.abc import Callable

from sketch_jax.errors import refuse_faults


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay; norms, biases, tokens and position embeddings are not decayed."""

    learning_rate: float = 1e-3
    """Peak learning rate, reached at the end of the warm-up. A new head alone wants about 1e-3, full tuning
    of a large transformer about 1e-5."""
    weight_decay: float = 0.05
    """Share of a weight that is taken away a step, in units of the learning rate."""
    beta1: float = 0.9
    """Decay of the gradient's running mean, in 0 to 1."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """Added to the root of the squared gradient's mean."""
    clip_norm: float | None = None
    """Largest global norm of the gradient; None: no clipping."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        above_zero = {"learning_rate": self.learning_rate, "epsilon": self.epsilon}
        if self.clip_norm is not None:
            above_zero["clip_norm"] = self.clip_norm
        faults = _faults("optimizer", above_zero, lambda value: value > 0, "above 0")
        decay = {"weight_decay": self.weight_decay}
        faults += _faults("optimizer", decay, lambda value: value >= 0, "at least 0")
        betas = {"beta1": self.beta1, "beta2": self.beta2}
        faults += _faults("optimizer", betas, lambda value: 0 <= value < 1, "at least 0 and below 1")
        refuse_faults("numbers of the optimizer out of their ranges", faults, "set them in these ranges")


def _faults(record: str, values: dict[str, float], allows: Callable[[float], bool], wanted: str) -> list[str]:
    return [
        f"--{record}.{name.replace('_', '-')} {value:g}: must be {wanted}"
        for name, value in values.items()
        if not (math.isfinite(value) and allows(value))
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine down to the final rate."""

    warmup_epochs: float = 1.0
    """Length of the warm-up in epochs; fractions are allowed, 0 is none."""
    initial_learning_rate: float = 1e-6
    """Learning rate of step 0, where there is a warm-up."""
    final_learning_rate: float = 0.0
    """Learning rate that the last step approaches."""

    def __post_init__(self):
        """Refuses negative lengths and rates."""
        faults = _faults("schedule", dataclasses.asdict(self), lambda value: value >= 0, "at least 0")
        refuse_faults("numbers of the schedule out of their ranges", faults, "set them in these ranges")
