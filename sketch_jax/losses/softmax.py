"""Losses of the softmax over classes."""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Logits, Mask, Targets

Scalar = Float[Array, ""]
ClassWeightArray = Float[Array, " classes"]

LEAST_MISSING = 1e-7
"""Least missing probability, about that of float32: powers of it keep finite gradients."""


def smooth_targets(targets: Targets, smoothing: float) -> Targets:
    """Targets mixed with the uniform distribution; rows still sum to 1.

    Args:
        targets: soft labels.
        smoothing: weight of the uniform distribution, in 0 to 1.

    References:
        Szegedy et al., Rethinking the Inception Architecture (2016), section 7.
    """
    return targets * (1.0 - smoothing) + smoothing / targets.shape[-1]


def mean_over_rows(losses: Float[Array, " batch"], mask: Mask) -> Scalar:
    """Mean over the rows that count."""
    return jnp.sum(jnp.where(mask, losses, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def weighted(terms: Float[Array, "batch classes"], weights: ClassWeightArray | None) -> Array:
    """Terms of each class, times the weights of the classes if there are any."""
    return terms if weights is None else terms * weights[None, :]


def log_probabilities_of(logits: Logits) -> Float[Array, "batch classes"]:
    """Logarithm of the softmax, float32."""
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)


def cross_entropy(
    logits: Logits, targets: Targets, mask: Mask, weights: ClassWeightArray | None = None
) -> Scalar:
    """Mean cross-entropy in nats over the rows that count.

    Args:
        logits: unnormalised scores.
        targets: soft labels that sum to 1.
        mask: False where a row does not count.
        weights: of the classes; None: 1. The divisor is the number of rows, as in torch for soft targets.
    """
    terms = weighted(-targets * log_probabilities_of(logits), weights)
    return mean_over_rows(jnp.sum(terms, axis=-1), mask)


def logit_adjusted(
    logits: Logits, targets: Targets, mask: Mask, log_shares: ClassWeightArray, tau: float
) -> Scalar:
    """Cross-entropy of logits to which tau times the log shares are added.

    References:
        Menon et al., Long-tail learning via logit adjustment (arXiv:2007.07314), equation 10.
    """
    return cross_entropy(jnp.asarray(logits, jnp.float32) + tau * log_shares[None, :], targets, mask)


def focal(
    logits: Logits, targets: Targets, mask: Mask, gamma: float, weights: ClassWeightArray | None = None
) -> Scalar:
    """Cross-entropy in which each term has the factor (1 - p)^gamma.

    References:
        Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002), equation 4, over the softmax.
    """
    log_probabilities = log_probabilities_of(logits)
    missing = jnp.maximum(-jnp.expm1(log_probabilities), LEAST_MISSING)
    terms = weighted(-targets * missing**gamma * log_probabilities, weights)
    return mean_over_rows(jnp.sum(terms, axis=-1), mask)


def asymmetric(
    logits: Logits,
    targets: Targets,
    mask: Mask,
    gamma_positive: float,
    gamma_negative: float,
    smoothing: float,
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """Cross-entropy focused by (1 - p)^gamma_positive for right classes and p^gamma_negative for wrong ones.

    Args:
        logits: unnormalised scores.
        targets: soft labels, not smoothed: which classes are right does not depend on smoothing.
        mask: False where a row does not count.
        gamma_positive: power for right classes.
        gamma_negative: power for wrong classes.
        smoothing: weight of the uniform distribution in the targets.
        weights: of the classes; None: 1.

    References:
        Ridnik et al., Asymmetric Loss For Multi-Label Classification (arXiv:2009.14119); timm/loss/
        asymmetric_loss.py (AsymmetricLossSingleLabel), extended to soft targets by its own formula.
    """
    log_probabilities = log_probabilities_of(logits)
    missing = targets * -jnp.expm1(log_probabilities) + (1.0 - targets) * jnp.exp(log_probabilities)
    powers = gamma_positive * targets + gamma_negative * (1.0 - targets)
    focused = jnp.maximum(missing, LEAST_MISSING) ** powers * log_probabilities
    terms = weighted(-smooth_targets(targets, smoothing) * focused, weights)
    return mean_over_rows(jnp.sum(terms, axis=-1), mask)


def soft_macro_f1(logits: Logits, targets: Targets, mask: Mask) -> Scalar:
    """One minus the mean of F1 over the classes that the batch's targets hold, with probabilities for counts.

    Where every probability is 0 or 1 it is one minus the macro F1 of the answers over these classes.
    """
    rows = jnp.asarray(mask, jnp.float32).reshape(-1, 1)
    probabilities = jax.nn.softmax(jnp.asarray(logits, jnp.float32), axis=-1) * rows
    targets = targets * rows
    positives = jnp.sum(targets, axis=0)
    hits = jnp.sum(probabilities * targets, axis=0)
    there = positives > 0.0
    scores = 2.0 * hits / jnp.where(there, jnp.sum(probabilities, axis=0) + positives, 1.0)
    return 1.0 - jnp.sum(jnp.where(there, scores, 0.0)) / jnp.maximum(jnp.sum(there), 1)
