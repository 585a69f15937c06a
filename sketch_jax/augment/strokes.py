"""Thicker and thinner strokes: filters of the least and the greatest value about a pixel."""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from sketch_jax.arrays import Images
from sketch_jax.augment.tables import PerImage

Bytes = UInt8[Array, "batch height width 3"]


def thicken(pixels: Images, radii: PerImage) -> Images:
    """Strokes dilated by a number of pixels on all sides, or eroded where it is negative.

    A pixel takes the darkest value (the brightest, to erode) of the square about it, whose side is twice the
    radius and one; between whole radii the results of the two are mixed. Beyond the border lie copies.

    Args:
        pixels: images; 255 is white paper.
        radii: in pixels.
    """
    erodes = (radii < 0.0).reshape(-1, 1, 1, 1)
    values = jnp.asarray(pixels)

    def grow(step: Int[Array, ""], values: Array) -> Array:
        share = jnp.clip(jnp.abs(radii) - step.astype(jnp.float32), 0.0, 1.0)
        return _mixed(values, _darkest(_darkest(values, 1), 2), share)

    steps = jnp.ceil(jnp.abs(radii).max()).astype(jnp.int32)
    grown = jax.lax.fori_loop(0, steps, grow, jnp.where(erodes, 255 - values, values))
    return jnp.where(erodes, 255 - grown, grown)


def _mixed(first: Bytes, second: Bytes, shares: Float[Array, " batch"]) -> Bytes:
    """Images with a share of others, which are nowhere brighter, to a 256th."""
    parts = jnp.round(256.0 * shares).astype(jnp.uint16).reshape(-1, 1, 1, 1)
    darker = ((first - second).astype(jnp.uint16) * parts + 128) >> 8
    return first - darker.astype(jnp.uint8)


def _darkest(values: Bytes, axis: int) -> Bytes:
    """The least value of each pixel and its two neighbours along an axis."""
    size = values.shape[axis]
    widths = [(1, 1) if place == axis else (0, 0) for place in range(4)]
    padded = jnp.pad(values, widths, mode="edge")
    before, after = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (0, 2))
    return jnp.minimum(values, jnp.minimum(before, after))
