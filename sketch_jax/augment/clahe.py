"""Contrast-limited adaptive histogram equalization of the brightness, as OpenCV does it.

References:
    Zuiderveld, Contrast Limited Adaptive Histogram Equalization (Graphics Gems IV, 1994); opencv's clahe.cpp.
"""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.arrays import Images
from sketch_jax.augment.colour import luma
from sketch_jax.augment.tables import PerImage

TILES = 8
"""Tiles along each axis: OpenCV's default."""


def clahe(pixels: Images, clip_limits: PerImage) -> Images:
    """The grey of each pixel equalized by tables of the tiles about it; its difference goes to all channels.

    Args:
        pixels: images; 255 is white paper.
        clip_limits: the most that a byte of a tile may be frequent, of the mean frequency; 1 changes least.
    """
    grey = luma(pixels)[..., 0]
    changed = jax.vmap(_equalized)(grey, clip_limits)
    moved = jnp.asarray(pixels).astype(jnp.int32) + (changed - grey)[..., None]
    return jnp.clip(moved, 0, 255).astype(jnp.uint8)


def _equalized(grey: Int[Array, "height width"], clip_limit: Float[Array, ""]) -> Int[Array, "height width"]:
    height, width = grey.shape
    tile = (-(-height // TILES), -(-width // TILES))
    padding = ((0, tile[0] * TILES - height), (0, tile[1] * TILES - width))
    tables = _tables(jnp.pad(grey, padding, mode="reflect"), tile, clip_limit)
    above, down = _neighbours(height, tile[0])
    left, right = _neighbours(width, tile[1])

    def read(rows: Array, columns: Array) -> Array:
        starts = 256 * (TILES * rows.reshape(-1, 1) + columns.reshape(1, -1))
        return tables.reshape(-1).at[starts + grey].get(mode="promise_in_bounds")

    corners = [[read(rows, columns) for columns in (left[0], left[1])] for rows in (above[0], above[1])]
    across = [first + right.reshape(1, -1) * (second - first) for first, second in corners]
    return jnp.round(across[0] + down.reshape(-1, 1) * (across[1] - across[0])).astype(jnp.int32)


def _neighbours(size: int, tile: int) -> tuple[Int[Array, "2 size"], Float[Array, " size"]]:
    """The tiles before and after each pixel along an axis, and the weight of the one after."""
    places = jnp.arange(size, dtype=jnp.float32) / tile - 0.5
    before = jnp.floor(places)
    pair = before.astype(jnp.int32).reshape(1, -1) + jnp.array([[0], [1]])
    return jnp.clip(pair, 0, TILES - 1), places - before


def _tables(
    grey: Int[Array, "height width"], tile: tuple[int, int], clip_limit: Float[Array, ""]
) -> Float[Array, "tiles 256"]:
    """The new value of each byte in each tile, row by row."""
    area = tile[0] * tile[1]
    rows, columns = (
        jnp.arange(size, dtype=jnp.int32) // part for size, part in zip(grey.shape, tile, strict=True)
    )
    bins = grey + 256 * (TILES * rows.reshape(-1, 1) + columns.reshape(1, -1))
    counts = jnp.zeros(TILES * TILES * 256, jnp.int32).at[bins.reshape(-1)].add(1, mode="promise_in_bounds")
    counts = counts.reshape(TILES * TILES, 256)
    limit = jnp.maximum(jnp.floor(clip_limit * area / 256.0).astype(jnp.int32), 1)
    clipped = _spread(jnp.minimum(counts, limit), jnp.maximum(counts - limit, 0).sum(-1, keepdims=True))
    return jnp.round(jnp.cumsum(clipped, axis=-1).astype(jnp.float32) * (255.0 / area))


def _spread(counts: Int[Array, "tiles 256"], excess: Int[Array, "tiles 1"]) -> Int[Array, "tiles 256"]:
    """What was clipped, shared among all bytes; the remainder goes to bytes at even distances."""
    remainder = excess % 256
    places = jnp.arange(256, dtype=jnp.int32).reshape(1, 256)
    step = 256 // jnp.maximum(remainder, 1)
    return counts + excess // 256 + ((places % step == 0) & (places // step < remainder))
