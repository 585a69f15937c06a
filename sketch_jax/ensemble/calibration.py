"""Probabilities that mean what they say: temperature and vector scaling, and how far off they are."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from sketch_jax.metrics import CONFIDENCE_BINS, UNIT, count, log_softmax

Logits = Float[np.ndarray, "rows classes"]
Labels = Int[np.ndarray, " rows"]

PRECISE = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9}
"""Where the solver stops."""

TEMPERATURES = (1e-2, 1e2)
"""Between which a temperature is looked for."""


class VectorScaling(NamedTuple):
    """A factor and a summand for the logits of each class."""

    factor: Float[np.ndarray, " classes"]
    summand: Float[np.ndarray, " classes"]

    def __call__(self, logits: Logits) -> Logits:
        """The scaled logits."""
        return logits * self.factor + self.summand


class Reliability(NamedTuple):
    """What a reliability diagram shows, by bins of confidence of equal width."""

    rows: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    """Mean of the largest probabilities; NaN in an empty bin."""
    accuracy: Float[np.ndarray, " bins"]
    """Share of right answers; NaN in an empty bin."""


def find_temperature(logits: Logits, labels: Labels) -> float:
    """The number that divides the logits such that the labels are likeliest; answers stay the same.

    Args:
        logits: on images that the model was not trained on.
        labels: of these images; -1 does not count.

    References:
        Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2.
    """
    logits, labels = _known(logits, labels)
    bounds = np.log(TEMPERATURES)
    found = optimize.minimize_scalar(
        lambda logarithm: _loss(logits / np.exp(logarithm), labels), bounds=tuple(bounds), method="bounded",
        options={"xatol": 1e-8},
    )  # fmt: skip
    return float(np.exp(found.x))


def find_vector_scaling(logits: Logits, labels: Labels, penalty: float = 1e-3) -> VectorScaling:
    """Factors and summands of the logits such that the labels are likeliest; answers may change.

    Args:
        logits: on images that the model was not trained on.
        labels: of these images; -1 does not count.
        penalty: of squared differences from 1 and 0, which keeps classes of few images where they are.

    References:
        Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), section 4.2.
    """
    logits, labels = _known(logits, labels)
    classes = logits.shape[1]
    targets = np.eye(classes)[labels]
    start = np.concatenate([np.ones(classes), np.zeros(classes)])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = log_softmax(logits * values[:classes] + values[classes:])
        error = (np.exp(scaled) - targets) / len(labels)
        gradient = np.concatenate([(error * logits).sum(axis=0), error.sum(axis=0)])
        distance = values - start
        total = -(scaled * targets).sum() / len(labels) + penalty * (distance @ distance)
        return float(total), gradient + 2 * penalty * distance

    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=PRECISE)
    return VectorScaling(found.x[:classes], found.x[classes:])


def reliability(logits: Logits, labels: Labels, bins: int = CONFIDENCE_BINS) -> Reliability:
    """Confidence and accuracy by bins of confidence: what calibration error sums up."""
    counts = count(logits.astype(np.float32), labels, bins)
    rows = counts.bin_rows
    with np.errstate(invalid="ignore"):
        return Reliability(rows, counts.bin_confidence * UNIT / rows, counts.bin_hits / rows)


def _known(
    logits: Logits, labels: Labels
) -> tuple[Float[np.ndarray, "known classes"], Int[np.ndarray, " known"]]:
    known = labels >= 0
    return logits[known].astype(np.float64), labels[known]


def _loss(logits: Logits, labels: Labels) -> float:
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())
