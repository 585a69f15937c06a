"""Tokens put together: values, and where they lie on a GPU."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from sketch_jax.models.tokens import image_by_image, put_before

PATCHES = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 6)), jnp.float32)
PREFIX = [
    jnp.asarray(np.random.default_rng(count).normal(size=(1, count, 6)), jnp.float32) for count in (1, 3)
]


@pytest.mark.parametrize("embeds_prefix", [True, False, None])
@pytest.mark.parametrize("prefix", [PREFIX, []])
def test_the_prefix_stands_first_and_positions_are_added(prefix, embeds_prefix):
    count = sum(token.shape[1] for token in prefix)
    repeated = [np.repeat(token, 8, 0) for token in prefix]
    positions = None
    if embeds_prefix is None:
        expected = np.concatenate([*repeated, PATCHES], 1)
    else:
        embedded = 5 + (count if embeds_prefix else 0)
        positions = jnp.asarray(np.random.default_rng(3).normal(size=(1, embedded, 6)), jnp.float32)
        expected = np.concatenate([*repeated, PATCHES], 1)
        expected[:, -embedded:] += positions
    tokens = put_before(prefix, PATCHES, positions, embeds_prefix=bool(embeds_prefix))
    np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-6)


def test_tokens_of_half_precision_stay_so():
    positions = jnp.ones((1, 5, 6))
    assert put_before([], PATCHES.astype(jnp.bfloat16), positions, embeds_prefix=False).dtype == jnp.bfloat16


def test_tokens_are_held_as_a_matrix_on_a_gpu_and_are_free_elsewhere(monkeypatch):
    assert "barrier" not in str(jax.make_jaxpr(image_by_image)(PATCHES))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    traced = str(jax.make_jaxpr(lambda tokens: image_by_image(tokens))(PATCHES))
    assert "f32[40,6] = optimization_barrier" in traced
    np.testing.assert_array_equal(image_by_image(PATCHES), PATCHES)
    gradient = jax.grad(lambda tokens: (image_by_image(tokens) ** 2).sum())(PATCHES)
    np.testing.assert_allclose(gradient, 2 * PATCHES)


def test_a_sharded_batch_of_tokens_stays_where_it_is(monkeypatch):
    if jax.device_count() < 2:
        pytest.skip("needs several devices (XLA_FLAGS=--xla_force_host_platform_device_count=8)")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    sharded = jax.device_put(PATCHES, NamedSharding(mesh, PartitionSpec("batch")))
    compiled = jax.jit(lambda tokens: image_by_image(tokens) + 1.0).lower(sharded).compile()
    assert "all-gather" not in compiled.as_text()
    np.testing.assert_array_equal(compiled(sharded), PATCHES + 1.0)
