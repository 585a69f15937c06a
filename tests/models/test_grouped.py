"""Grouped convolutions as dense ones of joined groups."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.models.grouped import MOST_PIECES, gather_kernel, joined_groups, spread_kernel


@pytest.mark.parametrize(("groups", "channels"), [(32, 4), (6, 8), (13, 8), (1, 64), (509, 4), (997, 1)])
def test_all_groups_are_joined_evenly_into_few_pieces(groups, channels):
    joined = joined_groups(groups, channels)
    assert sum(joined) == groups
    assert len(joined) <= MOST_PIECES
    assert max(joined) - min(joined) <= 1


@pytest.mark.parametrize("joined", [1, 2, 6])
def test_a_spread_kernel_holds_each_value_once_and_comes_back(joined):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 4, joined * 5)), jnp.float32)
    dense = spread_kernel(kernel, joined)
    assert dense.shape == (3, 2, joined * 4, joined * 5)
    np.testing.assert_array_equal(gather_kernel(dense, joined), kernel)
    assert int((dense != 0).sum()) == kernel.size


def test_gathering_is_the_transpose_of_spreading():
    kernel = jnp.zeros((3, 3, 4, 10))
    cotangent = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 8, 10)), jnp.float32)
    (expected,) = jax.vjp(lambda kernel: spread_kernel(kernel, 2), kernel)[1](cotangent)
    np.testing.assert_array_equal(gather_kernel(cotangent, 2), expected)
