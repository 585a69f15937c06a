"""Scores that are told from agreement: by hand, at their bounds, and against simulated contests."""

import itertools

import numpy as np
import pytest

from sketch_jax.ensemble.agreement import estimate_score
from sketch_jax.errors import InputError

CLASSES = 10


def contest(seed: int, skills, rows: int = 2000):
    """Labels and submissions that are right so often; what is hard for one is hard for all."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, rows)
    trap = (labels + generator.integers(1, CLASSES, rows)) % CLASSES  # the wrong answer that many give
    hardness = generator.normal(size=rows)
    answers = []
    for skill in skills:
        right = generator.normal(size=rows) * 0.7 + hardness < skill
        wrong = np.where(generator.random(rows) < 0.6, trap, generator.integers(0, CLASSES, rows))
        answers.append(np.where(right, labels, wrong))
    return labels, answers


def score(answers, labels) -> float:
    return float((answers == labels).mean())


def test_a_copy_of_a_scored_submission_has_its_score():
    labels, answers = contest(0, (1.0, 0.5, 1.5))
    scores = [score(each, labels) for each in answers]
    for each, expected in zip(answers, scores, strict=True):
        found = estimate_score(each, answers, scores, CLASSES)
        assert found == pytest.approx((expected,) * 5, abs=1e-3)


def test_alone_against_a_single_scored_one_either_is_as_likely_right():
    labels, (first, second) = contest(1, (1.0, 1.0))
    found = estimate_score(second, [first], [score(first, labels)], CLASSES)
    assert found.score == pytest.approx(score(first, labels), abs=2e-3)
    agreement = (first == second).mean()
    known = score(first, labels)
    assert found.most == pytest.approx(min(known + 1 - agreement, 1 + agreement - known), abs=1e-3)
    assert found.least == pytest.approx(max(known - (1 - agreement), 0.0), abs=1e-3)


def test_bounds_are_those_of_all_labels_by_trial():
    first, second, new = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.array([0, 1, 2, 2])
    for scores in ((0.5, 0.5), (0.25, 0.75), (1.0, 0.5)):
        possible = [
            score(new, np.array(labels))
            for labels in itertools.product(range(4), repeat=4)
            if (score(first, np.array(labels)), score(second, np.array(labels))) == scores
        ]
        found = estimate_score(new, [first, second], scores, 4)
        # Known to half a row, so that a score that was rounded is no contradiction.
        assert found.least <= min(possible) <= max(possible) <= found.most
        assert found.least > min(possible) - 0.3
        assert found.most < max(possible) + 0.3


def test_nine_in_ten_intervals_hold_the_score_of_simulated_contests():
    inside, errors = 0, []
    for seed in range(40):
        labels, answers = contest(seed, (0.9, 1.1, 1.3, 1.0 + 0.02 * (seed % 20)))
        scores = [score(each, labels) for each in answers]
        found = estimate_score(answers[3], answers[:3], scores[:3], CLASSES)
        assert found.least <= scores[3] <= found.most
        assert found.least <= found.low <= found.score <= found.high <= found.most
        inside += found.low <= scores[3] <= found.high
        errors.append(found.score - scores[3])
    assert inside >= 34
    assert np.abs(errors).mean() < 0.02


def test_scores_that_no_labels_have_are_refused():
    first = np.zeros(10, np.int64)
    with pytest.raises(InputError, match="no labels give these scores to these submissions: check that each"):
        estimate_score(first, [first, first], [0.2, 0.9], 3)
