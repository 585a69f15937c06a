"""Metrics over logits and labels on the host; rows of unknown label (-1) do not count.

`count` turns rows into counts, which `merge` to the very counts of all rows at once, in whatever parts they
come; `summary` makes metrics of them. What is a sum of fractions is counted in whole units of 2^-24.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.tasks import Tasks, membership

LogitRows = Float[np.ndarray, "rows classes"]
LabelRows = Int[np.ndarray, " rows"]

CONFIDENCE_BINS = 15
UNIT = 2.0**-24
LARGEST_LOSS = 2.0**16
"""Nats that a row counts at most, so that sums of millions of rows fit their integers."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """What metrics are made of, as whole numbers: sums do not depend on their order."""

    confusion: Int[np.ndarray, "classes classes"]
    """Rows of each label (first axis) and answer (second axis)."""
    ranks: Int[np.ndarray, " classes"]
    """Rows whose label has the largest logit, the second largest and so on; of equal logits the lower class
    comes first."""
    bin_rows: Int[np.ndarray, " bins"]
    """Rows whose largest probability lies in each bin."""
    bin_hits: Int[np.ndarray, " bins"]
    """Those of them that are answered rightly."""
    bin_confidence: Int[np.ndarray, " bins"]
    """Sum of their largest probabilities, in units."""
    loss: int
    """Sum of negative log-likelihoods, in units."""
    not_finite: int
    """Rows whose negative log-likelihood is no number; they make the loss one, too."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.confusion.sum())


def count(logits: LogitRows, labels: LabelRows, bins: int = CONFIDENCE_BINS) -> Counts:
    """The counts of some rows; may be of none.

    Args:
        logits: of all rows.
        labels: class indices; rows of -1 are left out.
        bins: of equal width, for the calibration error.
    """
    known = labels >= 0
    logits, labels = logits[known], labels[known]
    classes = logits.shape[-1]
    answers = logits.argmax(axis=-1)
    order = np.argsort(-logits, axis=-1, kind="stable")
    log_probabilities = log_softmax(logits)
    losses = -log_probabilities[np.arange(len(labels)), labels]
    finite = np.isfinite(losses)
    confidence = np.nan_to_num(np.exp(log_probabilities.max(axis=-1)))
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    confusion = np.bincount(labels * classes + answers, minlength=classes**2)
    in_units = np.zeros(bins, np.int64)
    np.add.at(in_units, bin_of, np.rint(confidence / UNIT).astype(np.int64))
    return Counts(
        confusion=confusion.reshape(classes, classes),
        ranks=np.bincount((order == labels[:, None]).argmax(axis=-1), minlength=classes),
        bin_rows=np.bincount(bin_of, minlength=bins),
        bin_hits=np.bincount(bin_of[answers == labels], minlength=bins),
        bin_confidence=in_units,
        loss=int(np.rint(np.minimum(losses[finite], LARGEST_LOSS) / UNIT).astype(np.int64).sum()),
        not_finite=int((~finite).sum()),
    )


def merge(first: Counts, second: Counts) -> Counts:
    """The counts of the rows of both."""
    fields = [field.name for field in dataclasses.fields(Counts)]
    return Counts(**{name: getattr(first, name) + getattr(second, name) for name in fields})


def summary(counts: Counts) -> dict[str, float]:
    """The metrics of `metric_names.Metric`; empty without any row.

    The balanced accuracy is the mean recall of the classes that have rows, the worst recall the least.
    """
    if not counts.rows:
        return {}
    recalls = per_class_recall(counts)
    return {
        "accuracy": float(counts.ranks[:1].sum() / counts.rows),
        "top5_accuracy": float(counts.ranks[:5].sum() / counts.rows),
        "balanced_accuracy": float(np.nanmean(recalls)),
        "worst_recall": float(np.nanmin(recalls)),
        "macro_f1": macro_f1(counts.confusion),
        "loss": float("nan") if counts.not_finite else counts.loss * UNIT / counts.rows,
        "expected_calibration_error": calibration_error(counts),
    }


def task_summaries(counts: Counts, tasks: Tasks | None) -> dict[str, float]:
    """Accuracy and macro-F1 of each task, as `task/metric`; a class's answer is one to every task.

    Args:
        counts: of the classes.
        tasks: what they are made of; None: one task, of which there is nothing more to say.
    """
    found: dict[str, float] = {}
    if tasks is None or not counts.rows:
        return found
    for index, name in enumerate(tasks.names):
        of_task = membership(tasks, index).astype(np.int64)
        confusion = of_task.T @ counts.confusion @ of_task
        found[f"{name}/accuracy"] = float(np.trace(confusion) / counts.rows)
        found[f"{name}/macro_f1"] = macro_f1(confusion)
    return found


def summarise(logits: LogitRows, labels: LabelRows) -> dict[str, float]:
    """The metrics over the rows with a known label; empty without any."""
    return summary(count(logits, labels))


def calibration_error(counts: Counts) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by their rows.

    References:
        Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), equation 3; bins are
        ((m - 1) / M, m / M].
    """
    gaps = np.abs(counts.bin_hits - counts.bin_confidence * UNIT)
    return float(gaps.sum() / counts.rows)


def per_class_recall(counts: Counts) -> Float[np.ndarray, " classes"]:
    """Share of each class's rows that are answered rightly; NaN for a class without rows."""
    rows = counts.confusion.sum(axis=1)
    return np.where(rows > 0, np.diag(counts.confusion) / np.maximum(rows, 1), np.nan)


def macro_f1(confusion: Int[np.ndarray, "classes classes"]) -> float:
    """Unweighted mean of F1 over the classes that occur as a label or an answer.

    Args:
        confusion: rows of each label and answer.

    >>> round(macro_f1(np.array([[1, 1], [0, 2]])), 3)  # the mean of 2/3 and 4/5
    0.733
    """
    occurrences = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = 2 * np.diag(confusion) / np.maximum(occurrences, 1)
    return float(scores[occurrences > 0].mean())


def log_softmax(logits: LogitRows) -> LogitRows:
    """Logarithm of the softmax over classes, in float64; NaN in rows that are not finite."""
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
