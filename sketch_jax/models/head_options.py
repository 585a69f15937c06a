"""What a user sets about the head (imports neither jax nor flax, so that `--help` starts fast)."""

import dataclasses
from typing import Literal

from sketch_jax.errors import refuse_faults

HeadStart = Literal["default", "xavier_uniform", "truncated_normal"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What follows the pooled features; the defaults are timm's head: one linear map."""

    hidden: tuple[int, ...] = ()
    """Widths of hidden layers, each with an activation, such as `1024` for an MLP; none: one linear map."""
    activation: Literal["relu", "gelu"] = "relu"
    """After each hidden layer."""
    dropout: float = 0.0
    """Probability that a feature of a hidden layer is left out in training; `--model.dropout` is that of the
    pooled features before the first layer."""
    start: HeadStart = "default"
    """New weights: as timm's for a linear map and torch's for an MLP (`default`), Xavier-uniform, or normal
    with deviation 0.02 as timm's transformers; biases of the last two are zero."""
    rows: str | None = None
    """JSON file from class names to rows of the pretrained classifier: the linear map starts from those rows,
    and classes that the file does not name start new. With `--epochs 0` a classifier without training."""
    dropout_samples: int = 1
    """Dropout masks in each step, at least 1: the loss is the mean over that many (multi-sample dropout);
    the features are computed once."""

    def __post_init__(self):
        """Refuses what no head can have."""
        faults = [f"--model.head.hidden {width}: must be at least 1" for width in self.hidden if width < 1]
        if not 0.0 <= self.dropout < 1.0:
            faults.append(f"--model.head.dropout {self.dropout:g}: must be at least 0 and below 1")
        if self.dropout and not self.hidden:
            faults.append("--model.head.dropout: it is of hidden layers; set --model.head.hidden, too")
        if self.dropout_samples < 1:
            faults.append(f"--model.head.dropout-samples {self.dropout_samples}: must be at least 1")
        if self.rows is not None and self.hidden:
            faults.append("--model.head.rows: rows fit one linear map; leave --model.head.hidden out")
        refuse_faults("the head cannot be built", faults, "change these options")
