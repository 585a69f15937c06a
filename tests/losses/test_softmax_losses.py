"""Losses of the softmax against torch, timm and scikit-learn: values and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from loss_cases import CLASSES, assert_equals_torch, everything, hard_targets, mixed_targets, sample

from sketch_jax import metrics
from sketch_jax.losses import softmax
from sketch_jax.losses.class_weights import log_shares

torch = pytest.importorskip("torch")
functional = torch.nn.functional
LOGITS, LABELS = sample()
HARD, MIXED = hard_targets(LABELS), mixed_targets(LABELS)
ALL = everything(LOGITS)
WEIGHTS = np.linspace(0.2, 3.0, CLASSES).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_cross_entropy_equals_torchs_with_label_smoothing(smoothing):
    def ours(logits):
        return softmax.cross_entropy(logits, softmax.smooth_targets(jnp.asarray(HARD), smoothing), ALL)

    def theirs(logits):
        return functional.cross_entropy(logits, torch.tensor(LABELS), label_smoothing=smoothing)

    assert_equals_torch(ours, theirs, LOGITS)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_cross_entropy_equals_timms_with_label_smoothing(smoothing):
    loss = pytest.importorskip("timm.loss").LabelSmoothingCrossEntropy(smoothing)
    targets = softmax.smooth_targets(jnp.asarray(HARD), smoothing)
    assert_equals_torch(
        lambda logits: softmax.cross_entropy(logits, targets, ALL),
        lambda logits: loss(logits, torch.tensor(LABELS)),
        LOGITS,
    )


def test_cross_entropy_of_mixed_targets_equals_timms():
    loss = pytest.importorskip("timm.loss").SoftTargetCrossEntropy()
    assert_equals_torch(
        lambda logits: softmax.cross_entropy(logits, jnp.asarray(MIXED), ALL),
        lambda logits: loss(logits, torch.tensor(MIXED)),
        LOGITS,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_cross_entropy_of_mixed_targets_equals_torchs(smoothing):
    targets = softmax.smooth_targets(jnp.asarray(MIXED), smoothing)
    assert_equals_torch(
        lambda logits: softmax.cross_entropy(logits, targets, ALL, jnp.asarray(WEIGHTS)),
        lambda logits: functional.cross_entropy(
            logits, torch.tensor(MIXED), weight=torch.tensor(WEIGHTS), label_smoothing=smoothing
        ),
        LOGITS,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_cross_entropy_equals_torchs_of_labels_where_the_batch_has_the_mean_weight_1(smoothing):
    """torch divides by the weights of the batch; ours has mean 1 over the training images, here the batch."""
    weights = (WEIGHTS / WEIGHTS[LABELS].mean()).astype(np.float32)
    targets = softmax.smooth_targets(jnp.asarray(HARD), smoothing)
    assert_equals_torch(
        lambda logits: softmax.cross_entropy(logits, targets, ALL, jnp.asarray(weights)),
        lambda logits: functional.cross_entropy(
            logits, torch.tensor(LABELS), weight=torch.tensor(weights), label_smoothing=smoothing
        ),
        LOGITS,
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("targets", [HARD, MIXED], ids=["hard", "mixed"])
def test_focal_equals_its_formula_in_torch(gamma, targets):
    def theirs(logits):
        log_probabilities = functional.log_softmax(logits, dim=-1)
        factors = (1 - log_probabilities.exp()) ** gamma
        terms = torch.tensor(targets) * torch.tensor(WEIGHTS) * factors * log_probabilities
        return -terms.sum(-1).mean()

    def ours(logits):
        return softmax.focal(logits, jnp.asarray(targets), ALL, gamma, jnp.asarray(WEIGHTS))

    assert_equals_torch(ours, theirs, LOGITS)


def test_focal_of_gamma_0_is_cross_entropy():
    focal = softmax.focal(jnp.asarray(LOGITS), jnp.asarray(MIXED), ALL, 0.0)
    assert float(focal) == pytest.approx(
        float(softmax.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(MIXED), ALL)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("positive", "negative", "smoothing"), [(1.0, 4.0, 0.1), (0.0, 2.0, 0.3), (2.0, 1.0, 0.0)]
)
def test_asymmetric_equals_timms(positive, negative, smoothing):
    loss = pytest.importorskip("timm.loss").AsymmetricLossSingleLabel(positive, negative, eps=smoothing)
    assert_equals_torch(
        lambda logits: softmax.asymmetric(logits, jnp.asarray(HARD), ALL, positive, negative, smoothing),
        lambda logits: loss(logits, torch.tensor(LABELS)),
        LOGITS,
    )


def test_asymmetric_of_mixed_targets_equals_its_formula_in_torch():
    def theirs(logits):
        targets = torch.tensor(MIXED)
        log_probabilities = functional.log_softmax(logits, dim=-1)
        p = log_probabilities.exp()
        base = 1 - p * targets - (1 - p) * (1 - targets)
        factors = base ** (1.0 * targets + 4.0 * (1 - targets))
        smooth = targets * 0.9 + 0.1 / CLASSES
        return -(smooth * factors * log_probabilities).sum(-1).mean()

    assert_equals_torch(
        lambda logits: softmax.asymmetric(logits, jnp.asarray(MIXED), ALL, 1.0, 4.0, 0.1),
        theirs,
        LOGITS,
    )


def test_logit_adjustment_adds_tau_log_shares_in_training():
    counts = np.arange(1, CLASSES + 1)
    shares = torch.tensor(counts / counts.sum(), dtype=torch.float32)
    assert_equals_torch(
        lambda logits: softmax.logit_adjusted(
            logits, jnp.asarray(HARD), ALL, jnp.asarray(log_shares(counts), jnp.float32), 1.5
        ),
        lambda logits: functional.cross_entropy(logits + 1.5 * torch.log(shares), torch.tensor(LABELS)),
        LOGITS,
    )


def test_soft_f1_equals_its_formula_in_torch():
    def theirs(logits):
        targets = torch.tensor(MIXED)
        p = functional.softmax(logits, dim=-1)
        scores = 2 * (p * targets).sum(0) / (p.sum(0) + targets.sum(0))
        return 1 - scores[targets.sum(0) > 0].mean()

    assert_equals_torch(lambda logits: softmax.soft_macro_f1(logits, jnp.asarray(MIXED), ALL), theirs, LOGITS)


def test_a_masked_row_changes_neither_the_loss_nor_its_gradient():
    logits, labels = sample(rows=8)
    mask = jnp.asarray([True] * 5 + [False] * 3)
    targets = jax.nn.one_hot(labels, CLASSES)

    def loss(values):
        return softmax.cross_entropy(values, targets, mask)

    other = jnp.asarray(logits).at[5:].set(100.0)
    assert float(loss(jnp.asarray(logits))) == pytest.approx(float(loss(other)))
    np.testing.assert_array_equal(jax.grad(loss)(other)[5:], 0.0)
    assert float(loss(jnp.asarray(logits))) == pytest.approx(
        metrics.summarise(logits[:5], labels[:5])["loss"], rel=1e-6
    )


def test_smoothed_targets_still_sum_to_one():
    targets = softmax.smooth_targets(jnp.asarray([[0.3, 0.7, 0.0]]), 0.2)
    np.testing.assert_allclose(targets.sum(axis=-1), 1.0, rtol=1e-6)
