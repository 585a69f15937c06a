"""Losses over soft targets, in float32 log space."""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Logits, Mask, Targets


def smooth_targets(targets: Targets, smoothing: float) -> Targets:
    """Targets mixed with the uniform distribution; rows still sum to 1.

    Args:
        targets: soft labels.
        smoothing: weight of the uniform distribution, in 0 to 1.

    References:
        Szegedy et al., Rethinking the Inception Architecture (2016), section 7.
    """
    return targets * (1.0 - smoothing) + smoothing / targets.shape[-1]


def cross_entropy(logits: Logits, targets: Targets, mask: Mask) -> Float[Array, ""]:
    """Mean cross-entropy in nats over the rows that count.

    Args:
        logits: unnormalised scores.
        targets: soft labels that sum to 1.
        mask: False where a row does not count.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    losses = -jnp.sum(targets * log_probabilities, axis=-1)
    return jnp.sum(losses * mask) / jnp.maximum(jnp.sum(mask), 1)
