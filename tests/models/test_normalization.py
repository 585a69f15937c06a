"""Batch normalization: values and gradients against the plain formula."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from sketch_jax.models.normalization import batch_statistics, layer_norm, normalize, normalize_batch

EPSILON = 1e-5


def plain(inputs, scale, bias, epsilon):
    """The formula of the paper, in the type of its arguments."""
    mean = inputs.mean((0, 1, 2), keepdims=True)
    variance = ((inputs - mean) ** 2).mean((0, 1, 2), keepdims=True)
    normalized = (inputs - mean) / jnp.sqrt(variance + epsilon)
    return (
        normalized * scale[None, None, None, :] + bias[None, None, None, :],
        mean[0, 0, 0],
        variance[0, 0, 0],
    )


def arrays(shape=(4, 5, 7, 6), centre=0.5, dtype=jnp.float32):
    random = np.random.default_rng(0)
    inputs = random.normal(size=shape) * np.linspace(0.1, 3, shape[3]) + centre
    scale, bias = random.normal(size=(2, shape[3]))
    return jnp.asarray(inputs, dtype), jnp.asarray(scale, jnp.float32), jnp.asarray(bias, jnp.float32)


def results(function, arguments):
    """Outputs, statistics and the gradients of inputs, scale and bias for one fixed random cotangent."""

    @jax.jit
    def pulled(*arguments):
        def first(*arguments):
            outputs, *statistics = function(*arguments, EPSILON)
            return outputs, statistics

        outputs, pull, statistics = jax.vjp(first, *arguments, has_aux=True)
        return outputs, *statistics, *pull(jax.random.normal(jax.random.key(1), outputs.shape, outputs.dtype))

    return pulled(*arguments)


def assert_close(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, float(np.abs(other).max())))


@pytest.mark.parametrize("shape", [(4, 5, 7, 6), (64, 3, 3, 8), (8, 1, 1, 5)])
def test_values_and_gradients_are_those_of_the_formula(shape):
    arguments = arrays(shape)
    assert_close(results(normalize_batch, arguments), results(plain, arguments), 5e-6)


def test_a_mean_far_from_zero_costs_little_precision():
    inputs, scale, bias = arrays(centre=100.0)
    exact = results(plain, (inputs - 100.0, scale, bias))
    actual = results(normalize_batch, (inputs, scale, bias))
    assert_close([actual[2]], [exact[2]], 1e-5)
    assert_close([actual[0], *actual[3:]], [exact[0], *exact[3:]], 3e-4)


def test_the_variance_is_the_biased_one():
    mean, variance = batch_statistics(jnp.arange(8.0).reshape(2, 2, 1, 2))
    np.testing.assert_allclose(mean, [3.0, 4.0])
    np.testing.assert_allclose(variance, [5.0, 5.0])


def test_statistics_of_bfloat16_inputs_are_float32_and_outputs_bfloat16():
    inputs, scale, bias = arrays(dtype=jnp.bfloat16)
    outputs, mean, variance = normalize_batch(inputs, scale, bias, EPSILON)
    assert outputs.dtype == jnp.bfloat16
    assert mean.dtype == variance.dtype == jnp.float32
    expected = plain(inputs.astype(jnp.float32), scale, bias, EPSILON)
    assert_close([mean, variance], expected[1:], 2e-6)
    assert_close([outputs], [expected[0]], 1e-2)


def test_gradients_of_bfloat16_inputs_are_near_those_of_float32():
    inputs, scale, bias = arrays(dtype=jnp.bfloat16)
    actual = jax.grad(lambda *arguments: jnp.square(normalize_batch(*arguments, EPSILON)[0]).sum(), 1)(
        inputs, scale, bias
    )
    wide = inputs.astype(jnp.float32)
    expected = jax.grad(lambda *arguments: jnp.square(plain(*arguments, EPSILON)[0]).sum(), 1)(
        wide, scale, bias
    )
    assert_close([actual], [expected], 2e-2)


def test_given_statistics_are_applied_as_they_are():
    inputs, scale, bias = arrays()
    mean, variance = batch_statistics(inputs)
    expected = plain(inputs, scale, bias, EPSILON)[0]
    assert_close([normalize(inputs, mean, variance, scale, bias, EPSILON)], [expected], 2e-6)


def test_a_batch_sharded_over_a_mesh_has_the_statistics_of_the_whole():
    if jax.device_count() < 2:
        pytest.skip("needs several devices (XLA_FLAGS=--xla_force_host_platform_device_count=4)")
    inputs, *others = arrays((8, 5, 7, 6))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    sharded = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("batch")))
    replicated = jax.device_put(others, NamedSharding(mesh, PartitionSpec()))
    actual = results(normalize_batch, (sharded, *replicated))
    assert_close(actual, results(normalize_batch, (inputs, *others)), 3e-6)


def test_rows_of_a_batch_sharded_over_a_mesh_stay_where_they_are():
    if jax.device_count() < 2:
        pytest.skip("needs several devices (XLA_FLAGS=--xla_force_host_platform_device_count=4)")
    inputs, scale, bias = arrays((8, 5, 7, 6), dtype=jnp.bfloat16)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    sharded = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("batch")))

    def total(inputs, scale, bias):
        return jnp.square(layer_norm(inputs, scale, bias, EPSILON)).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    assert "all-gather" not in gradient.lower(sharded, scale, bias).compile().as_text()
    assert_close(gradient(sharded, scale, bias), gradient(inputs, scale, bias), 1e-5)


def test_infinite_and_nan_inputs_show_in_the_outputs():
    inputs, scale, bias = arrays()
    outputs, *_ = normalize_batch(inputs.at[0, 0, 0, 0].set(jnp.nan), scale, bias, EPSILON)
    assert bool(jnp.isnan(outputs).any())
