"""Gaussian noise from a hash of the pixel's number.

A CPU takes 200 ms for as many bits of `jax.random` as 64 images of 224 px want.
"""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, UInt32

from sketch_jax.arrays import Images
from sketch_jax.augment.tables import PerImage


def add_noise(pixels: Images, seeds: UInt32[Array, " batch"], deviations: PerImage) -> Images:
    """Independent Gaussian noise added to each channel of each pixel.

    Args:
        pixels: images; 255 is white paper.
        seeds: random bits; the same seed gives the same noise.
        deviations: standard deviation, of 255.
    """
    values = jnp.asarray(pixels).astype(jnp.float32)
    scaled = deviations.reshape(-1, 1, 1, 1) * normal_noise(seeds, pixels.shape[1:])
    return jnp.clip(values + scaled + 0.5, 0.0, 255.0).astype(jnp.uint8)


def normal_noise(
    seeds: UInt32[Array, " batch"], shape: tuple[int, ...]
) -> Float[Array, "batch height width channel"]:
    """Standard normal numbers for images of a shape."""
    height, width, channel = shape
    numbers = jnp.arange(height * width * channel, dtype=jnp.uint32).reshape(1, *shape)
    bits = hashed(hashed(numbers) ^ seeds.reshape(-1, 1, 1, 1))
    shares = ((bits >> 8).astype(jnp.float32) + 0.5) * 2.0**-24
    return jnp.sqrt(2.0) * jax.lax.erf_inv(2.0 * shares - 1.0)


def hashed(bits: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Bits that look random and differ for different ones (Wellons, Prospecting for Hash Functions, 2018)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
