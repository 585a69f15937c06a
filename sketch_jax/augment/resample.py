"""Affine resampling of ink: bilinear, with paper beyond the borders.

Places in an image are whole numbers of a tiny fraction of a pixel. XLA calculates them anew wherever they are
used, for the gather and for the weights; in floating point these could fall on either side of a pixel's edge.
"""

from typing import NamedTuple

import jax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num


class FixedPointMap(NamedTuple):
    """Affine maps from the output's pixels to places in the input, in units of 2^-bits of a pixel."""

    linear: Int[Array, "batch 2 2"]
    """(row, column) of the input by (row, column) of the output, per half pixel from the centre."""
    offset: Int[Array, "batch 2"]
    """(row, column) of the input, from its centre, at the output's centre."""


def warp(
    ink: Num[Array, "batch height width channel"], matrices: Float[Array, "batch 3 3"]
) -> Float[Array, "batch height width channel"]:
    """Each image read at the places that its matrix maps the output's pixels to; 0 beyond the borders.

    Args:
        ink: any scale and number type, 0 is paper; bytes are the fastest.
        matrices: (row, column, 1) of the output to that of the input, in pixels from the centre; none may
            lead further than 7 image sides away.

    Returns:
        float32, on the scale of `ink`.
    """
    maps = fixed_point_map(matrices, *ink.shape[1:3])
    return jax.lax.platform_dependent(ink, maps, cpu=_resample_where_any_moves, default=_resample)


def fraction_bits(height: int, width: int) -> int:
    """Binary digits of a pixel in 32-bit places that reach 7 sides beyond the image.

    >>> fraction_bits(96, 96), fraction_bits(448, 448)
    (21, 19)
    """
    return 28 - max(height, width).bit_length()


def fixed_point_map(matrices: Float[Array, "batch 3 3"], height: int, width: int) -> FixedPointMap:
    """The matrices, rounded; all that follows from them is exact, and the same on every device."""
    unit = 2.0 ** fraction_bits(height, width)
    linear = jnp.round(matrices[:, :2, :2] * (unit / 2)).astype(jnp.int32)
    return FixedPointMap(linear, jnp.round(matrices[:, :2, 2] * unit).astype(jnp.int32))


def _resample_where_any_moves(ink: Array, maps: FixedPointMap) -> Array:
    """For CPUs: the branch makes the resampling one step of its own.

    XLA drops optimization barriers there and would fuse the resampling into its readers. Where these are a
    mean over the image, or mixing, that takes four times as long. On a GPU a branch would wait for the host.
    """
    return jax.lax.cond(_any_moves(maps, *ink.shape[1:3]), _resample, _as_floats, ink, maps)


def _any_moves(maps: FixedPointMap, height: int, width: int) -> Bool[Array, ""]:
    identity = 2 ** (fraction_bits(height, width) - 1) * jnp.eye(2, dtype=jnp.int32)[None]
    return jnp.any(maps.linear != identity) | jnp.any(maps.offset != 0)


def _as_floats(ink: Array, maps: FixedPointMap) -> Array:
    return ink.astype(jnp.float32)


def _resample(ink: Array, maps: FixedPointMap) -> Array:
    height, width = ink.shape[1:3]
    top, row_weight = _split_places(maps, 0, height, width)
    left, column_weight = _split_places(maps, 1, height, width)
    padded = jnp.pad(ink, ((0, 0), (1, 2), (1, 2), (0, 0)))

    def tap(down: int, right: int) -> Array:
        gather = jax.vmap(lambda image, row, column: image.at[row, column].get(mode="promise_in_bounds"))
        return gather(padded, top + down, left + right).astype(jnp.float32)

    upper = _between(tap(0, 0), tap(0, 1), column_weight)
    lower = _between(tap(1, 0), tap(1, 1), column_weight)
    return _between(upper, lower, row_weight)


def _between(first: Array, second: Array, weight: Array) -> Array:
    return first + weight * (second - first)


def _split_places(
    maps: FixedPointMap, axis: int, height: int, width: int
) -> tuple[Int[Array, "batch height width"], Float[Array, "batch height width 1"]]:
    """The tap before each place and the weight of the one after, along an axis of a bordered image."""
    bits, size = fraction_bits(height, width), (height, width)[axis]
    by_row, by_column, offset = (
        value.reshape(-1, 1, 1)
        for value in (maps.linear[:, axis, 0], maps.linear[:, axis, 1], maps.offset[:, axis])
    )
    rows = (2 * jnp.arange(height, dtype=jnp.int32) - (height - 1)).reshape(1, height, 1)
    columns = (2 * jnp.arange(width, dtype=jnp.int32) - (width - 1)).reshape(1, 1, width)
    places = by_row * rows + by_column * columns + (offset + (size - 1) * 2 ** (bits - 1))
    bordered = jnp.clip(places, -(2**bits), size * 2**bits)
    weight = (bordered & (2**bits - 1)).astype(jnp.float32) * 2.0**-bits
    return (bordered >> bits) + 1, weight[..., None]
