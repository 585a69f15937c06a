"""Random streams: a key for each purpose and step is derived from one root key, so none is ever stored."""

import zlib

import jax
from jaxtyping import Array, Int, Key


def stream(root: Key[Array, ""], name: str, step: int | Int[Array, ""] = 0) -> Key[Array, ""]:
    """The key of a named stream at a step.

    Args:
        root: the key of the run.
        name: what the randomness is for, such as `"augment"`; streams of different names are independent.
        step: training step, from 0; may be traced.
    """
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode())), step)
