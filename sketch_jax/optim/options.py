"""What a user sets about the optimizer (imports no jax, so that `--help` starts fast)."""

import dataclasses
from typing import Literal

from sketch_jax.optim.ranges import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    AT_LEAST_ZERO,
    BELOW_ONE,
    refuse_out_of_range,
    refuse_several,
)

RANGES = {
    "learning_rate": ABOVE_ZERO,
    "weight_decay": AT_LEAST_ZERO,
    "beta1": BELOW_ONE,
    "beta2": BELOW_ONE,
    "momentum": BELOW_ONE,
    "epsilon": ABOVE_ZERO,
    "delta": AT_LEAST_ZERO,
    "decay_ratio": AT_LEAST_ZERO,
    "iterations": AT_LEAST_ONE,
    "fallback_rate": ABOVE_ZERO,
    "rho": ABOVE_ZERO,
    "clip_norm": ABOVE_ZERO,
    "clip_value": ABOVE_ZERO,
    "clip_ratio": ABOVE_ZERO,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """What every optimizer has. At most one kind of clipping is on."""

    learning_rate: float = 1e-3
    """Peak learning rate, reached at the end of the warm-up. A new head alone wants about 1e-3, full tuning
    of a large transformer about 1e-5."""
    weight_decay: float = 0.0
    """Strength of the weight decay; norms, biases, tokens and position embeddings are not decayed."""
    clip_norm: float | None = None
    """Largest global norm of the gradient; None: no such clipping."""
    clip_value: float | None = None
    """Largest absolute value of a gradient's entry; None: no such clipping."""
    clip_ratio: float | None = None
    """Adaptive clipping, such as 0.01: largest norm of the gradient of a unit's weights over that of these
    weights; classifiers are left out (arXiv:2102.06171). None: no such clipping."""

    def __post_init__(self):
        """Refuses numbers out of their ranges, and two kinds of clipping."""
        refuse_out_of_range("optimizer", vars(self), RANGES)
        refuse_several("optimizer", vars(self), ("clip_norm", "clip_value", "clip_ratio"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Descent):
    """Adam with decoupled weight decay; norms, biases, tokens and position embeddings are not decayed."""

    weight_decay: float = 0.05
    """Share of a weight that is taken away a step, in units of the learning rate."""
    beta1: float = 0.9
    """Decay of the gradient's running mean, in 0 to 1."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """Added to the root of the squared gradient's mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(Descent):
    """Adam, whose weight decay is part of the gradient, as in torch's Adam."""

    weight_decay: float = 0.0
    """Multiple of a weight that is added to its gradient."""
    beta1: float = 0.9
    """Decay of the gradient's running mean, in 0 to 1."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """Added to the root of the squared gradient's mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sgd(Descent):
    """Gradient descent with momentum."""

    learning_rate: float = 0.01
    """Peak learning rate, reached at the end of the warm-up; about ten times that of Adam."""
    weight_decay: float = 0.0
    """Multiple of a weight that is added to its gradient."""
    momentum: float = 0.9
    """Decay of the gradient's running sum, in 0 to 1."""
    nesterov: bool = True
    """Whether the sum is looked at one step ahead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamP(Descent):
    """AdamW whose steps do not lengthen scale-invariant weights (arXiv:2006.08217)."""

    weight_decay: float = 0.01
    """Share of a weight that is taken away a step, in units of the learning rate."""
    beta1: float = 0.9
    """Decay of the gradient's running mean, in 0 to 1."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """Added to the root of the squared gradient's mean, and to norms of weights."""
    delta: float = 0.1
    """Weights are scale-invariant where the cosine between them and their gradient is below this, over the
    root of their number."""
    decay_ratio: float = 0.1
    """Factor of the weight decay of scale-invariant weights."""
    nesterov: bool = False
    """Whether the mean is looked at one step ahead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sgdp(Descent):
    """Gradient descent whose steps do not lengthen scale-invariant weights (arXiv:2006.08217)."""

    learning_rate: float = 0.01
    """Peak learning rate, reached at the end of the warm-up; about ten times that of Adam."""
    weight_decay: float = 0.0
    """Share of a weight that is taken away a step, in units of the learning rate over 1 - momentum."""
    momentum: float = 0.9
    """Decay of the gradient's running sum, in 0 to 1."""
    nesterov: bool = True
    """Whether the sum is looked at one step ahead."""
    epsilon: float = 1e-8
    """Added to norms of weights."""
    delta: float = 0.1
    """Weights are scale-invariant where the cosine between them and their gradient is below this, over the
    root of their number."""
    decay_ratio: float = 0.1
    """Factor of the weight decay of scale-invariant weights."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Madgrad(Descent):
    """Dual averaging with adaptive steps and momentum (arXiv:2101.11075)."""

    weight_decay: float = 0.0
    """Multiple of a weight that is added to its gradient; less is wanted than elsewhere, often none."""
    momentum: float = 0.9
    """Share of the former weights in a step's weights, in 0 to 1."""
    epsilon: float = 1e-6
    """Added to the cube root of the squared gradient's sum, and to the learning rate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lion(Descent):
    """Steps by the sign of a mean of gradients (arXiv:2302.06675)."""

    learning_rate: float = 1e-4
    """Peak learning rate, reached at the end of the warm-up; a third to a tenth of AdamW's."""
    weight_decay: float = 0.5
    """Share of a weight that is taken away a step, in units of the learning rate; three to ten times
    AdamW's."""
    beta1: float = 0.9
    """Share of the running mean in the step, in 0 to 1."""
    beta2: float = 0.99
    """Decay of the gradient's running mean, in 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Muon(Descent):
    """Orthogonal steps for hidden matrices and kernels, AdamW for all else.

    All else: classifiers, kernels that read pixels, embeddings, norms, biases, kernels of one input channel
    a group, and matrices with a side below 4 or one 128 times the other.
    """

    weight_decay: float = 0.05
    """Share of a weight that is taken away a step, in units of the learning rate."""
    momentum: float = 0.95
    """Decay of the gradient's running mean where steps are orthogonal, in 0 to 1."""
    nesterov: bool = True
    """Whether that mean is looked at one step ahead."""
    iterations: int = 5
    """Newton-Schulz iterations a step."""
    scale: Literal["adamw", "shape"] = "adamw"
    """Size of an orthogonal step: `adamw`: entries as large as AdamW's, so that AdamW's learning rate fits
    (arXiv:2502.16982); `shape`: the root of outputs over inputs, at least 1, which wants about 0.02."""
    fallback_rate: float = 1.0
    """Factor of the learning rate where AdamW is used."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's running mean, in 0 to 1."""
    beta2: float = 0.95
    """AdamW's decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """AdamW's, added to the root of the squared gradient's mean."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamW(Descent):
    """AdamW on a point between the newest weights and their mean, which predicts (arXiv:2405.15682).

    The mean stands for a falling learning rate: the schedule to take is `Constant` with a warm-up.
    """

    weight_decay: float = 0.05
    """Share of a weight that is taken away a step, in units of the learning rate."""
    beta1: float = 0.9
    """Share of the mean in the point where gradients are taken, above 0 and below 1."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean, in 0 to 1."""
    epsilon: float = 1e-8
    """Added to the root of the squared gradient's mean."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        super().__post_init__()
        refuse_out_of_range("optimizer", {"beta1": self.beta1}, {"beta1": ABOVE_ZERO})


BaseOptimizer = AdamW | Adam | Sgd | AdamP | Sgdp | Madgrad | Lion | Muon | ScheduleFreeAdamW


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sam:
    """Sharpness-aware: gradients are taken uphill of the weights, at twice the cost (arXiv:2010.01412)."""

    base: BaseOptimizer = AdamW()
    """What makes updates of these gradients."""
    rho: float = 0.05
    """How far uphill, as a norm over all weights; adaptive ones want about ten times as much."""
    adaptive: bool = False
    """Whether the distance is measured in units of each weight's size (arXiv:2102.11600)."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        refuse_out_of_range("optimizer", vars(self), RANGES)


Optimizer = BaseOptimizer | Sam


def base_of(optimizer: Optimizer) -> BaseOptimizer:
    """What makes updates of gradients, however these are taken.

    >>> base_of(Sam(base=Sgd(momentum=0.5))).momentum
    0.5
    """
    return optimizer.base if isinstance(optimizer, Sam) else optimizer
