"""Losses of each class's own sigmoid."""

import jax
from jax import numpy as jnp

from sketch_jax.arrays import Logits, Mask, Targets
from sketch_jax.losses.softmax import LEAST_MISSING, ClassWeightArray, Scalar, mean_over_rows, weighted


def binary_cross_entropy(
    logits: Logits,
    targets: Targets,
    mask: Mask,
    threshold: float | None = None,
    sum_classes: bool = False,
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """Mean binary cross-entropy in nats over the rows that count.

    Args:
        logits: one a class.
        targets: probability of each class.
        mask: False where a row does not count.
        threshold: targets above it become 1 and others 0; None: they stay.
        sum_classes: whether classes are summed, not averaged.
        weights: of the classes; None: 1.

    References:
        timm/loss/binary_cross_entropy.py.
    """
    scores = jnp.asarray(logits, jnp.float32)
    if threshold is not None:
        targets = (targets > threshold).astype(jnp.float32)
    terms = -targets * jax.nn.log_sigmoid(scores) - (1.0 - targets) * jax.nn.log_sigmoid(-scores)
    reduce = jnp.sum if sum_classes else jnp.mean
    return mean_over_rows(reduce(weighted(terms, weights), axis=-1), mask)


def sigmoid_focal(
    logits: Logits,
    targets: Targets,
    mask: Mask,
    gamma: float,
    alpha: float | None,
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """Binary cross-entropy, summed over classes, in which each term has the factor (1 - p_t)^gamma.

    Args:
        logits: one a class.
        targets: probability of each class.
        mask: False where a row does not count.
        gamma: at least 0.
        alpha: weight of positive terms, negative ones have 1 - alpha; None: both have 1.
        weights: of the classes; None: 1.

    References:
        Lin et al. (arXiv:1708.02002), equation 5; torchvision/ops/focal_loss.py for soft targets.
    """
    scores = jnp.asarray(logits, jnp.float32)
    entropy = -targets * jax.nn.log_sigmoid(scores) - (1.0 - targets) * jax.nn.log_sigmoid(-scores)
    missing = targets * jax.nn.sigmoid(-scores) + (1.0 - targets) * jax.nn.sigmoid(scores)
    terms = entropy * jnp.maximum(missing, LEAST_MISSING) ** gamma
    if alpha is not None:
        terms = terms * (alpha * targets + (1.0 - alpha) * (1.0 - targets))
    return mean_over_rows(jnp.sum(weighted(terms, weights), axis=-1), mask)


def sigmoid_asymmetric(
    logits: Logits,
    targets: Targets,
    mask: Mask,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """Binary cross-entropy, summed over classes, focused by powers of their own for right and wrong classes.

    Args:
        logits: one a class.
        targets: probability of each class.
        mask: False where a row does not count.
        gamma_positive: power for right classes.
        gamma_negative: power for wrong classes.
        clip: probability up to which a wrong class costs nothing.
        weights: of the classes; None: 1.

    References:
        Ridnik et al. (arXiv:2009.14119), equations 4 to 7; timm/loss/asymmetric_loss.py
        (AsymmetricLossMultiLabel), whose floor under the logarithm is not needed here.
    """
    scores = jnp.asarray(logits, jnp.float32)
    probabilities = jax.nn.sigmoid(scores)
    if clip:
        absent = jnp.minimum(jax.nn.sigmoid(-scores) + clip, 1.0)
        log_absent, shifted = jnp.log(absent), jnp.maximum(probabilities - clip, 0.0)
    else:
        log_absent, shifted = jax.nn.log_sigmoid(-scores), probabilities
    entropy = -targets * jax.nn.log_sigmoid(scores) - (1.0 - targets) * log_absent
    missing = targets * jax.nn.sigmoid(-scores) + (1.0 - targets) * shifted
    powers = gamma_positive * targets + gamma_negative * (1.0 - targets)
    terms = entropy * jnp.maximum(missing, LEAST_MISSING) ** powers
    return mean_over_rows(jnp.sum(weighted(terms, weights), axis=-1), mask)
