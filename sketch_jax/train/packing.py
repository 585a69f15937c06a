"""The leaves of a state by path, and many small ones as one array: hundreds of files' worth of work saved."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import UInt8

from sketch_jax.trees import count_bytes

PACKED_BELOW_BYTES = 256 * 1024


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Leaves of any pytree by their path, in the order of `jax.tree.leaves`.

    >>> leaves_by_path({"layers": [{"bias": 1}, {"bias": 2}], "empty": {}})
    {'layers/0/bias': 1, 'layers/1/bias': 2}

    Raises:
        ValueError: two leaves have the same path, because a name contains "/".
    """
    found = jax.tree_util.tree_leaves_with_path(tree)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}
    if len(leaves) != len(found):
        raise ValueError(f"{len(found)} leaves have only {len(leaves)} distinct paths")
    return leaves


def describe(leaf: Any) -> str:
    """Type and shape of an array as text.

    >>> describe(np.zeros((3, 4), np.int32))
    'int32[3,4]'
    """
    return f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"


def parse_description(description: str) -> jax.ShapeDtypeStruct:
    """The inverse of `describe`.

    >>> parse_description("bfloat16[8]")
    ShapeDtypeStruct(shape=(8,), dtype=bfloat16)

    Raises:
        ValueError: the text is no description.
    """
    match = re.fullmatch(r"(\w+)\[([\d,]*)\]", description)
    if match is None:
        raise ValueError(f"{description!r} is not a type and a shape")
    shape = tuple(int(size) for size in match[2].split(",") if size)
    return jax.ShapeDtypeStruct(shape, jnp.dtype(match[1]))


def is_packed(leaf: jax.Array) -> bool:
    """Whether a leaf is small, and whole on this host."""
    return leaf.nbytes < PACKED_BELOW_BYTES and (leaf.is_fully_addressable or leaf.is_fully_replicated)


def pack(leaves: Iterable[jax.Array]) -> UInt8[np.ndarray, " bytes"]:
    """The bytes of all leaves, one after the other, copied to the host."""
    copied = jax.device_get(list(leaves))
    return np.frombuffer(b"".join(array.tobytes() for array in copied), np.uint8)


def unpack(packed: UInt8[np.ndarray, " bytes"], leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays inside packed bytes.

    Args:
        packed: what `pack` made.
        leaves: shape and type of each packed array, in the order of packing.
    """
    sizes = [count_bytes(leaf) for leaf in leaves.values()]
    pieces = np.split(packed, np.cumsum(sizes)[:-1]) if sizes else []
    return {
        path: piece.view(leaf.dtype).reshape(leaf.shape)
        for (path, leaf), piece in zip(leaves.items(), pieces, strict=True)
    }
