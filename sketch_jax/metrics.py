"""Metrics over logits and labels on the host; rows of unknown label (-1) do not count."""

import numpy as np
from jaxtyping import Float, Int

LogitRows = Float[np.ndarray, "rows classes"]
LabelRows = Int[np.ndarray, " rows"]


def log_softmax(logits: LogitRows) -> LogitRows:
    """Logarithm of the softmax over classes, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(logits: LogitRows, labels: LabelRows) -> float:
    """Mean negative log-likelihood in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def accuracy(logits: LogitRows, labels: LabelRows) -> float:
    """Share of rows whose largest logit is the label's; ties go to the lowest class.

    >>> accuracy(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    """
    return float((logits.argmax(axis=-1) == labels).mean())


def top_k_accuracy(logits: LogitRows, labels: LabelRows, k: int) -> float:
    """Share of rows whose label is among the k largest logits; ties go to the lowest class."""
    largest = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    return float((largest == labels[:, None]).any(axis=-1).mean())


def macro_f1(logits: LogitRows, labels: LabelRows) -> float:
    """Unweighted mean of F1 over the classes that occur as a label or an answer."""
    classes = logits.shape[-1]
    confusion = np.bincount(labels * classes + logits.argmax(axis=-1), minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    occurrences = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurring = occurrences > 0
    return float((2 * np.diag(confusion)[occurring] / occurrences[occurring]).mean())


def summarise(logits: LogitRows, labels: LabelRows) -> dict[str, float]:
    """Accuracy, top-5 accuracy, macro F1 and loss over the rows with a known label; empty without any."""
    known = labels >= 0
    if not known.any():
        return {}
    logits, labels = logits[known], labels[known]
    return {
        "accuracy": accuracy(logits, labels),
        "top5_accuracy": top_k_accuracy(logits, labels, 5),
        "macro_f1": macro_f1(logits, labels),
        "loss": cross_entropy(logits, labels),
    }
