"""Metrics against scikit-learn and cases worked by hand; counts that merge to those of all rows at once."""

import dataclasses
import functools
from typing import get_args

import numpy as np
import pytest

from sketch_jax import metrics
from sketch_jax.metric_names import HIGHER_IS_BETTER, Metric
from sketch_jax.tasks import cross_product


def sample(rows=64, classes=7):
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(rows, classes)).astype(np.float32) * 3
    return logits, generator.integers(0, classes, rows)


def test_metrics_agree_with_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    logits, labels = sample(rows=500)
    answers = logits.argmax(axis=-1)
    probabilities = np.exp(metrics.log_softmax(logits))
    summary = metrics.summarise(logits, labels)
    assert summary["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert summary["macro_f1"] == pytest.approx(reference.f1_score(labels, answers, average="macro"))
    assert summary["loss"] == pytest.approx(reference.log_loss(labels, probabilities, labels=range(7)))
    assert summary["top5_accuracy"] == pytest.approx(
        reference.top_k_accuracy_score(labels, probabilities, k=5, labels=range(7))
    )
    np.testing.assert_allclose(
        metrics.per_class_recall(metrics.count(logits, labels)),
        reference.recall_score(labels, answers, average=None),
    )


def test_the_balanced_accuracy_is_scikit_learns_and_the_worst_recall_the_least():
    reference = pytest.importorskip("sklearn.metrics")
    logits, labels = sample(rows=300)
    labels = np.where(labels == 6, 5, labels)
    found, answers = metrics.summarise(logits, labels), logits.argmax(-1)
    expected = reference.recall_score(labels, answers, average=None, labels=range(6))
    assert found["balanced_accuracy"] == pytest.approx(expected.mean())
    assert found["worst_recall"] == pytest.approx(expected.min())
    assert found["worst_recall"] < found["balanced_accuracy"]


def test_each_task_is_measured_over_its_own_classes():
    reference = pytest.importorskip("sklearn.metrics")
    tasks = cross_product({"mask": ("worn", "none"), "age": ("young", "middle", "old")})
    logits, labels = np.random.default_rng(3).normal(size=(200, 6)), np.arange(200) % 6
    found = metrics.task_summaries(metrics.count(logits, labels), tasks)
    assert set(found) == {f"{task}/{name}" for task in tasks.names for name in ("accuracy", "macro_f1")}
    for index, task in enumerate(tasks.names):
        own = np.array(tasks.members[index])
        true, answers = own[labels], own[logits.argmax(-1)]
        assert found[f"{task}/accuracy"] == pytest.approx(reference.accuracy_score(true, answers))
        assert found[f"{task}/macro_f1"] == pytest.approx(reference.f1_score(true, answers, average="macro"))
    assert metrics.task_summaries(metrics.count(logits, labels), None) == {}
    assert metrics.task_summaries(metrics.count(logits, np.full(200, -1)), tasks) == {}


def test_macro_f1_leaves_out_a_class_that_is_neither_label_nor_answer():
    reference = pytest.importorskip("sklearn.metrics")
    logits, labels = np.eye(4, dtype=np.float32)[[0, 1, 1, 0]], np.array([0, 1, 0, 0])
    expected = reference.f1_score(labels, [0, 1, 1, 0], average="macro")
    assert metrics.summarise(logits, labels)["macro_f1"] == pytest.approx(expected)


def logits_of_confidence(confidence, answer):
    """Two logits with the given softmax of the answer."""
    logits = np.zeros(2)
    logits[answer] = np.log(confidence / (1 - confidence))
    return logits


def test_the_calibration_error_of_a_case_worked_by_hand():
    # Five bins: (.4, .6] holds one right and one wrong, (.6, .8] one right, (.8, 1] two right.
    confidences = [0.55, 0.5999, 0.7, 0.9, 0.95]
    logits = np.array([logits_of_confidence(confidence, 1) for confidence in confidences], np.float32)
    labels = np.array([1, 0, 1, 1, 1])
    by_bin = [2 / 5 * abs(0.5 - 0.57495), 1 / 5 * (1 - 0.7), 2 / 5 * (1 - 0.925)]
    found = metrics.calibration_error(metrics.count(logits, labels, bins=5))
    assert found == pytest.approx(sum(by_bin), abs=1e-6)


def test_the_calibration_error_is_the_papers_over_bins_open_on_the_left():
    logits, labels = sample(rows=400)
    probabilities = np.exp(metrics.log_softmax(logits))
    confidence, hits = probabilities.max(-1), probabilities.argmax(-1) == labels
    error = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    assert error > 0.05
    assert metrics.summarise(logits, labels)["expected_calibration_error"] == pytest.approx(error, abs=1e-7)


@pytest.mark.parametrize("cuts", [[0], [1, 2, 3], [250], [100, 100, 377]])
def test_counts_of_parts_merge_to_the_counts_of_all_rows_in_any_order(cuts):
    logits, labels = sample(rows=500)
    labels = np.where(np.arange(500) % 11 == 0, -1, labels)
    whole = metrics.count(logits, labels)
    parts = [
        metrics.count(part, own)
        for part, own in zip(np.split(logits, cuts), np.split(labels, cuts), strict=True)
    ]
    for order in (parts, parts[::-1]):
        merged = functools.reduce(metrics.merge, order)
        for field in dataclasses.fields(whole):
            np.testing.assert_array_equal(getattr(merged, field.name), getattr(whole, field.name))
        assert metrics.summary(merged) == metrics.summarise(logits, labels)


def test_rows_of_unknown_label_do_not_count():
    logits, labels = sample(rows=20)
    half = np.where(np.arange(20) < 10, labels, -1)
    assert metrics.summarise(logits, half) == metrics.summarise(logits[:10], labels[:10])
    assert metrics.summarise(logits, np.full(20, -1)) == {}
    assert np.isnan(metrics.per_class_recall(metrics.count(logits, np.full(20, -1)))).all()


def test_logits_that_are_not_finite_make_the_loss_no_number():
    logits, labels = sample(rows=20)
    logits[3, 2] = np.nan
    assert np.isnan(metrics.summarise(logits, labels)["loss"])
    logits[3, 2] = np.inf
    assert np.isnan(metrics.summarise(logits, labels)["loss"])


def test_ties_go_to_the_lowest_class_in_every_metric():
    logits, labels = np.zeros((2, 6), np.float32), np.array([0, 5])
    summary = metrics.summarise(logits, labels)
    assert (summary["accuracy"], summary["top5_accuracy"]) == (0.5, 0.5)


def test_it_is_known_of_every_metric_whether_higher_is_better_and_each_can_select():
    assert set(metrics.summarise(*sample())) == set(HIGHER_IS_BETTER) == set(get_args(Metric))
    better = {name for name, higher in HIGHER_IS_BETTER.items() if higher}
    assert better == {"accuracy", "top5_accuracy", "balanced_accuracy", "worst_recall", "macro_f1"}
