"""What a submission may score, from its agreement with submissions whose scores are known."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from sketch_jax.errors import InputError

Answers = Int[np.ndarray, " rows"]
NORMAL_90 = 1.6448536269514722
"""Standard deviations on either side of the mean that hold nine tenths of a normal distribution."""


LEAST_SPREAD = 0.25
"""Deviation of how much a submission's answers count, in units of log odds, where little is known of it."""


class Estimate(NamedTuple):
    """Accuracies from 0 to 1."""

    score: float
    low: float
    """Of the interval that holds nine tenths of what is likely."""
    high: float
    least: float
    """That the known scores allow at all."""
    most: float


class Pattern(NamedTuple):
    """Which submissions answer alike, on how many rows."""

    groups: tuple[int, ...]
    """Number of the answer of each submission, the new one last; equal numbers are equal answers."""
    rows: int


def estimate_score(
    new: Answers, scored: Sequence[Answers], scores: Sequence[float], class_count: int
) -> Estimate:
    """What a submission may score.

    The likely labels are those of the largest entropy under which every scored submission has its score,
    where an answer counts the more, the better the submission is that gives it; the new one counts as much as
    the scored ones on average. So a copy of a scored submission has its score, and one that stands alone
    against a single scored one is as likely right as it. The interval allows for chance, and for a new one
    whose answers count more or less than that, as those of the scored ones differ among themselves.

    Args:
        new: class index of each row.
        scored: of the same rows, one a scored submission; at least one.
        scores: their accuracies.
        class_count: classes that a row may be of.

    Raises:
        InputError: no labels have these scores.

    References:
        Jaynes, Information theory and statistical mechanics (1957).
    """
    patterns = find_patterns([*scored, new])
    least, most = _bounds(patterns, scores)
    weights = _fit(patterns, scores, class_count, 0.0)
    spread = max(LEAST_SPREAD, float(np.std(weights[:-1], ddof=1)) if len(scores) > 1 else 0.0)
    expected, *ends = (
        _expected(patterns, _fit(patterns, scores, class_count, shift), class_count)[-1]
        for shift in (0.0, -NORMAL_90 * spread, NORMAL_90 * spread)
    )
    chance = NORMAL_90 * _deviation(patterns, weights, class_count)
    score = float(np.clip(expected, least, most))
    low = score - np.hypot(chance, max(score - ends[0], 0.0))
    high = score + np.hypot(chance, max(ends[1] - score, 0.0))
    return Estimate(score, float(np.clip(low, least, score)), float(np.clip(high, score, most)), least, most)


def _fit(
    patterns: Sequence[Pattern], scores: Sequence[float], class_count: int, shift: float
) -> Float[np.ndarray, " submissions"]:
    """How much answers of each submission count, such that the scored ones have their scores.

    Args:
        patterns: of all submissions, the new one last.
        scores: of the others.
        class_count: classes that a row may be of.
        shift: by which the new one counts more than the others on average.
    """

    def whole(weights: Float[np.ndarray, " scored"]) -> Float[np.ndarray, " submissions"]:
        return np.append(weights, weights.mean() + shift)

    found = optimize.least_squares(
        lambda weights: _expected(patterns, whole(weights), class_count)[:-1] - np.asarray(scores),
        np.ones(len(scores)), xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    return whole(found.x)


def find_patterns(submissions: Sequence[Answers]) -> list[Pattern]:
    """Rows counted by which submissions answer alike.

    >>> find_patterns([np.array([3, 3, 1]), np.array([3, 0, 0])])
    [Pattern(groups=(0, 0), rows=1), Pattern(groups=(0, 1), rows=2)]
    """
    counts: Counter[tuple[int, ...]] = Counter()
    for row in zip(*(answers.tolist() for answers in submissions), strict=True):
        number: dict[int, int] = {}
        counts[tuple(number.setdefault(answer, len(number)) for answer in row)] += 1
    return [Pattern(groups, rows) for groups, rows in counts.items()]


def _chances(pattern: Pattern, weights: Float[np.ndarray, " submissions"], class_count: int) -> np.ndarray:
    """How likely each answer of a pattern is right; the rest is that of answers nobody gives."""
    support = np.bincount(pattern.groups, weights)
    powers = np.exp(support - support.max())
    others = max(class_count - len(support), 0) * np.exp(-support.max())
    return powers / (powers.sum() + others)


def _expected(
    patterns: Sequence[Pattern], weights: Float[np.ndarray, " submissions"], class_count: int
) -> Float[np.ndarray, " submissions"]:
    """Accuracy of each submission."""
    total = sum(pattern.rows for pattern in patterns)
    right = [
        pattern.rows * _chances(pattern, weights, class_count)[list(pattern.groups)] for pattern in patterns
    ]
    return np.sum(right, axis=0) / total


def _deviation(
    patterns: Sequence[Pattern], weights: Float[np.ndarray, " submissions"], class_count: int
) -> float:
    """Standard deviation of the new accuracy, the others being known: rows are right or wrong by chance."""
    size = len(weights)
    covariance = np.zeros((size, size))
    for pattern in patterns:
        groups = np.array(pattern.groups)
        chances = _chances(pattern, weights, class_count)[groups]
        together = np.where(groups[:, None] == groups[None], chances[:, None], 0.0)
        covariance += pattern.rows * (together - chances[:, None] * chances[None])
    known, mixed = covariance[:-1, :-1], covariance[:-1, -1]
    left = covariance[-1, -1] - mixed @ np.linalg.pinv(known) @ mixed
    return float(np.sqrt(max(left, 0.0))) / sum(pattern.rows for pattern in patterns)


def _bounds(patterns: Sequence[Pattern], scores: Sequence[float]) -> tuple[float, float]:
    """Least and most that labels allow which give the known scores, to half a row."""
    total = sum(pattern.rows for pattern in patterns)
    places = [
        (number, answer)
        for number, pattern in enumerate(patterns)
        for answer in range(max(pattern.groups) + 1)
    ]
    right = np.array([
        [patterns[number].groups[submission] == answer for number, answer in places]
        for submission in range(len(scores) + 1)
    ], float)  # fmt: skip
    in_pattern = np.array(
        [[place[0] == number for place in places] for number in range(len(patterns))], float
    )
    slack = 0.5
    limits = np.concatenate([
        [pattern.rows for pattern in patterns],
        np.asarray(scores) * total + slack,
        slack - np.asarray(scores) * total,
    ])  # fmt: skip
    conditions = np.concatenate([in_pattern, right[:-1], -right[:-1]])
    ends = []
    for sign in (1.0, -1.0):
        found = optimize.linprog(sign * right[-1], A_ub=conditions, b_ub=limits)
        if not found.success:
            raise InputError(
                "no labels give these scores to these submissions: check that each score is of its file, a "
                "share from 0 to 1, and of all its rows"
            )
        ends.append(sign * found.fun / total)
    return ends[0], ends[1]
