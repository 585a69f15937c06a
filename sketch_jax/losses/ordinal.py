"""Classes in an order: thresholds on one score, or a number that is cut into classes."""

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Mask, Targets
from sketch_jax.losses.softmax import ClassWeightArray, Scalar, mean_over_rows

ThresholdLogits = Float[Array | np.ndarray, "batch thresholds"]
NumberLogits = Float[Array | np.ndarray, "batch 1"]

LEAST_STEP = 1e-6
"""Least distance of neighbouring thresholds, in logits, so that no class has probability 0."""


def row_weights(targets: Targets, weights: ClassWeightArray | None) -> Float[Array, " batch"]:
    """The weight of each row: the mean over its target of the classes' weights."""
    return jnp.ones(len(targets)) if weights is None else targets @ weights


def exceedance(targets: Targets) -> Float[Array, "batch thresholds"]:
    """Probability that the class lies above each threshold.

    >>> exceedance(jnp.asarray([[0.25, 0.25, 0.5]])).tolist()
    [[0.75, 0.5]]
    """
    return jnp.cumsum(targets[:, ::-1], axis=-1)[:, ::-1][:, 1:]


def ordinal_cross_entropy(
    logits: ThresholdLogits, targets: Targets, mask: Mask, weights: ClassWeightArray | None = None
) -> Scalar:
    """Binary cross-entropy of "above the threshold", summed over thresholds, mean over rows.

    Args:
        logits: one a threshold, one less than there are classes.
        targets: soft labels over the classes, in their order.
        mask: False where a row does not count.
        weights: of the classes, taken by row; None: 1.

    References:
        Cao, Mirjalili and Raschka, Rank consistent ordinal regression (CORAL, arXiv:1901.07884), equation 4
        with equal importance of the thresholds.
    """
    scores, above = jnp.asarray(logits, jnp.float32), exceedance(targets)
    terms = -above * jax.nn.log_sigmoid(scores) - (1.0 - above) * jax.nn.log_sigmoid(-scores)
    return mean_over_rows(jnp.sum(terms, axis=-1) * row_weights(targets, weights), mask)


def ordinal_log_probabilities(logits: ThresholdLogits) -> Float[Array, "batch classes"]:
    """Log-probability of each class, from the logits of "above the threshold".

    Logits that rise from one threshold to the next contradict the order, and are lowered to the one before.
    """
    above = jax.lax.cummin(jnp.asarray(logits, jnp.float32), axis=1)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), each factor as a logarithm.
    step = jnp.maximum(above[:, :-1] - above[:, 1:], LEAST_STEP)
    between = (
        jax.nn.log_sigmoid(above[:, :-1]) + jax.nn.log_sigmoid(-above[:, 1:]) + jnp.log(-jnp.expm1(-step))
    )
    first, last = jax.nn.log_sigmoid(-above[:, :1]), jax.nn.log_sigmoid(above[:, -1:])
    return jnp.concatenate([first, between, last], axis=-1)


def predicted_number(logits: NumberLogits, values: Float[np.ndarray, " classes"]) -> Float[Array, " batch"]:
    """The number that one logit stands for: -1 is the least of the classes' values, 1 the largest."""
    centre, half = (values[-1] + values[0]) / 2.0, (values[-1] - values[0]) / 2.0
    return jnp.asarray(logits, jnp.float32)[:, 0] * float(half) + float(centre)


def squared_error(
    logits: NumberLogits,
    targets: Targets,
    mask: Mask,
    values: Float[np.ndarray, " classes"],
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """Mean squared error of the predicted number, in units of half the values' range.

    Args:
        logits: one a row.
        targets: soft labels; a mixed image's number is the mean of its classes' values.
        mask: False where a row does not count.
        values: number of each class, rising.
        weights: of the classes, taken by row; None: 1.
    """
    numbers = targets @ jnp.asarray(values, jnp.float32)
    return mean_over_rows(_squared_error(logits, numbers, values) * row_weights(targets, weights), mask)


def squared_error_of_numbers(
    logits: NumberLogits,
    targets: Float[Array, "batch classes_and_number"],
    mask: Mask,
    values: Float[np.ndarray, " classes"],
    weights: ClassWeightArray | None = None,
) -> Scalar:
    """The same from true numbers, which stand in a column after the soft labels, mixed as these are."""
    soft, numbers = targets[:, : len(values)], targets[:, len(values) :]
    errors = _squared_error(logits, numbers.reshape(len(targets)), values)
    return mean_over_rows(errors * row_weights(soft, weights), mask)


def _squared_error(
    logits: NumberLogits, numbers: Float[Array, " batch"], values: Float[np.ndarray, " classes"]
) -> Float[Array, " batch"]:
    half = float((values[-1] - values[0]) / 2.0)
    return ((predicted_number(logits, values) - numbers) / half) ** 2


def number_log_probabilities(
    logits: NumberLogits,
    values: Float[np.ndarray, " classes"],
    cuts: Float[np.ndarray, " thresholds"],
    scale: float,
) -> Float[Array, "batch classes"]:
    """Log-probability of each class where the true number is logistic about the predicted one.

    Args:
        logits: one a row.
        values: number of each class, rising.
        cuts: where the next class begins, rising.
        scale: of the logistic distribution, in units of the values.
    """
    number = predicted_number(logits, values)
    return ordinal_log_probabilities((number[:, None] - jnp.asarray(cuts, jnp.float32)[None, :]) / scale)
