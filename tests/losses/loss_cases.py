"""Logits and targets, and the comparison of a loss and its gradient with torch's."""

import jax
import numpy as np
from jax import numpy as jnp

CLASSES = 7


def sample(rows=24, classes=CLASSES, seed=3):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)).astype(np.float32) * 2
    return logits, generator.integers(0, classes, rows)


def hard_targets(labels, classes=CLASSES):
    return np.eye(classes, dtype=np.float32)[labels]


def mixed_targets(labels, classes=CLASSES, seed=5):
    """As mixup makes them: two labels a row."""
    share = np.random.default_rng(seed).uniform(0, 1, (len(labels), 1)).astype(np.float32)
    hard = hard_targets(labels, classes)
    return share * hard + (1 - share) * hard[::-1]


def everything(rows):
    return jnp.ones(len(rows), bool)


def assert_equals_torch(ours, theirs, logits, rtol=2e-6, atol=2e-7):
    """Value and gradient of a function of logits, against torch's."""
    import torch

    value, gradient = jax.value_and_grad(ours)(jnp.asarray(logits))
    variable = torch.tensor(logits, requires_grad=True)
    reference = theirs(variable)
    reference.backward()
    np.testing.assert_allclose(float(value), reference.item(), rtol=rtol)
    assert np.abs(variable.grad.numpy()).max() > 1e-4
    np.testing.assert_allclose(gradient, variable.grad.numpy(), rtol=rtol * 20, atol=atol)
