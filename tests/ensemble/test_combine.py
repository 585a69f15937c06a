"""All ways to combine models, behind one face."""

import dataclasses
import itertools
from typing import get_args

import numpy as np
import pytest
from prediction_cases import LABELS, logits_of

from sketch_jax.ensemble.calibration import find_temperature
from sketch_jax.ensemble.combine import (
    LEARNED,
    Recipe,
    Way,
    cross_fitted,
    disagreement,
    gains,
    learn_combine,
)
from sketch_jax.ensemble.stacking import learn_stack
from sketch_jax.ensemble.votes import probabilities, soft_vote, vote
from sketch_jax.ensemble.weights import accuracy, learn_weights, select_greedily

HELD_OUT = [logits_of(1, 2.0), logits_of(2, 1.0), logits_of(3, 1.5)]
TESTS = [[logits_of(4), logits_of(5)], [logits_of(6)], [logits_of(7), logits_of(8), logits_of(9)]]
WAYS = get_args(Way)


def recipe_of(way, count: int = 3, **changes) -> Recipe:
    weights = tuple(float(index + 1) for index in range(count)) if way == "weighted" else ()
    return Recipe(way=way, weights=weights, **changes)


def scores_of(recipe, models=TESTS, held_out=HELD_OUT):
    return learn_combine(recipe, held_out, LABELS)[0](models)


def test_a_vote_is_that_of_the_folds():
    parts = [[probabilities(fold) for fold in model] for model in TESTS]
    for way in ("soft", "hard", "soft-hard"):
        np.testing.assert_array_equal(scores_of(Recipe(way=way)), vote(parts, way))
        np.testing.assert_array_equal(scores_of(Recipe(way=way, tie="soft")), vote(parts, way, "soft"))


def test_weights_are_of_models_however_many_folds_they_have():
    means = [soft_vote([probabilities(fold) for fold in model]) for model in TESTS]
    members = [probabilities(logits) for logits in HELD_OUT]
    for recipe, weights in (
        (recipe_of("weighted"), [1, 2, 3]),
        (Recipe(way="learned"), learn_weights(members, LABELS)),
        (Recipe(way="greedy"), select_greedily(members, LABELS)),
    ):
        combine, learnt = learn_combine(recipe, HELD_OUT, LABELS)
        np.testing.assert_allclose(combine(TESTS), soft_vote(means, weights), rtol=1e-12)
        assert learnt["weight"] == pytest.approx(np.array(weights) / sum(weights))


def test_a_stack_reads_the_mean_of_each_models_folds():
    means = [np.log(soft_vote([probabilities(fold) for fold in model])) for model in TESTS]
    expected = probabilities(learn_stack(HELD_OUT, LABELS)(means))
    np.testing.assert_allclose(scores_of(Recipe(way="stacking")), expected, rtol=1e-9)


def test_each_model_has_its_own_temperature():
    combine, learnt = learn_combine(Recipe(calibration="temperature"), HELD_OUT, LABELS)
    temperatures = [find_temperature(logits, LABELS) for logits in HELD_OUT]
    assert learnt["temperature"] == temperatures
    expected = soft_vote([probabilities(x / t) for x, t in zip(HELD_OUT, temperatures, strict=True)])
    np.testing.assert_allclose(combine([[logits] for logits in HELD_OUT]), expected, rtol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("calibration", ["none", "temperature", "vector"])
def test_scores_sum_to_one(way, calibration):
    scores = scores_of(recipe_of(way, calibration=calibration))
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-9)
    assert (scores >= 0).all()


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_models_never_matters(way):
    recipe = recipe_of(way)
    expected = scores_of(recipe)
    for order in itertools.permutations(range(3)):
        weights = tuple(recipe.weights[index] for index in order) if recipe.weights else ()
        turned = dataclasses.replace(recipe, weights=weights)
        found = scores_of(turned, [TESTS[index] for index in order], [HELD_OUT[index] for index in order])
        np.testing.assert_allclose(found, expected, atol=2e-4 if way == "stacking" else 1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_one_model_alone_answers_as_it_does(way):
    scores = scores_of(recipe_of(way, 1), [[TESTS[0][0]]], HELD_OUT[:1])
    if way == "stacking":  # a model over the model may answer otherwise
        assert accuracy(scores, LABELS) > accuracy(probabilities(TESTS[0][0]), LABELS) - 0.05
    else:
        np.testing.assert_array_equal(scores.argmax(axis=1), TESTS[0][0].argmax(axis=1))


def test_a_model_that_is_named_twice_changes_nothing_in_a_mean_of_copies():
    twice = scores_of(Recipe(), [TESTS[0], TESTS[0]], [HELD_OUT[0]] * 2)
    np.testing.assert_allclose(twice, scores_of(Recipe(), [TESTS[0]], HELD_OUT[:1]), rtol=1e-12)


@pytest.mark.parametrize("way", LEARNED)
def test_no_image_is_scored_by_what_was_learnt_from_it(way):
    """Labels drawn by lot cannot be learnt, so a way that saw them would be better than chance."""
    chance = np.random.default_rng(9).integers(0, 5, len(LABELS)).astype(np.int32)
    strangers = [np.random.default_rng(seed).normal(size=(len(chance), 5)) for seed in range(20)]
    honest = accuracy(cross_fitted(Recipe(way=way), strangers, chance), chance)
    seen = accuracy(learn_combine(Recipe(way=way), strangers, chance)[0]([[x] for x in strangers]), chance)
    assert honest < 0.27
    assert seen > honest


def test_unknown_labels_teach_nothing_and_are_answered_too():
    labels = LABELS.copy()
    labels[::7] = -1
    scores = cross_fitted(Recipe(way="learned"), HELD_OUT, labels)
    assert scores.shape == HELD_OUT[0].shape
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)


def test_the_gain_of_a_model_is_what_is_lost_without_it():
    members = [probabilities(logits) for logits in HELD_OUT]
    found = gains(Recipe(), HELD_OUT, LABELS)
    whole = accuracy(soft_vote(members), LABELS)
    for index, gain in enumerate(found):
        rest = soft_vote(members[:index] + members[index + 1 :])
        assert gain == pytest.approx(whole - accuracy(rest, LABELS))
    assert found.argmax() == 0
    assert gains(Recipe(), HELD_OUT[:1], LABELS).tolist() == [accuracy(members[0], LABELS)]
    weighted = gains(Recipe(way="weighted", weights=(0.0, 1.0, 0.0)), HELD_OUT, LABELS)
    equal = accuracy(soft_vote([members[0], members[2]]), LABELS)
    assert weighted.tolist() == [0.0, accuracy(members[1], LABELS) - equal, 0.0]


def test_disagreement_counts_other_answers():
    answers = [np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1]), np.array([0, 1, 2, 2])]
    assert disagreement(answers).tolist() == [[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]]
