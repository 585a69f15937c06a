"""Weight decay by itself, without torch."""

import jax
import numpy as np
import pytest
from optimizer_cases import parameters

from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import (
    Adam,
    AdamP,
    AdamW,
    Lion,
    Madgrad,
    Muon,
    Sam,
    ScheduleFreeAdamW,
    Sgd,
    Sgdp,
    base_of,
)
from sketch_jax.trees import flatten

KINDS = (AdamW, Adam, Sgd, AdamP, Sgdp, Madgrad, Lion, Muon, ScheduleFreeAdamW)
EVERY = [
    *(kind(weight_decay=0.1) for kind in KINDS),
    Sam(base=Sgd(weight_decay=0.1)),
    AdamW(weight_decay=0.0),
]


@pytest.mark.parametrize("options", EVERY, ids=lambda options: type(options).__name__)
def test_a_decayed_weight_shrinks_under_a_zero_gradient_and_norms_and_biases_do_not(options):
    params = parameters()
    optimizer = create_optimizer(options, lambda step: 0.1)
    gradients = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    updates = flatten(updates)
    # Schedule-free training takes the mean from two sums: it is back within a float's rounding.
    rounding = 3e-7 if isinstance(options, ScheduleFreeAdamW) else 0.0
    for path in ("pos_embed", "norm/scale", "norm/bias", "mlp/fc1/bias", "head/bias"):
        np.testing.assert_allclose(updates[path], 0.0, rtol=0, atol=rounding)
    decays = base_of(options).weight_decay > 0
    for path in ("conv/kernel", "mlp/fc1/kernel", "head/kernel"):
        against = -updates[path] * flatten(params)[path]
        assert (against.min() > 0) if decays else (np.abs(updates[path]).max() == 0)
