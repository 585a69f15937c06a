import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax import losses, metrics


def sample(rows=64, classes=7):
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(rows, classes)).astype(np.float32) * 3
    labels = generator.integers(0, classes, rows)
    return logits, labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_the_loss_equals_torchs_with_label_smoothing(smoothing):
    torch = pytest.importorskip("torch")
    logits, labels = sample()
    targets = losses.smooth_targets(jax.nn.one_hot(labels, 7), smoothing)
    ours = losses.cross_entropy(jnp.asarray(logits), targets, jnp.ones(64, bool))
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing
    )
    assert float(ours) == pytest.approx(float(loss), rel=1e-6)


def test_smoothed_targets_still_sum_to_one():
    targets = losses.smooth_targets(jnp.asarray([[0.3, 0.7, 0.0]]), 0.2)
    np.testing.assert_allclose(targets.sum(axis=-1), 1.0, rtol=1e-6)


def test_a_masked_row_changes_neither_the_loss_nor_its_gradient():
    logits, labels = sample(rows=8)
    mask = jnp.asarray([True] * 5 + [False] * 3)
    targets = jax.nn.one_hot(labels, 7)

    def loss(values):
        return losses.cross_entropy(values, targets, mask)

    other = jnp.asarray(logits).at[5:].set(100.0)
    assert float(loss(jnp.asarray(logits))) == pytest.approx(float(loss(other)))
    gradient = jax.grad(loss)(other)
    np.testing.assert_array_equal(gradient[5:], 0.0)
    assert float(loss(jnp.asarray(logits))) == pytest.approx(
        metrics.cross_entropy(logits[:5], labels[:5]), rel=1e-6
    )


def test_extreme_logits_give_a_finite_loss_and_gradient():
    logits = jnp.asarray([[1e4, -1e4, 0.0]])
    loss, gradient = jax.value_and_grad(losses.cross_entropy)(
        logits, jax.nn.one_hot(jnp.asarray([1]), 3), jnp.ones(1, bool)
    )
    assert float(loss) == pytest.approx(2e4)
    assert np.isfinite(gradient).all()


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


def test_macro_f1_ignores_a_class_that_is_neither_label_nor_answer():
    reference = pytest.importorskip("sklearn.metrics")
    logits, labels = np.eye(4, dtype=np.float32)[[0, 1, 1, 0]], np.array([0, 1, 0, 0])
    expected = reference.f1_score(labels, [0, 1, 1, 0], average="macro")
    assert metrics.macro_f1(logits, labels) == pytest.approx(expected)


def test_rows_of_unknown_label_do_not_count():
    logits, labels = sample(rows=20)
    half = np.where(np.arange(20) < 10, labels, -1)
    assert metrics.summarise(logits, half) == metrics.summarise(logits[:10], labels[:10])
    assert metrics.summarise(logits, np.full(20, -1)) == {}
