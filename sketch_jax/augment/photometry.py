"""Changes of pixel values, as torchvision's ColorJitter makes them, on ink."""

from collections.abc import Callable, Mapping

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.arrays import Ink
from sketch_jax.augment.strengths import Strength

Factors = Float[Array, " batch"]

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green and blue in the brightness that the eye sees (ITU-R BT.601)."""


def adjust_brightness(ink: Ink, factors: Factors) -> Ink:
    """Pixel values multiplied by a factor: above 1 brighter, 0 black. Below 1 the paper darkens too."""
    return _as_ink((1.0 - ink) * _per_image(factors))


def adjust_contrast(ink: Ink, factors: Factors) -> Ink:
    """Distances from the image's mean grey multiplied by a factor: 0 is plain grey, 1 changes nothing."""
    weights = jnp.asarray(GREY_WEIGHTS, jnp.float32).reshape(1, 3)
    grey = _per_image(1.0 - jnp.sum(ink.mean((1, 2)) * weights, axis=-1))
    return _as_ink(grey + _per_image(factors) * (1.0 - ink - grey))


def _as_ink(pixels: Float[Array, "batch height width 3"]) -> Ink:
    return 1.0 - jnp.clip(pixels, 0.0, 1.0)


def _per_image(values: Factors) -> Float[Array, "batch 1 1 1"]:
    return values.reshape(-1, 1, 1, 1)


PHOTOMETRIC: Mapping[str, Callable[[Ink, Factors], Ink]] = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
}
"""Every photometric operation by the name of its strength, in the order in which images go through them."""


def draw_factors(key: Key[Array, ""], strength: Strength, count: int) -> Factors:
    """A factor for each image, uniform from 1 less the strength to 1 plus the strength."""
    return 1.0 + jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0) * strength
