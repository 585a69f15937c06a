import math

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.optim import small_leaves
from sketch_jax.optim.optimizer import create_optimizer, decay_group, decay_mask, global_norm, is_decayed
from sketch_jax.optim.options import AdamW, WarmupCosine
from sketch_jax.optim.schedule import create_schedule
from sketch_jax.optim.small_leaves import pack, unpack
from sketch_jax.trees import map_with_path


def test_the_rate_is_initial_at_step_0_peak_after_the_warm_up_and_half_way_down_in_the_middle():
    options = WarmupCosine(warmup_epochs=1.0, initial_learning_rate=1e-6, final_learning_rate=1e-5)
    schedule = create_schedule(options, 1e-3, steps=110, steps_per_epoch=10)
    assert float(schedule(0)) == pytest.approx(1e-6)
    assert float(schedule(5)) == pytest.approx((1e-6 + 1e-3) / 2)
    assert float(schedule(10)) == pytest.approx(1e-3)
    assert float(schedule(60)) == pytest.approx((1e-3 + 1e-5) / 2)
    last = 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * 99 / 100)) / 2
    assert float(schedule(109)) == pytest.approx(last, rel=1e-5)
    assert float(schedule(110)) == pytest.approx(1e-5)


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert float(create_schedule(WarmupCosine(warmup_epochs=0.0), 1e-3, 10, 5)(0)) == pytest.approx(1e-3)


def test_a_fraction_of_an_epoch_can_be_the_warm_up():
    schedule = create_schedule(WarmupCosine(warmup_epochs=0.5), 1e-3, 40, 20)
    assert float(schedule(10)) == pytest.approx(1e-3)


def test_a_warm_up_that_does_not_fit_is_refused_with_a_remedy():
    with pytest.raises(
        InputError,
        match=r"--schedule.warmup-epochs 4: a warm-up of 40 steps does not fit in a run of 40 steps; "
        r"choose --schedule.warmup-epochs 0.4, or more --epochs",
    ):
        create_schedule(WarmupCosine(warmup_epochs=4.0), 1e-3, 40, 10)


@pytest.mark.parametrize(
    ("record", "numbers", "message"),
    [
        (AdamW, {"learning_rate": -1.0}, "--optimizer.learning-rate -1: must be above 0"),
        (AdamW, {"learning_rate": math.nan}, "--optimizer.learning-rate nan: must be above 0"),
        (AdamW, {"clip_norm": 0.0}, "--optimizer.clip-norm 0: must be above 0"),
        (AdamW, {"weight_decay": -0.1}, "--optimizer.weight-decay -0.1: must be at least 0"),
        (AdamW, {"beta2": 1.0}, "--optimizer.beta2 1: must be at least 0 and below 1"),
        (WarmupCosine, {"warmup_epochs": -1.0}, "--schedule.warmup-epochs -1: must be at least 0"),
        (WarmupCosine, {"final_learning_rate": math.inf}, "--schedule.final-learning-rate inf: must be"),
    ],
)
def test_numbers_out_of_their_ranges_are_refused(record, numbers, message):
    with pytest.raises(InputError, match=message):
        record(**numbers)


def parameters():
    generator = np.random.default_rng(0)
    return {
        "pos_embed": jnp.asarray(generator.normal(size=(1, 4, 3)), jnp.float32),
        "norm": {"scale": jnp.ones(3), "bias": jnp.asarray(generator.normal(size=3), jnp.float32)},
        "stem": {"kernel": jnp.asarray(generator.normal(size=(2, 2)), jnp.float32)},
        "head": {"kernel": jnp.asarray(generator.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)},
    }


def test_only_matrices_decay_under_a_zero_gradient():
    params = parameters()
    optimizer = create_optimizer(AdamW(learning_rate=0.1, weight_decay=0.5), optax.constant_schedule(0.1))
    gradients = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["head"]["kernel"], params["head"]["kernel"] * 0.95, rtol=1e-6)
    for path in (("pos_embed",), ("norm", "scale"), ("norm", "bias"), ("head", "bias")):
        before_leaf, after_leaf = params, after
        for name in path:
            before_leaf, after_leaf = before_leaf[name], after_leaf[name]
        np.testing.assert_array_equal(before_leaf, after_leaf)
    packed = pack(params, decay_group)
    assert decay_mask(packed)["small"] == {"undecayed": False, "decayed": True}


@pytest.mark.parametrize("small_elements", [0, 5, 10**6])
def test_packed_leaves_come_back_whatever_is_small(small_elements, monkeypatch):
    monkeypatch.setattr(small_leaves, "SMALL_ELEMENTS", small_elements)
    params = parameters()
    packed = pack(params, decay_group)
    sizes = {group: vector.size for group, vector in packed["small"].items()}
    assert (
        sizes
        == {0: {}, 5: {"undecayed": 8, "decayed": 4}, 10**6: {"undecayed": 20, "decayed": 10}}[small_elements]
    )
    back = unpack(packed, params, decay_group)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_the_global_norm_is_that_of_all_leaves():
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(parameters())])
    assert float(global_norm(parameters())) == pytest.approx(float(np.linalg.norm(flat)), rel=1e-6)


@pytest.mark.parametrize("small_elements", [0, 5, 10**6])
def test_five_steps_agree_with_torch_adamw(small_elements, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(small_leaves, "SMALL_ELEMENTS", small_elements)
    params = parameters()
    optimizer = create_optimizer(
        AdamW(weight_decay=0.05, epsilon=1e-8, clip_norm=1.0), optax.constant_schedule(1e-2)
    )
    state = optimizer.init(params)
    leaves, structure = jax.tree.flatten(params)
    decayed = jax.tree.leaves(map_with_path(is_decayed, params))
    tensors = [torch.tensor(np.asarray(leaf), requires_grad=True) for leaf in leaves]
    groups = [
        {"params": [tensor], "weight_decay": 0.05 if decays else 0.0}
        for tensor, decays in zip(tensors, decayed, strict=True)
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, eps=1e-8)
    generator = np.random.default_rng(1)
    for _ in range(5):
        gradients = [generator.normal(size=leaf.shape).astype(np.float32) * 3 for leaf in leaves]
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        reference.step()
        updates, state = optimizer.update(jax.tree.unflatten(structure, gradients), state, params)
        params = optax.apply_updates(params, updates)
    for leaf, tensor in zip(jax.tree.leaves(params), tensors, strict=True):
        np.testing.assert_allclose(leaf, tensor.detach().numpy(), atol=1e-6)
