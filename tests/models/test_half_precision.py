"""Half precision rounds once, and sums what many rows share in float32."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.half_precision import add_shared, add_to_channels, scale_channels

ROWS = 300


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.bfloat16)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activation_of_half_precision_is_that_of_float32_rounded_once(name):
    act = ACTIVATIONS[name]
    inputs = jnp.linspace(-5.0, 5.0, 4001).astype(jnp.bfloat16)
    cotangent = random(4001)
    outputs, pull = jax.vjp(act, inputs)
    expected, pull_wide = jax.vjp(act, inputs.astype(jnp.float32))
    np.testing.assert_array_equal(outputs, expected.astype(jnp.bfloat16))
    (gradient,), (wide,) = pull(cotangent), pull_wide(cotangent.astype(jnp.float32))
    assert gradient.dtype == outputs.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", ["silu", "gelu_tanh", "quick_gelu", "hard_swish", "sigmoid", "gelu", "tanh"])
def test_an_activation_of_half_precision_keeps_its_inputs_alone(name):
    kept = jax.tree.leaves(jax.eval_shape(lambda inputs: jax.vjp(ACTIVATIONS[name], inputs)[1], random(7)))
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [((7,), jnp.bfloat16)]


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("function", [add_to_channels, scale_channels])
def test_the_gradient_of_a_shared_number_is_summed_in_float32(function, width):
    inputs, cotangent = random(ROWS, 4, 5), random(ROWS, 4, 5, seed=1)
    shared = jnp.asarray(np.random.default_rng(2).normal(size=width), jnp.float32)
    outputs, pull = jax.vjp(function, inputs, shared)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        outputs,
        inputs + shared.astype(jnp.bfloat16)[None, None]
        if function is add_to_channels
        else inputs * shared.astype(jnp.bfloat16)[None, None],
    )
    of_inputs, of_shared = pull(cotangent)
    wide, rows = np.asarray(cotangent, np.float64), np.asarray(inputs, np.float64)
    exact = wide if function is add_to_channels else wide * rows
    exact = exact.sum((0, 1)) if width > 1 else exact.sum(keepdims=True).reshape(1)
    assert of_shared.dtype == jnp.float32
    np.testing.assert_allclose(of_shared, exact, rtol=1e-5, atol=1e-4)
    assert np.abs(exact - np.asarray(exact, jnp.bfloat16).astype(np.float64)).max() > 1e-3
    factor = jnp.ones(1) if function is add_to_channels else shared
    np.testing.assert_array_equal(of_inputs, cotangent * factor.astype(jnp.bfloat16)[None, None])


def test_what_all_images_share_is_added_with_its_gradient_summed_in_float32():
    inputs, cotangent = random(ROWS, 3, 4), random(ROWS, 3, 4, seed=1)
    positions = jnp.asarray(np.random.default_rng(2).normal(size=(1, 3, 4)), jnp.float32)
    _, pull = jax.vjp(add_shared, inputs, positions)
    exact = np.asarray(cotangent, np.float64).sum(0, keepdims=True)
    np.testing.assert_allclose(pull(cotangent)[1], exact, rtol=1e-5, atol=1e-4)


def test_float32_is_left_to_the_compiler():
    inputs = jnp.ones((2, 3))
    for function in (add_to_channels, scale_channels, ACTIVATIONS["silu"]):
        arguments = (inputs,) if function is ACTIVATIONS["silu"] else (inputs, jnp.ones(3))
        assert "custom_vjp" not in str(jax.make_jaxpr(function)(*arguments))
