"""Merges of views by hand and against ttach's rules, and weights learnt for them."""

import itertools
from typing import get_args

import numpy as np
import pytest
from prediction_cases import LABELS, logits_of
from scipy import optimize

from sketch_jax.ensemble.merges import Merge, change_one_task, learn_class_weights, merge, turned_answers
from sketch_jax.ensemble.votes import probabilities
from sketch_jax.ensemble.weights import accuracy, log_loss
from sketch_jax.tasks import cross_product

VIEWS = [logits_of(seed, skill) for seed, skill in enumerate((2.0, 1.5, 0.5))]


def by_ttach(parts, how):
    """What ttach's Merger does to probabilities (ttach/base.py), one view after the other."""
    output, count = None, 0
    for part in parts:
        part = part**0.5 if how == "tsharpen" else part
        count += 1
        if output is None:
            output = part
        elif how in ("mean", "tsharpen"):
            output = output + part
        elif how == "gmean":
            output = output * part
        else:
            output = (np.maximum if how == "max" else np.minimum)(output, part)
    if how in ("mean", "tsharpen"):
        return output / count
    return output ** (1 / count) if how == "gmean" else output


@pytest.mark.parametrize(
    ("how", "theirs"),
    [
        ("mean", "mean"),
        ("geometric_mean", "gmean"),
        ("max", "max"),
        ("min", "min"),
        ("sharpened_mean", "tsharpen"),
    ],
)
def test_merges_are_ttachs_scaled_to_sum_to_one(how, theirs):
    expected = by_ttach([probabilities(view) for view in VIEWS], theirs)
    np.testing.assert_allclose(merge(VIEWS, how), expected / expected.sum(axis=1, keepdims=True), rtol=1e-12)


def test_a_case_worked_by_hand():
    views = [np.log([[0.8, 0.2]]).astype(np.float32), np.log([[0.2, 0.8]]).astype(np.float32)]
    for how in ("mean_logits", "mean", "geometric_mean", "max", "min", "sharpened_mean"):
        np.testing.assert_allclose(merge(views, how), [[0.5, 0.5]], atol=1e-7)
    views[1] = np.log([[0.5, 0.5]]).astype(np.float32)
    np.testing.assert_allclose(merge(views, "mean"), [[0.65, 0.35]], atol=1e-7)
    np.testing.assert_allclose(merge(views, "max"), [[0.8 / 1.3, 0.5 / 1.3]], atol=1e-7)
    np.testing.assert_allclose(merge(views, "min"), [[0.5 / 0.7, 0.2 / 0.7]], atol=1e-7)
    np.testing.assert_allclose(merge(views, "mean_logits"), [[2 / 3, 1 / 3]], atol=1e-7)
    np.testing.assert_allclose(merge(views, "geometric_mean"), [[2 / 3, 1 / 3]], atol=1e-7)


@pytest.mark.parametrize("how", get_args(Merge))
def test_the_order_of_views_never_matters_and_one_view_is_itself(how):
    expected = merge(VIEWS, how)
    for order in itertools.permutations(VIEWS):
        np.testing.assert_allclose(merge(order, how), expected, atol=1e-12)
    if how != "sharpened_mean":
        np.testing.assert_allclose(merge(VIEWS[:1], how), probabilities(VIEWS[0]), atol=1e-7)
    np.testing.assert_array_equal(merge(VIEWS[:1], how).argmax(1), VIEWS[0].argmax(1))


def test_answers_that_turn_are_counted_both_ways():
    before, after = (probabilities(view) for view in VIEWS[:2])
    turned = turned_answers(before, after, LABELS)
    right, then = before.argmax(1) == LABELS, after.argmax(1) == LABELS
    assert turned.to_wrong == (right & ~then).sum() > 0
    assert turned.to_right == (~right & then).sum() > 0
    assert accuracy(after, LABELS) - accuracy(before, LABELS) == pytest.approx(
        (turned.to_right - turned.to_wrong) / len(LABELS)
    )
    assert turned_answers(before, after, np.full_like(LABELS, -1)) == (0, 0)


def test_weights_for_each_class_are_a_solvers_optimum_and_at_least_zero():
    found = learn_class_weights(VIEWS, LABELS)
    assert found.shape == (3, 5)
    assert found.min() >= 0.0

    def loss(values):
        weights = values.reshape(3, 5)
        logits = sum(view * row for view, row in zip(VIEWS, weights, strict=True))
        return log_loss(probabilities(logits), LABELS) + 1e-2 * np.square(weights - 1 / 3).sum()

    reference = optimize.minimize(loss, np.full(15, 1 / 3), method="SLSQP", bounds=[(0, None)] * 15)
    assert loss(found.ravel()) <= loss(reference.x) + 1e-9
    np.testing.assert_allclose(found.ravel(), reference.x, atol=5e-3)
    assert found.mean(axis=1).argmax() == 0


def test_images_of_unknown_label_teach_nothing():
    half = np.where(np.arange(len(LABELS)) < 150, LABELS, -1)
    expected = learn_class_weights([view[:150] for view in VIEWS], LABELS[:150])
    np.testing.assert_allclose(learn_class_weights(VIEWS, half), expected, atol=1e-9)


def test_one_task_alone_is_changed():
    tasks = cross_product({"mask": ("worn", "none"), "age": ("young", "old")})
    before = np.array([[0.9 * 0.3, 0.9 * 0.7, 0.1 * 0.3, 0.1 * 0.7]])
    after = np.array([[0.2 * 0.6, 0.2 * 0.4, 0.8 * 0.6, 0.8 * 0.4]])
    found = change_one_task(before, after, tasks, 1)
    np.testing.assert_allclose(found, [[0.9 * 0.6, 0.9 * 0.4, 0.1 * 0.6, 0.1 * 0.4]], rtol=1e-12)
    np.testing.assert_allclose(change_one_task(before, before, tasks, 0), before, rtol=1e-12)
    sure = np.array([[1.0, 0.0, 0.0, 0.0]])
    assert change_one_task(sure, after, tasks, 1).argmax() in (0, 1)
