"""How much each member of an ensemble counts, found on images that none of them was trained on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.ensemble.votes import LEAST_SCORE, Scores

Labels = Int[np.ndarray, " rows"]
Weights = Float[np.ndarray, " members"]


def accuracy(scores: Scores, labels: Labels) -> float:
    """Share of rows whose largest score is the label's; rows of unknown label do not count."""
    known = labels >= 0
    return float((scores[known].argmax(axis=1) == labels[known]).mean())


def log_loss(scores: Scores, labels: Labels) -> float:
    """Mean negative log-likelihood in nats of scores that sum to 1."""
    return float(-np.log(np.maximum(_of_labels(scores, labels), LEAST_SCORE)).mean())


def learn_weights(members: Sequence[Scores], labels: Labels, steps: int = 1000) -> Weights:
    """The weights of the mean of probabilities under which the labels are likeliest.

    They are at least 0 and sum to 1; the loss is convex in them, and each step lowers it.

    Args:
        members: probabilities of each, on images that it was not trained on.
        labels: of these images; -1 does not count.
        steps: at most.

    References:
        Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm (1977),
        section 4.3: proportions of a mixture of known densities.
    """
    likelihoods = np.stack([_of_labels(member, labels) for member in members], axis=1)
    likelihoods = np.maximum(likelihoods, LEAST_SCORE)
    weights = np.full(len(members), 1.0 / len(members))
    for _ in range(steps):
        shares = likelihoods * weights
        updated = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(updated - weights).max() < 1e-9:
            return updated
        weights = updated
    return weights


def select_greedily(members: Sequence[Scores], labels: Labels, most: int = 50) -> Weights:
    """The weights of a mean to which one member after the other is added, the same one again if it helps.

    Each time it is the one with which accuracy is highest, of equal ones that of the lowest loss, then the
    first. The best of all these means is taken.

    Args:
        members: probabilities of each, on images that it was not trained on.
        labels: of these images; -1 does not count.
        most: additions.

    References:
        Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble selection from libraries of models (2004),
        sections 2.1 and 2.2.
    """
    counts = np.zeros(len(members))
    best, best_counts = (-np.inf, -np.inf), counts
    total = np.zeros_like(members[0])
    for size in range(1, most + 1):
        goodness = [_goodness((total + member) / size, labels) for member in members]
        chosen = max(range(len(members)), key=lambda index: goodness[index])
        total = total + members[chosen]
        counts = counts + np.eye(len(members))[chosen]
        if goodness[chosen] > best:
            best, best_counts = goodness[chosen], counts
    return best_counts / best_counts.sum()


def _goodness(scores: Scores, labels: Labels) -> tuple[float, float]:
    return accuracy(scores, labels), -log_loss(scores, labels)


def _of_labels(scores: Scores, labels: Labels) -> Float[np.ndarray, " known"]:
    known = np.flatnonzero(labels >= 0)
    return scores[known, labels[known]]
