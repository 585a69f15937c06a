"""Weights of members: against a solver of scipy's, a case worked by hand, and what must hold."""

import numpy as np
import pytest
from prediction_cases import LABELS, logits_of
from scipy import optimize

from sketch_jax.ensemble.votes import probabilities, soft_vote
from sketch_jax.ensemble.weights import accuracy, learn_weights, log_loss, select_greedily

MEMBERS = [probabilities(logits_of(seed, skill)) for seed, skill in enumerate((2.0, 1.5, 1.0, 0.0))]


def test_learnt_weights_are_those_of_a_constrained_solver():
    def loss(weights):
        return log_loss(soft_vote(MEMBERS, weights), LABELS)

    found = learn_weights(MEMBERS, LABELS)
    reference = optimize.minimize(
        loss,
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12},
    )
    np.testing.assert_allclose(found, reference.x, atol=2e-3)
    assert loss(found) <= loss(reference.x) + 1e-9
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0)
    assert found.argmin() == 3


def test_weights_of_alike_members_are_shared_and_labels_that_are_unknown_do_not_count():
    half = np.where(np.arange(len(LABELS)) < 150, LABELS, -1)
    expected = learn_weights([member[:150] for member in MEMBERS], LABELS[:150])
    np.testing.assert_allclose(learn_weights(MEMBERS, half), expected, atol=1e-6)
    np.testing.assert_allclose(learn_weights([MEMBERS[0]] * 3, LABELS), [1 / 3] * 3)
    assert learn_weights([MEMBERS[0]], LABELS).tolist() == [1.0]


def test_a_sure_mistake_is_no_infinite_loss():
    sure = np.zeros_like(MEMBERS[0])
    sure[:, 0] = 1.0
    weights = learn_weights([MEMBERS[0], sure], LABELS)
    assert np.isfinite(weights).all()
    assert np.isfinite(log_loss(sure, LABELS))


def test_greedy_selection_of_a_case_worked_by_hand():
    labels = np.array([0, 1])
    first = np.array([[0.9, 0.1], [0.6, 0.4]])  # right, wrong; loss -(ln .9 + ln .4) / 2 = 0.511
    second = np.array([[0.45, 0.55], [0.1, 0.9]])  # wrong, right; loss 0.452
    third = np.array([[0.9, 0.1], [0.9, 0.1]])  # right, wrong; loss 1.204
    # The second is the best of three equal ones by its loss. With the first both are right (.675, .65); with
    # the third (.675, .5) the tie goes to the lowest class, which is wrong.
    np.testing.assert_allclose(select_greedily([first, second, third], labels, most=2), [0.5, 0.5, 0.0])


def test_greedy_selection_is_never_worse_than_its_best_member():
    weights = select_greedily(MEMBERS, LABELS)
    best = max(accuracy(member, LABELS) for member in MEMBERS)
    assert accuracy(soft_vote(MEMBERS, weights), LABELS) >= best
    assert select_greedily([MEMBERS[1]], LABELS).tolist() == [1.0]
    assert weights.sum() == pytest.approx(1.0)
