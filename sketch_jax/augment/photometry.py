"""Changes of pixel values, as torchvision's ColorJitter makes them, on ink."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

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


def adjust_saturation(ink: Ink, factors: Factors) -> Ink:
    """Distances of each pixel from its own grey multiplied by a factor: 0 is grey, 1 changes nothing."""
    parts = (weight * ink[..., channel : channel + 1] for channel, weight in enumerate(GREY_WEIGHTS))
    grey = 1.0 - sum(parts)
    return _as_ink(grey + _per_image(factors) * (1.0 - ink - grey))


def adjust_hue(ink: Ink, turns: Factors) -> Ink:
    """Colours turned on the circle of hues: 0 and 1 change nothing, a half gives the opposite colours."""
    red, green, blue = (1.0 - ink[..., channel] for channel in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1.0 / jnp.where(chroma > 0.0, chroma, 1.0)
    sixths = jnp.where(
        value == red,
        (green - blue) * scale,
        jnp.where(value == green, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale),
    )
    sixths += 6.0 * turns.reshape(-1, 1, 1)
    lost = [_lost_share(start + sixths) for start in (5.0, 3.0, 1.0)]
    return _as_ink(value[..., None] - chroma[..., None] * jnp.stack(lost, axis=-1))


def _lost_share(sixths: Float[Array, "batch height width"]) -> Float[Array, "batch height width"]:
    """How much of the chroma a channel lacks, that many sixths of the circle from where it lacks none."""
    place = sixths - 6.0 * jnp.floor(sixths / 6.0)  # jnp.mod calls a function for each number on a CPU
    return jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0)


def _as_ink(pixels: Float[Array, "batch height width 3"]) -> Ink:
    return 1.0 - jnp.clip(pixels, 0.0, 1.0)


def _per_image(values: Factors) -> Float[Array, "batch 1 1 1"]:
    return values.reshape(-1, 1, 1, 1)


def draw_factors(key: Key[Array, ""], strength: Strength, count: int) -> Factors:
    """A factor for each image, uniform from 1 less the strength to 1 plus the strength."""
    return 1.0 + draw_turns(key, strength, count)


def draw_turns(key: Key[Array, ""], strength: Strength, count: int) -> Factors:
    """A number for each image, uniform up to the strength, either way."""
    return jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0) * strength


class Adjustment(NamedTuple):
    """An operation and the draw of what it takes."""

    adjust: Callable[[Ink, Factors], Ink]
    draw: Callable[[Key[Array, ""], Strength, int], Factors] = draw_factors


PHOTOMETRIC: Mapping[str, Adjustment] = {
    "brightness": Adjustment(adjust_brightness),
    "contrast": Adjustment(adjust_contrast),
    "saturation": Adjustment(adjust_saturation),
    "hue": Adjustment(adjust_hue, draw_turns),
}
"""The jitter of colours by the names of its strengths, in the order in which images go through it."""
