"""What a user sets about the optimizer and its schedule (imports no jax, so that `--help` starts fast)."""

import dataclasses


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine down to the final rate."""

    warmup_epochs: float = 1.0
    """Length of the warm-up in epochs; fractions are allowed, 0 is none."""
    initial_learning_rate: float = 1e-6
    """Learning rate of step 0, where there is a warm-up."""
    final_learning_rate: float = 0.0
    """Learning rate that the last step approaches."""
