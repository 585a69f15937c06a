"""Calibration against torch's own optimum and against what made the data."""

import numpy as np
import pytest
from prediction_cases import CLASSES

from sketch_jax.ensemble.calibration import find_temperature, find_vector_scaling, reliability
from sketch_jax.metrics import log_softmax, summarise

TRUE_TEMPERATURE = 2.5


def drawn(rows=20_000, temperature=TRUE_TEMPERATURE):
    """Logits, and labels drawn with the probabilities that they have at a temperature."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(rows, CLASSES)) * 4
    noise = generator.gumbel(size=(rows, CLASSES))
    return logits.astype(np.float32), (logits / temperature + noise).argmax(axis=1)


def test_the_temperature_that_made_the_labels_is_found_and_mends_the_calibration():
    logits, labels = drawn()
    found = find_temperature(logits, labels)
    assert found == pytest.approx(TRUE_TEMPERATURE, rel=0.03)
    before, after = summarise(logits, labels), summarise(logits / np.float32(found), labels)
    assert before["expected_calibration_error"] > 0.1
    assert after["expected_calibration_error"] < 0.02
    assert after["accuracy"] == before["accuracy"]


def test_the_temperature_is_that_of_torchs_optimizer():
    torch = pytest.importorskip("torch")
    logits, labels = drawn(rows=500)
    value = torch.zeros((), dtype=torch.float64, requires_grad=True)
    theirs, answers = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    optimizer = torch.optim.LBFGS(
        [value], max_iter=100, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs / value.exp(), answers)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert find_temperature(logits, labels) == pytest.approx(float(value.detach().exp()), rel=1e-5)


def test_vector_scaling_is_torchs_optimum_and_finds_classes_that_were_shifted():
    torch = pytest.importorskip("torch")
    logits, labels = drawn(rows=4000, temperature=1.0)
    shifted = logits + np.arange(CLASSES, dtype=np.float32)
    free = find_vector_scaling(shifted, labels, penalty=1e-9)
    np.testing.assert_allclose(free.summand - free.summand[0], -np.arange(CLASSES), atol=0.35)
    found = find_vector_scaling(shifted, labels)
    values = [
        torch.ones(CLASSES, dtype=torch.float64, requires_grad=True),
        torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True),
    ]
    theirs, answers = torch.tensor(shifted, dtype=torch.float64), torch.tensor(labels)
    optimizer = torch.optim.LBFGS(
        values, max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs * values[0] + values[1], answers)
        loss = loss + 1e-3 * ((values[0] - 1).square().sum() + values[1].square().sum())
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(found.factor, values[0].detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(found.summand, values[1].detach().numpy(), atol=1e-4)


def test_unknown_labels_do_not_count():
    logits, labels = drawn(rows=400)
    half = np.where(np.arange(400) < 200, labels, -1)
    assert find_temperature(logits, half) == pytest.approx(find_temperature(logits[:200], labels[:200]))
    ours, theirs = find_vector_scaling(logits, half), find_vector_scaling(logits[:200], labels[:200])
    np.testing.assert_allclose(ours.factor, theirs.factor)


def test_a_reliability_diagram_of_a_case_worked_by_hand():
    confidence = np.array([0.55, 0.58, 0.95, 0.95, 0.95])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    found = reliability(np.log(probabilities), np.array([0, 1, 0, 0, 1]), bins=10)
    assert found.rows.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    assert found.confidence[[5, 9]] == pytest.approx([0.565, 0.95], abs=1e-6)
    assert found.accuracy[[5, 9]] == pytest.approx([0.5, 2 / 3])
    assert np.isnan(found.accuracy[0])


def test_scaled_logits_are_those_of_the_formula():
    logits, labels = drawn(rows=300)
    found = find_vector_scaling(logits, labels)
    np.testing.assert_allclose(found(logits), logits * found.factor + found.summand)
    assert np.isfinite(log_softmax(found(logits))).all()
