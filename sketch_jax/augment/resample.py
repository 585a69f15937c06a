"""Resampling of ink: bilinear, with paper beyond the borders.

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


def warp_from(
    ink: Num[Array, "batch height width channel"],
    row: Float[Array, "batch #height #width"],
    column: Float[Array, "batch #height #width"],
    matrices: Float[Array, "batch 3 3"],
) -> Float[Array, "batch height width channel"]:
    """As `warp`, where each output pixel stands for another place of the output, and by any projection.

    Args:
        ink: as for `warp`.
        row: of the place that a pixel stands for, in pixels from the centre.
        column: likewise.
        matrices: as for `warp`, with any last row and reach. What lies behind the eye is paper.
    """
    height, width = ink.shape[1:3]
    places = _project(row, column, matrices, height, width)
    stays = jnp.all(row == _centred(height).reshape(1, -1, 1)) & jnp.all(
        column == _centred(width).reshape(1, 1, -1)
    )
    moves = ~(stays & jnp.all(matrices == jnp.eye(3).reshape(1, 3, 3)))
    return jax.lax.platform_dependent(
        ink,
        places,
        cpu=lambda ink, places: jax.lax.cond(moves, _resample_at, _as_floats, ink, places),
        # Without the barrier XLA calculates the places once for the gather and again for the weights.
        default=lambda ink, places: _resample_at(ink, jax.lax.optimization_barrier(places)),
    )


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


def _as_floats(ink: Array, maps: object) -> Array:
    return ink.astype(jnp.float32)


def _resample(ink: Array, maps: FixedPointMap) -> Array:
    height, width = ink.shape[1:3]
    return _interpolate(ink, *(_split_places(maps, axis, height, width) for axis in (0, 1)))


def _resample_at(ink: Array, places: tuple[Array, Array]) -> Array:
    height, width = ink.shape[1:3]
    return _interpolate(ink, *(_split(values, fraction_bits(height, width)) for values in places))


def _interpolate(ink: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]) -> Array:
    """Between the four pixels from each (row, column) of the bordered image on, by their weights."""
    (top, row_weight), (left, column_weight) = rows, columns
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
    return _split(jnp.clip(places, -(2**bits), size * 2**bits), bits)


def _split(
    places: Int[Array, "batch height width"], bits: int
) -> tuple[Int[Array, "batch height width"], Float[Array, "batch height width 1"]]:
    """The tap before each place, in a bordered image, and the weight of the one after."""
    weight = (places & (2**bits - 1)).astype(jnp.float32) * 2.0**-bits
    return (places >> bits) + 1, weight[..., None]


def _project(
    row: Array, column: Array, matrices: Float[Array, "batch 3 3"], height: int, width: int
) -> tuple[Int[Array, "batch height width"], Int[Array, "batch height width"]]:
    """Where pixels are read, in units of 2^-bits of a pixel from the first one, at most one pixel beyond."""
    entries = matrices.reshape(-1, 9, 1, 1)
    down, right, depth = (
        entries[:, start] * row + entries[:, start + 1] * column + entries[:, start + 2]
        for start in (0, 3, 6)
    )
    unit = 2 ** fraction_bits(height, width)

    def place(value: Array, size: int) -> Array:
        from_first = jnp.where(depth > 1e-6, value / depth + (size - 1) / 2.0, -1.0)
        fixed = jnp.round(jnp.clip(from_first, -1.0, size) * unit).astype(jnp.int32)
        return jnp.broadcast_to(fixed, (len(fixed), height, width))

    return place(down, height), place(right, width)


def _centred(size: int) -> Float[Array, " size"]:
    return jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2.0
