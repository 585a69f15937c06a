"""Shared parts beside torch, scipy and arithmetic."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.models.layers import (
    Dropout,
    DropPath,
    LayerNorm,
    LayerScale,
    Linear,
    Norm,
    PackedSwiGlu,
    RmsNorm,
    SimpleNorm,
    SwiGlu,
)
from sketch_jax.models.normalization import layer_norm


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_a_linear_map_takes_any_number_of_axes(shape):
    kernel, bias = random_array(5, 7), random_array(7, seed=1)
    inputs = random_array(*shape, seed=2)
    params = jax.tree.map(jnp.asarray, {"kernel": kernel, "bias": bias})
    outputs = Linear(7).apply({"params": params}, jnp.asarray(inputs))
    np.testing.assert_allclose(outputs, inputs @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_a_linear_map_computes_in_its_type_and_keeps_float32_parameters():
    layer = Linear(3, dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), jnp.zeros((2, 4)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert layer.apply(params, jnp.zeros((2, 4))).dtype == jnp.bfloat16


def test_new_linear_weights_are_normal_with_deviation_002_and_biases_zero():
    params = Linear(300).init(jax.random.key(0), jnp.zeros((1, 300)))["params"]
    assert np.abs(params["kernel"].std() - 0.02) < 2e-4
    assert np.abs(params["kernel"].mean()) < 2e-4
    assert not params["bias"].any()


@pytest.mark.parametrize(
    ("kind", "epsilon"),
    [("layer", 1e-6), ("layer", 1e-1), ("root_mean_square", 1e-6), ("simple", 1e-6), ("simple", 1e-1)],
)
def test_norms_and_their_gradients_are_timms(kind, epsilon):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    kinds = {"layer": layers.LayerNorm, "root_mean_square": layers.RmsNorm, "simple": layers.SimpleNorm}
    theirs = kinds[kind](6, eps=epsilon)
    for seed, parameter in enumerate(theirs.parameters()):
        parameter.data = torch.tensor(random_array(6, seed=seed))
    params = {"scale": jnp.asarray(random_array(6))}
    if kind == "layer":
        params["bias"] = jnp.asarray(random_array(6, seed=1))
    inputs, weights = 0.4 * random_array(4, 3, 6, seed=2) + 1.0, random_array(4, 3, 6, seed=3)
    tensor = torch.tensor(inputs, requires_grad=True)
    expected = theirs(tensor)
    (expected * torch.tensor(weights)).sum().backward()

    def objective(params, inputs):
        outputs = Norm(kind=kind, epsilon=epsilon).create().apply({"params": params}, inputs)
        return (outputs * weights).sum(), outputs

    gradients, outputs = jax.grad(objective, argnums=(0, 1), has_aux=True)(params, jnp.asarray(inputs))
    np.testing.assert_allclose(outputs, expected.detach(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradients[1], tensor.grad, rtol=0, atol=2e-5)
    np.testing.assert_allclose(gradients[0]["scale"], theirs.weight.grad, rtol=0, atol=2e-5)
    if kind == "layer":
        np.testing.assert_allclose(gradients[0]["bias"], theirs.bias.grad, rtol=0, atol=2e-5)


def test_layer_norm_may_do_without_a_bias():
    params = {"scale": jnp.asarray(random_array(6))}
    inputs = jnp.asarray(random_array(4, 3, 6, seed=1))
    expected = LayerNorm(1e-6).apply({"params": {**params, "bias": jnp.zeros(6)}}, inputs)
    np.testing.assert_array_equal(LayerNorm(1e-6, use_bias=False).apply({"params": params}, inputs), expected)


@pytest.mark.parametrize("offset", [0.0, 30.0, 1000.0])
def test_layer_norm_holds_far_from_zero(offset):
    inputs = (random_array(5, 64).astype(np.float64) + offset).astype(np.float32)
    precise = inputs.astype(np.float64)
    expected = (precise - precise.mean(-1, keepdims=True)) / precise.std(-1, keepdims=True)
    outputs = layer_norm(jnp.asarray(inputs), jnp.ones(64), jnp.zeros(64), 0.0)
    rounding_of_the_mean = 1e-7 * offset
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6 + rounding_of_the_mean)


def test_gradients_of_layer_norm_in_half_precision_are_those_of_single_precision_far_from_zero_too():
    width = 768
    inputs = jnp.asarray(random_array(3, 40, width) * 3.0 + 5.0, jnp.bfloat16)
    inputs = inputs.at[0, 0].set(100.5).at[0, 1].set(100.5).at[0, 1, 300].set(101.0).at[0, 2].add(1000.0)
    cotangents = jnp.asarray(random_array(3, 40, width, seed=1), jnp.bfloat16)
    scale, bias = jnp.asarray(random_array(width, seed=2)), jnp.asarray(random_array(width, seed=3))

    @jax.jit
    def pulled(inputs, cotangents):
        outputs, pull = jax.vjp(lambda *operands: layer_norm(*operands, 1e-6), inputs, scale, bias)
        return outputs, *pull(cotangents)

    outputs, of_inputs, of_scale, of_bias = pulled(inputs, cotangents)
    wide, wide_of_inputs, *_ = pulled(inputs.astype(jnp.float32), cotangents.astype(jnp.float32))
    np.testing.assert_array_equal(outputs, wide.astype(jnp.bfloat16))
    np.testing.assert_array_equal(of_inputs, wide_of_inputs.astype(jnp.bfloat16))
    exact, weights = np.asarray(inputs, np.float64), np.asarray(cotangents, np.float64)
    normalized = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    assert of_scale.dtype == of_bias.dtype == jnp.float32
    np.testing.assert_allclose(of_scale, (weights * normalized).sum((0, 1)), rtol=0, atol=1e-4)
    np.testing.assert_allclose(of_bias, weights.sum((0, 1)), rtol=0, atol=1e-4)


def test_norms_of_half_precision_have_float32_statistics():
    inputs = jnp.asarray(random_array(2, 512) + 3.0, jnp.bfloat16)
    for norm in (LayerNorm(epsilon=1e-6), RmsNorm(epsilon=1e-6), SimpleNorm(epsilon=1e-6)):
        params = norm.init(jax.random.key(0), inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        precise = norm.apply(params, jnp.asarray(inputs, jnp.float32))
        outputs = norm.apply(params, inputs)
        assert outputs.dtype == jnp.bfloat16
        np.testing.assert_array_equal(outputs, precise.astype(jnp.bfloat16))


def test_layer_scale_starts_at_its_value():
    layer = LayerScale(0.25)
    params = layer.init(jax.random.key(0), jnp.ones((2, 3)))
    np.testing.assert_array_equal(layer.apply(params, jnp.ones((2, 3))), 0.25)


def test_dropout_keeps_the_expectation_and_spares_evaluation():
    inputs = jnp.full((200, 100), 3.0)
    outputs = Dropout(0.25).apply({}, inputs, True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(outputs)) == {0.0, 4.0}
    assert abs((outputs == 0.0).mean() - 0.25) < 0.01
    assert Dropout(0.25).apply({}, inputs, False) is inputs
    assert Dropout(0.0).apply({}, inputs, True) is inputs


def test_drop_path_leaves_out_whole_images_and_scales_up_the_others():
    inputs = jnp.asarray(random_array(4000, 3, 2))
    outputs = np.asarray(DropPath(0.2).apply({}, inputs, True, rngs={"dropout": jax.random.key(0)}))
    dropped = (outputs == 0.0).all(axis=(1, 2))
    assert abs(dropped.mean() - 0.2) < 0.02
    np.testing.assert_allclose(outputs[~dropped], np.asarray(inputs)[~dropped] / 0.8, rtol=1e-6)


@pytest.mark.parametrize("kind", [PackedSwiGlu, SwiGlu])
def test_new_gates_start_as_timms(kind):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    theirs = {PackedSwiGlu: layers.SwiGLUPacked, SwiGlu: layers.SwiGLU}[kind](32, 128)
    torch.manual_seed(0)
    theirs.init_weights()
    params = kind(128, 32, act_layer="silu").init(jax.random.key(0), jnp.ones((1, 1, 32)), False)["params"]
    if kind is PackedSwiGlu:
        gates = {"kernel": params["fc1"]["kernel"][:, 64:], "bias": params["fc1"]["bias"][64:]}
        values = params["fc1"]["kernel"][:, :64]
        their_gates = theirs.fc1.weight[64:].T, theirs.fc1.bias[64:]
    else:
        gates, values = params["fc1_g"], params["fc1_x"]["kernel"]
        their_gates = theirs.fc1_g.weight.T, theirs.fc1_g.bias
    assert gates["kernel"].shape == tuple(their_gates[0].shape)
    assert abs(gates["kernel"].std() / their_gates[0].detach().numpy().std() - 1) < 0.1
    np.testing.assert_array_equal(gates["bias"], their_gates[1].detach())
    assert abs(values.std() - 0.02) < 2e-3
