"""Rotary position embeddings: queries and keys of patches, turned by angles that follow from their place.

The turns of all tokens are made once for an image size. Tokens before the patches are turned by nothing.

References:
    RoFormer (arXiv:2104.09864); EVA-02 (arXiv:2303.11331); Rotary Position Embedding for Vision Transformer
    (arXiv:2403.13298); DINOv3 (arXiv:2508.10104); timm/layers/pos_embed_sincos.py.
"""

from typing import Literal, NamedTuple

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

Indexing = Literal["ij", "xy"]
"""Which coordinate is first: the row's (`ij`) or the column's (`xy`)."""

Coordinates = Float[np.ndarray, "patches 2"]
Angles = Float[Array, "*axes patches half_head"]


class Turns(NamedTuple):
    """Cosines and sines of each token's angles, a channel of a head each: [tokens, (heads,) head_width].

    Attributes:
        cosines: float32.
        sines: float32; of the first channel of a pair that turns together, negative.
    """

    cosines: Float[Array, "*tokens head_width"]
    sines: Float[Array, "*tokens head_width"]


def index_coordinates(
    grid_size: int, indexing: Indexing, offset: float = 0.0, reference: tuple[int, int] | None = None
) -> Coordinates:
    """Row and column of each patch, counted from an offset, maybe scaled to another grid.

    Args:
        grid_size: patches in a row and in a column.
        indexing: which coordinate is first.
        offset: of the first row and column.
        reference: rows and columns of the grid that is scaled to; None: no scaling.

    >>> index_coordinates(2, "xy", reference=(4, 4)).tolist()
    [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]
    """
    steps = np.arange(grid_size, dtype=np.float32) + np.float32(offset)
    rows, columns = (steps / grid_size * size for size in reference) if reference else (steps, steps)
    return _all_pairs(rows, columns, indexing)


def centred_coordinates(grid_size: int, indexing: Indexing, offset: float = 0.0) -> Coordinates:
    """Row and column of each patch's centre, from -1 to 1 over the image.

    >>> centred_coordinates(2, "ij").tolist()
    [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    """
    steps = (np.arange(0.5, grid_size, dtype=np.float32) + np.float32(offset)) / np.float32(grid_size)
    return _all_pairs(2 * steps - 1, 2 * steps - 1, indexing)


def _all_pairs(rows: np.ndarray, columns: np.ndarray, indexing: Indexing) -> Coordinates:
    pairs = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    return pairs if indexing == "ij" else pairs[:, ::-1]


def axial_angles(
    coordinates: Float[Array, "patches 2"], frequencies: Float[np.ndarray, " quarter_head"]
) -> Float[Array, "patches half_head"]:
    """Angles of which one half follows from the first coordinate, the other from the second."""
    return (coordinates[:, :, None] * frequencies[None, None]).reshape(len(coordinates), -1)


def inverse_powers(head_width: int, temperature: float) -> Float[np.ndarray, " quarter_head"]:
    """Frequencies from 1 down to nearly 1 / temperature, a quarter as many as channels of a head."""
    count = head_width // 4
    exponents = np.arange(count, dtype=np.float32) / np.float32(count)
    return (1.0 / np.float32(temperature) ** exponents).astype(np.float32)


def mixed_angles(
    coordinates: Float[Array, "patches 2"], frequencies: Float[Array, "2 heads half_head"]
) -> Float[Array, "heads patches half_head"]:
    """Angles that follow from both coordinates, by learnt frequencies."""
    first, second = (coordinates[None, :, axis, None] * frequencies[axis][:, None, :] for axis in (0, 1))
    return first + second


def create_turns(angles: Angles, prefix_tokens: int, half: bool) -> Turns:
    """Cosines and sines of angles, a channel of a head each; none turns in the tokens before the patches.

    Args:
        angles: of each patch, for half the channels of a head; maybe by heads.
        prefix_tokens: tokens before the patches.
        half: whether channels half a head apart turn together, not neighbours.

    Returns:
        [tokens, head_width], or [tokens, heads, head_width] where angles are by heads.
    """
    cosines, sines = jnp.cos(angles), jnp.sin(angles)
    margins = [(0, 0)] * (cosines.ndim - 2) + [(prefix_tokens, 0), (0, 0)]
    cosines, sines = jnp.pad(cosines, margins, constant_values=1), jnp.pad(sines, margins)
    if half:
        turns = jnp.concatenate([cosines, cosines], -1), jnp.concatenate([-sines, sines], -1)
    else:
        turns = jnp.repeat(cosines, 2, -1), jnp.stack([-sines, sines], -1).reshape(*sines.shape[:-1], -1)
    return Turns(*(jnp.moveaxis(values, -2, 0) for values in turns))


def turn(
    heads: Float[Array, "batch tokens heads head_width"], turns: Turns, half: bool
) -> Float[Array, "batch tokens heads head_width"]:
    """Turns the channels of each token; computed in float32.

    Args:
        heads: queries or keys.
        turns: for these tokens; maybe with an axis of images before them.
        half: as for `create_turns`.
    """
    wide = heads.astype(jnp.float32)
    if half:
        swapped = jnp.roll(wide, wide.shape[-1] // 2, -1)
    else:
        swapped = wide.reshape(*wide.shape[:-1], -1, 2)[..., ::-1].reshape(wide.shape)
    cosines, sines = (_like_heads(values, heads) for values in turns)
    return (wide * cosines + swapped * sines).astype(heads.dtype)


def first_turns(turns: Turns, kept: int | None) -> Turns:
    """Those of the first `kept` tokens, or of all, where each image may have its own."""
    return Turns(*(values[:, :kept] if values.ndim == 4 else values[:kept] for values in turns))


def _like_heads(values: Array, heads: Array) -> Array:
    """[tokens, width], [tokens, heads, width] or [batch, tokens, heads, width], with all four axes."""
    if values.ndim == 2:
        values = values[:, None]
    return values if values.ndim == 4 else values[None]
