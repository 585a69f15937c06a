"""Losses of each class's sigmoid against timm and torchvision: values and gradients."""

import numpy as np
import pytest
from jax import numpy as jnp
from loss_cases import CLASSES, assert_equals_torch, everything, hard_targets, mixed_targets, sample

from sketch_jax.losses import sigmoid
from sketch_jax.losses.softmax import smooth_targets

torch = pytest.importorskip("torch")
timm_loss = pytest.importorskip("timm.loss")
LOGITS, LABELS = sample()
HARD, MIXED = hard_targets(LABELS), mixed_targets(LABELS)
ALL = everything(LOGITS)
WEIGHTS = np.linspace(0.2, 3.0, CLASSES).astype(np.float32)


@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("sum_classes", [False, True])
def test_binary_cross_entropy_of_labels_equals_timms(threshold, sum_classes):
    loss = timm_loss.BinaryCrossEntropy(
        smoothing=0.1,
        target_threshold=threshold,
        sum_classes=sum_classes,
        weight=torch.tensor(WEIGHTS),
    )
    targets = smooth_targets(jnp.asarray(HARD), 0.1)
    assert_equals_torch(
        lambda logits: sigmoid.binary_cross_entropy(
            logits, targets, ALL, threshold, sum_classes, jnp.asarray(WEIGHTS)
        ),
        lambda logits: loss(logits, torch.tensor(LABELS)),
        LOGITS,
    )


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary_cross_entropy_of_mixed_targets_equals_timms(threshold):
    loss = timm_loss.BinaryCrossEntropy(smoothing=0.0, target_threshold=threshold)
    assert_equals_torch(
        lambda logits: sigmoid.binary_cross_entropy(logits, jnp.asarray(MIXED), ALL, threshold),
        lambda logits: loss(logits, torch.tensor(MIXED)),
        LOGITS,
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("targets", [HARD, MIXED], ids=["hard", "mixed"])
def test_focal_equals_torchvisions(gamma, alpha, targets):
    focal_loss = pytest.importorskip("torchvision.ops").sigmoid_focal_loss

    def theirs(logits):
        terms = focal_loss(logits, torch.tensor(targets), -1 if alpha is None else alpha, gamma)
        return terms.sum(-1).mean()

    assert_equals_torch(
        lambda logits: sigmoid.sigmoid_focal(logits, jnp.asarray(targets), ALL, gamma, alpha),
        theirs,
        LOGITS,
    )


@pytest.mark.parametrize(
    ("positive", "negative", "clip"), [(1.0, 4.0, 0.05), (0.0, 4.0, 0.2), (2.0, 2.0, 0.0)]
)
@pytest.mark.parametrize("targets", [HARD, MIXED], ids=["hard", "mixed"])
def test_asymmetric_equals_timms(positive, negative, clip, targets):
    loss = timm_loss.AsymmetricLossMultiLabel(
        gamma_neg=negative, gamma_pos=positive, clip=clip, weight=torch.tensor(WEIGHTS)
    )
    assert_equals_torch(
        lambda logits: sigmoid.sigmoid_asymmetric(
            logits, jnp.asarray(targets), ALL, positive, negative, clip, jnp.asarray(WEIGHTS)
        ),
        lambda logits: loss(logits, torch.tensor(targets)),
        LOGITS,
    )
