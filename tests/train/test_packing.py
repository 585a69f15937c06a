"""Leaves are packed into bytes and found again."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from sketch_jax.train.packing import (
    PACKED_BELOW_BYTES,
    describe,
    is_packed,
    leaves_by_path,
    pack,
    parse_description,
    unpack,
)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "uint32", "float16", "bfloat16", "float32"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 5)])
def test_a_description_says_all_of_type_and_shape(dtype, shape):
    leaf = jnp.zeros(shape, dtype)
    assert parse_description(describe(leaf)) == jax.ShapeDtypeStruct(shape, leaf.dtype)


@pytest.mark.parametrize("text", ["float32", "float32[3", "[3]", "float32[3,x]"])
def test_what_is_no_description_is_refused(text):
    with pytest.raises(ValueError, match="is not a type and a shape"):
        parse_description(text)


def test_packed_bytes_hold_the_leaves_one_after_the_other_whatever_their_widths():
    numbers = np.random.default_rng(0)
    leaves = {
        "flags": jnp.asarray([True, False, True]),
        "loss": jnp.asarray(numbers.normal(), jnp.float32),
        "empty": jnp.zeros((0, 2), jnp.int32),
        "half": jnp.asarray(numbers.normal(size=(2, 3)), jnp.bfloat16),
        "count": jnp.asarray(7, jnp.int32),
    }
    packed = pack(leaves.values())
    assert packed.nbytes == 3 + 4 + 0 + 12 + 4
    unpacked = unpack(packed, leaves)
    assert list(unpacked) == list(leaves)
    for path, leaf in leaves.items():
        assert (unpacked[path].dtype, unpacked[path].shape) == (leaf.dtype, leaf.shape)
        assert unpacked[path].tobytes() == np.asarray(leaf).tobytes()
    assert unpack(pack([]), {}) == {}


def test_only_small_leaves_are_packed():
    assert is_packed(jnp.zeros(PACKED_BELOW_BYTES - 1, jnp.int8))
    assert not is_packed(jnp.zeros(PACKED_BELOW_BYTES, jnp.int8))


def test_paths_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="2 leaves have only 1 distinct paths"):
        leaves_by_path({"a": {"b": 1}, "a/b": 2})
