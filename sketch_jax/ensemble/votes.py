"""Votes: one answer from the probabilities of several models, each of which may have several folds.

A vote gives scores that sum to 1 over the classes. The answer is the class of the largest score; of equal
ones the lowest class comes first.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from sketch_jax.metrics import log_softmax

Scores = Float[np.ndarray, "rows classes"]
Weights = Sequence[float | int] | Float[np.ndarray, " members"] | None
"""Of members, at least 0, not all 0; None: equal ones."""
Method = Literal["soft", "hard", "soft-soft", "soft-hard", "hard-hard"]
Tie = Literal["lowest", "soft"]


LEAST_SCORE = 1e-12
"""Whose logarithm stands for that of all smaller scores, so that one sure mistake is no infinite loss."""


SHARE_OF_TIES = 0.5
"""Of the mean probabilities, which are added to the tied winners' votes: large enough that scores which are
kept in float32 tell them apart."""


def probabilities(logits: Scores) -> Scores:
    """Softmax over the classes, in float64."""
    return np.exp(log_softmax(logits))


def soft_vote(members: Sequence[Scores], weights: Weights = None) -> Scores:
    """The weighted mean of probabilities.

    Args:
        members: probabilities of each.
        weights: of the members.

    >>> soft_vote([np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])]).tolist()
    [[0.75, 0.25]]
    """
    return np.average(np.stack(members), axis=0, weights=weights)


def hard_vote(members: Sequence[Scores], weights: Weights = None, tie: Tie = "lowest") -> Scores:
    """The share of the votes that each class has; a member votes for its likeliest class.

    Args:
        members: probabilities of each.
        weights: of the votes.
        tie: among classes of equally many votes the lowest wins, or that of the largest mean probability.

    >>> hard_vote([np.array([[0.6, 0.4]]), np.array([[0.1, 0.9]]), np.array([[0.3, 0.7]])]).round(2).tolist()
    [[0.33, 0.67]]
    """
    votes = [np.eye(member.shape[1])[member.argmax(axis=1)] for member in members]
    shares = soft_vote(votes, weights)
    return shares if tie == "lowest" else break_ties(shares, soft_vote(members, weights))


def break_ties(shares: Scores, soft: Scores) -> Scores:
    """Shares of votes, with those of the tied winners of each row in the order of their probabilities.

    All that is added goes to winners, so that the order of classes that are not tied stays.
    """
    tied = np.isclose(shares, shares.max(axis=1, keepdims=True), rtol=0, atol=1e-9)
    changed = shares + np.where(tied, soft, 0.0) * SHARE_OF_TIES
    return changed / changed.sum(axis=1, keepdims=True)


def vote(models: Sequence[Sequence[Scores]], method: Method, tie: Tie = "lowest") -> Scores:
    """The scores of models that have several folds each.

    Args:
        models: probabilities of each fold of each model.
        method: `soft`, as `soft-soft`: the mean over all folds of all models. `hard`, as `hard-hard`: each
            fold of each model has a vote. `soft-hard`: the mean over a model's folds, then each model has a
            vote.
        tie: as for `hard_vote`.
    """
    folds = [fold for model in models for fold in model]
    if method in ("soft", "soft-soft"):
        return soft_vote(folds)
    if method in ("hard", "hard-hard"):
        return hard_vote(folds, tie=tie)
    return hard_vote([soft_vote(model) for model in models], tie=tie)
