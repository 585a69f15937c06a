"""Votes worked by hand, ties included, and what holds of every vote."""

import itertools

import numpy as np
import pytest
from prediction_cases import logits_of

from sketch_jax.ensemble.votes import hard_vote, probabilities, soft_vote, vote

FOLDS = {
    "first": [[0.6, 0.4, 0.0], [0.1, 0.5, 0.4]],
    "second": [[0.5, 0.1, 0.4], [0.5, 0.1, 0.4]],
    "third": [[0.0, 0.3, 0.7], [0.0, 0.3, 0.7]],
}
MODELS = [[np.array([fold]) for fold in folds] for folds in FOLDS.values()]
"""Means of the models over their folds: (.35, .45, .2), (.5, .1, .4), (0, .3, .7)."""

METHODS = ["soft-soft", "soft-hard", "hard-hard"]


def test_soft_soft_is_the_mean_over_folds_and_models():
    np.testing.assert_allclose(vote(MODELS, "soft-soft"), [[1.7 / 6, 1.7 / 6, 2.6 / 6]])


def test_soft_hard_is_a_vote_of_each_models_mean_and_a_tie_goes_to_the_lowest_class():
    shares = vote(MODELS, "soft-hard")
    np.testing.assert_allclose(shares, [[1 / 3, 1 / 3, 1 / 3]])
    assert shares.argmax() == 0


def test_a_tie_may_go_to_the_likeliest_of_the_tied_classes():
    assert vote(MODELS, "soft-hard", tie="soft").argmax() == 2
    members = [np.array([[0.0, 0.6, 0.4]]), np.array([[0.0, 0.6, 0.4]]), np.array([[0.1, 0.0, 0.9]])]
    members += [np.array([[0.0, 0.1, 0.9]]), np.array([[0.9, 0.05, 0.05]])]
    shares = hard_vote(members, tie="soft")
    # Votes 1/5, 2/5, 2/5; the winners gain half of their mean probabilities, 0.27 and 0.53, over the sum.
    np.testing.assert_allclose(shares, np.array([[0.2, 0.4 + 0.27 / 2, 0.4 + 0.53 / 2]]) / 1.4)
    assert (shares.argsort() == [0, 1, 2]).all()


def test_hard_hard_is_a_vote_of_each_fold_of_each_model():
    np.testing.assert_allclose(vote(MODELS, "hard-hard"), [[3 / 6, 1 / 6, 2 / 6]])


def test_weights_count_in_soft_and_hard_votes():
    members = [np.array([[0.8, 0.2]]), np.array([[0.1, 0.9]])]
    np.testing.assert_allclose(soft_vote(members, [3, 1]), [[0.625, 0.375]])
    np.testing.assert_allclose(hard_vote(members, [3, 1]), [[0.75, 0.25]])


@pytest.mark.parametrize("tie", ["lowest", "soft"])
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_never_matters_and_scores_sum_to_one(method, tie):
    models = [[probabilities(logits_of(3 * seed + fold)) for fold in range(2)] for seed in range(3)]
    expected = vote(models, method, tie)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0)
    for order in itertools.permutations(models):
        np.testing.assert_allclose(vote(order, method, tie), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_member_gives_its_own_answers(method):
    member = probabilities(logits_of(1))
    found = vote([[member]], method)
    np.testing.assert_array_equal(found.argmax(axis=1), member.argmax(axis=1))
    if method == "soft-soft":
        np.testing.assert_array_equal(found, member)


def test_a_member_twice_changes_nothing_where_all_are_twice():
    members = [probabilities(logits_of(seed)) for seed in range(3)]
    for combine in (soft_vote, hard_vote):
        np.testing.assert_allclose(combine(members + members), combine(members), atol=1e-12)
    np.testing.assert_allclose(soft_vote([members[0]] * 5), members[0], atol=1e-15)


def test_votes_are_those_of_scikit_learn():
    ensemble = pytest.importorskip("sklearn.ensemble")

    class Fixed:
        def __init__(self, answers):
            self.answers = answers

        def predict(self, _):
            return self.answers.argmax(axis=1)

        def predict_proba(self, _):
            return self.answers

    members = [probabilities(logits_of(seed)) for seed in range(4)]
    for weights in (None, [1, 2, 3, 5]):
        for kind, combine in (("soft", soft_vote), ("hard", hard_vote)):
            reference = ensemble.VotingClassifier([], voting=kind, weights=weights)
            reference.estimators_ = [Fixed(member) for member in members]
            reference.le_ = type("Labels", (), {"inverse_transform": staticmethod(lambda answers: answers)})
            reference.estimators = [(str(index), "kept") for index in range(4)]
            expected = reference.predict(np.zeros((300, 1)))
            np.testing.assert_array_equal(combine(members, weights).argmax(axis=1), expected)
