"""What a user sets about the model (imports neither jax nor flax, so that `--help` starts fast)."""

import dataclasses
from typing import Literal

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.models.head_options import HeadOptions

Remat = Literal["none", "all", "dots"]
"""What the backward pass computes again: nothing, all of each block, all but products of matrices."""

Precision = Literal["auto", "float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Architecture, start weights, and how the model is computed."""

    name: str | None = None
    """timm's name of the architecture, such as `vit_small_patch16_224`; None: what the weights say."""
    pretrained: str | None = None
    """Start weights: a name on the hub such as `timm/vit_small_patch16_224.augreg_in21k_ft_in1k`,
    `local-dir:PATH` (a folder with timm's `config.json` and `model.safetensors`), or a `.safetensors` file;
    None: everything is newly made."""
    head: HeadOptions = HeadOptions()
    """What follows the pooled features."""
    dropout: float = 0.0
    """Probability that a pooled feature is left out before the head, 0 to below 1."""
    drop_path: float = 0.0
    """Probability that a residual branch is left out for an image, 0 to below 1: this rate in the last block,
    less in earlier ones, none in the first."""
    precision: Precision = "auto"
    """Type of the computation; parameters, statistics and logits are float32 in any case. `auto`: bfloat16 on
    accelerators, float32 on a CPU."""
    frozen_precision: Literal["float32", "bfloat16"] = "float32"
    """Type in which parameters are kept that are never trained; `bfloat16` halves their memory, and rounds
    them."""
    scan_blocks: bool = False
    """Whether the equal blocks of a vision transformer train as one loop over stacked parameters: deep models
    compile in a fraction of the time; parameters on disk are the same."""
    remat: Remat = "none"
    """What the backward pass computes again: `none`; `all` of each block: far less memory, about a third more
    time; all but products of matrices (`dots`): less memory in transformers, little more time.
    On a CPU it saves memory with `scan_blocks` alone."""

    def __post_init__(self):
        """Refuses probabilities that are none."""
        faults = [
            f"--model.{name.replace('_', '-')} {rate}"
            for name, rate in (("dropout", self.dropout), ("drop_path", self.drop_path))
            if not 0.0 <= rate < 1.0
        ]
        refuse_faults("rates of the model must be at least 0 and below 1", faults, "set them in that range")
        if self.head.dropout_samples > 1 and not self.dropout:
            raise InputError(
                f"--model.head.dropout-samples {self.head.dropout_samples}: without dropout all samples are "
                "the same; set --model.dropout, too"
            )
