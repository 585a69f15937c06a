"""How the predictions of several views of an image become one."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from sketch_jax.ensemble.votes import LEAST_SCORE, Scores, probabilities
from sketch_jax.metrics import log_softmax
from sketch_jax.tasks import Tasks, membership

Logits = Float[np.ndarray, "rows classes"]
Labels = Int[np.ndarray, " rows"]
Merge = Literal["mean_logits", "mean", "geometric_mean", "max", "min", "sharpened_mean"]

SHARPENING = 0.5
"""Power of the probabilities of `sharpened_mean`: ttach's `tsharpen`."""


def merge(views: Sequence[Logits], how: Merge) -> Scores:
    """Scores that sum to 1 from the logits of several views.

    Args:
        views: logits of each.
        how: `mean_logits`: the softmax of their mean; the others merge probabilities. `sharpened_mean` takes
            the mean of their roots.

    References:
        ttach/base.py, `Merger`, whose scores do not sum to 1; the order of classes is the same.
    """
    if how == "mean_logits":
        return probabilities(np.mean(np.stack(views).astype(np.float64), axis=0))
    merged = _merged(np.stack([probabilities(view) for view in views]), how)
    return merged / merged.sum(axis=1, keepdims=True)


def _merged(parts: Float[np.ndarray, "views rows classes"], how: Merge) -> Scores:
    match how:
        case "geometric_mean":
            return np.exp(np.log(np.maximum(parts, np.finfo(np.float64).tiny)).mean(axis=0))
        case "max":
            return parts.max(axis=0)
        case "min":
            return parts.min(axis=0)
        case "sharpened_mean":
            return (parts**SHARPENING).mean(axis=0)
        case _:
            return parts.mean(axis=0)


class Turned(NamedTuple):
    """What a view does to the answers of another."""

    to_wrong: int
    """Rows that the other answers rightly, and it does not."""
    to_right: int


def turned_answers(before: Scores, after: Scores, labels: Labels) -> Turned:
    """How many answers turn wrong and right; rows of unknown label do not count.

    >>> right, wrong = np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])
    >>> turned_answers(right, wrong, np.array([0]))
    Turned(to_wrong=1, to_right=0)
    """
    known = labels >= 0
    was, now = (scores[known].argmax(axis=1) == labels[known] for scores in (before, after))
    return Turned(int((was & ~now).sum()), int((~was & now).sum()))


def learn_class_weights(
    views: Sequence[Logits], labels: Labels, penalty: float = 1e-2
) -> Float[np.ndarray, "views classes"]:
    """Weights of each view for each class, at least 0, under which the labels are likeliest.

    The logits of a class are added by its weights. They begin equal, and are drawn there by the penalty.

    Args:
        views: logits of each, on images that the model was not trained on.
        labels: of these images; -1 does not count.
        penalty: of squared differences from equal weights.

    References:
        Shanmugam et al., Better Aggregation in Test-Time Augmentation (arXiv:2011.11156), section 4.2.
    """
    known = labels >= 0
    stacked = np.stack(views).astype(np.float64)[:, known]
    targets = np.eye(stacked.shape[2])[labels[known]]
    shape = len(stacked), stacked.shape[2]
    start = np.full(shape, 1.0 / len(stacked))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = values.reshape(shape)
        answers = log_softmax(np.einsum("vrc,vc->rc", stacked, weights))
        error = (np.exp(answers) - targets) / len(targets)
        distance = weights - start
        total = -(answers * targets).sum() / len(targets) + penalty * np.square(distance).sum()
        return float(total), (np.einsum("vrc,rc->vc", stacked, error) + 2 * penalty * distance).ravel()

    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    bounds = [(0.0, None)] * start.size
    found = optimize.minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return found.x.reshape(shape)


def change_one_task(before: Scores, after: Scores, tasks: Tasks, index: int) -> Scores:
    """The scores of classes where those of one task are taken from elsewhere, and of the others stay.

    Args:
        before: of classes that are combinations of the tasks' classes; the tasks are independent in it.
        after: likewise; what it says of the task counts.
        tasks: what the classes are made of.
        index: of the task.
    """
    of_task = membership(tasks, index)
    was, becomes = before @ of_task, after @ of_task
    changed = before * ((becomes / np.maximum(was, LEAST_SCORE)) @ of_task.T)
    return changed / changed.sum(axis=1, keepdims=True)
