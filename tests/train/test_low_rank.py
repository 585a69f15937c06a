"""Low-rank changes of kernels against cases worked by hand and against the kernels they amount to."""

import re

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tuning_cases import begun, tiny_model, trained, values

from sketch_jax.models.low_rank import create_factors, factor_paths, merge_factors
from sketch_jax.models.tuning_options import Lora
from sketch_jax.train.division import begin, divide, whole
from sketch_jax.trees import flatten, map_with_path, stack_blocks, unstack_blocks

VIT, EVA, RESNET = "vit_tiny_patch16_224", "eva02_base_patch14_448", "test_resnet"
POINTWISE = Lora(rank=2, alpha=4.0, targets=(r"layer1_0/conv1",))


def test_the_gradients_of_both_factors_are_those_worked_by_hand():
    """y = (x W + (alpha / rank) x D U) · c, so dU = s (x D)^T c and dD = s x^T (c U^T)."""
    kernel = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    down, up = jnp.asarray([[1.0], [0.0], [2.0]]), jnp.asarray([[3.0, -1.0]])
    inputs, cotangent = jnp.asarray([[1.0, 2.0, 3.0]]), jnp.asarray([[10.0, 1.0]])

    def total(factors):
        params = merge_factors({"map": {"kernel": kernel, **factors}}, alpha=2.0)
        return ((inputs @ params["map"]["kernel"]) * cotangent).sum()

    value, gradients = jax.value_and_grad(total)({"lora_down": down, "lora_up": up})
    # x W = [22, 28]; x D = 7; D U = [[3, -1], [0, 0], [6, -2]], so x D U = [21, -7]; the scale is 2.
    assert value == (22 + 42) * 10 + (28 - 14) * 1
    np.testing.assert_array_equal(gradients["lora_up"], [[140.0, 14.0]])
    np.testing.assert_array_equal(gradients["lora_down"], [[58.0], [116.0], [174.0]])


def test_factors_start_as_torch_starts_its_linear_maps_and_change_nothing():
    factors = create_factors({"a/kernel": jnp.zeros((400, 30))}, 64, jax.random.key(0))
    down, up = factors["a/lora_down"], factors["a/lora_up"]
    assert (down.shape, up.shape) == ((400, 64), (64, 30))
    assert not up.any()
    assert np.abs(down).max() == pytest.approx(1 / 20, rel=1e-3)
    assert down.std() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)
    other = create_factors({"b/kernel": jnp.zeros((400, 30))}, 64, jax.random.key(0))
    assert not np.allclose(other["b/lora_down"], down)


@pytest.mark.parametrize("name", [VIT, EVA])
def test_before_the_first_step_the_model_is_the_start_weights(name):
    division, _, state, frozen = begun(name, Lora(rank=2), optax.sgd(0.1))
    params = flatten(whole(division, state.trainable, frozen))
    start = flatten(values(name)[0])
    assert params.keys() == start.keys()
    assert all(np.array_equal(params[path], start[path]) for path in start)
    parts = {"qkv"} if name == VIT else {"q_proj", "k_proj", "v_proj"}
    assert {path.split("/")[2] for path in division.changed} == parts
    in_head = {path for path in start if path.split("/")[0] in ("head", "fc_norm")}
    assert flatten(state.trainable).keys() == factor_paths(division.changed) | in_head


@pytest.mark.parametrize(
    ("name", "tuning"), [(VIT, Lora(rank=2)), (EVA, Lora(rank=3, alpha=1.0)), (RESNET, POINTWISE)]
)
def test_merged_kernels_give_the_logits_of_kernel_and_factors_side_by_side(name, tuning):
    """Side by side: x W + s (x D) U at the map itself; by the chain rule both ways learn alike."""
    state, frozen, _ = trained(name, tuning, steps=3)
    division = divide(tuning, tiny_model(name), values(name)[0])
    leaves = flatten(state.trainable)
    start, merged = flatten(values(name)[0]), flatten(whole(division, state.trainable, frozen))
    for path in division.changed:
        place = path.removesuffix("kernel")
        down, up = leaves[f"{place}lora_down"], leaves[f"{place}lora_up"]
        assert np.abs(up).max() > 1e-5
        inputs = np.random.default_rng(0).normal(size=(5, down.shape[0])).astype(np.float32)
        original = inputs @ np.asarray(start[path]).reshape(down.shape[0], -1)
        scale = tuning.alpha / tuning.rank
        aside = original + scale * ((inputs @ down) @ up)
        whole_map = inputs @ np.asarray(merged[path]).reshape(down.shape[0], -1)
        np.testing.assert_allclose(whole_map, aside, rtol=0, atol=1e-5)
        assert np.abs(aside - original).max() > 1e-6
    untouched = merged.keys() - division.changed - division.trained
    assert all(np.array_equal(merged[path], start[path]) for path in untouched)


def test_a_pointwise_convolution_is_a_linear_map_of_its_channels():
    kernel = np.random.default_rng(0).normal(size=(1, 1, 6, 4)).astype(np.float32)
    down, up = np.ones((6, 2), np.float32), np.arange(8, dtype=np.float32).reshape(2, 4)
    params = merge_factors({"conv": {"kernel": kernel, "lora_down": down, "lora_up": up}}, alpha=1.0)
    inputs = np.random.default_rng(1).normal(size=(2, 3, 3, 6)).astype(np.float32)
    found = jax.lax.conv_general_dilated(
        inputs, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = inputs @ kernel[0, 0] + 0.5 * (inputs @ down) @ up
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert params["conv"].keys() == {"kernel"}


def test_stacked_blocks_get_factors_of_their_own_that_learn_as_single_ones():
    tuning, params = Lora(rank=2), values(VIT)[0]
    single = divide(tuning, tiny_model(VIT), params)
    stacked = divide(tuning, tiny_model(VIT), stack_blocks(params))
    assert stacked.changed == {"blocks/attn/qkv/kernel"}
    trainable, frozen = begin(stacked, stack_blocks(params), jax.random.key(7))
    assert trainable["blocks"]["attn"]["qkv"]["lora_down"].shape == (2, 12, 2)
    moved = map_with_path(lambda path, leaf: leaf + (0.1 if "lora" in path else 0.0), trainable)
    found = unstack_blocks(whole(stacked, moved, frozen))
    _, single_frozen = begin(single, params, jax.random.key(7))
    expected = whole(single, unstack_blocks(moved), single_frozen)
    for path, leaf in flatten(expected).items():
        np.testing.assert_allclose(flatten(found)[path], leaf, rtol=0, atol=1e-6, err_msg=path)


def test_factors_of_every_target_get_a_gradient():
    state, _, _ = trained(EVA, Lora(rank=2), steps=2)
    _, _, start, _ = begun(EVA, Lora(rank=2), optax.sgd(0.1))
    before = flatten(start.trainable)
    for path, leaf in flatten(state.trainable).items():
        if re.search("lora", path):
            assert not np.array_equal(leaf, before[path]), path
