"""Changes of pixel values that mix the channels, on bytes as Pillow has them: 255 is white paper.

References:
    Pillow's Convert.c (grey), Blend.c and ImageEnhance.
"""

from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.arrays import Images
from sketch_jax.augment.tables import LUMA_WEIGHTS, PerImage


def luma(pixels: Images) -> Int[Array, "batch height width 1"]:
    """Grey of each pixel, 0 to 255, as Pillow rounds it."""
    values = jnp.asarray(pixels)
    red, green, blue = (
        values[..., channel : channel + 1].astype(jnp.int32) * weight
        for channel, weight in enumerate(LUMA_WEIGHTS)
    )
    return (red + green + blue + 0x8000) >> 16


def adjust_colour(pixels: Images, factors: PerImage) -> Images:
    """Distances of each pixel from its own grey multiplied by a factor: 0 is grey, 1 changes nothing."""
    return blend(luma(pixels).astype(jnp.float32), jnp.asarray(pixels).astype(jnp.float32), factors)


def blend(
    origin: Float[Array, "batch height width #channel"],
    pixels: Float[Array, "batch height width 3"],
    factors: PerImage,
) -> Images:
    """Distances from the origin multiplied by a factor, cut to bytes, rounded down as Pillow does."""
    # Without the limits the product and the sum are rounded as one, and a byte in 500 is one off.
    distances = jnp.clip(factors.reshape(-1, 1, 1, 1) * (pixels - origin), -65536.0, 65536.0)
    return jnp.clip(origin + distances, 0.0, 255.0).astype(jnp.uint8)
