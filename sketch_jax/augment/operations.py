"""Operations on bytes that a configuration turns on, each on the images that a draw picks.

Those that map single bytes come first, composed into one table; then those on the neighbourhood, then what
covers the image. 255 is white paper.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from sketch_jax.arrays import Images
from sketch_jax.augment import tables
from sketch_jax.augment.clahe import clahe
from sketch_jax.augment.colour import adjust_colour
from sketch_jax.augment.filters import (
    edge_channels,
    emboss,
    gaussian_blur,
    motion_blur,
    sharpen,
    unsharp_mask,
)
from sketch_jax.augment.noise import add_noise
from sketch_jax.augment.occlusion import draw_dropout, draw_erasing, erase
from sketch_jax.augment.selection import where_drawn
from sketch_jax.augment.strengths import Strengths, is_on, part
from sketch_jax.augment.strokes import thicken
from sketch_jax.augment.tables import PerImage
from sketch_jax.augment.watermark import draw_over, draw_words
from sketch_jax.keys import stream

Parts = Mapping[str, Float[Array, "..."]]
"""The strengths of one operation, by the fields of its record."""


class Setting(NamedTuple):
    """What a draw of parameters knows beside the strengths."""

    count: int
    shape: tuple[int, int]
    """Height and width in pixels."""


class Operation(NamedTuple):
    """An operation and the draw of its parameters, arrays with a row for each image."""

    change: Callable[..., Images]
    draw: Callable[[Key[Array, ""], Parts, Setting], tuple[Any, ...]]


def change_bytes(key: Key[Array, ""], strengths: Strengths, pixels: Images) -> Images:
    """Images after all operations on bytes that are on.

    Args:
        key: of this batch.
        strengths: operations that are absent are not traced.
        pixels: images.
    """
    pixels = _change_single_bytes(key, strengths, pixels)
    setting = _setting(pixels)
    for name, (change, draw) in OPERATIONS.items():
        if is_on(strengths, name):
            draw_key, happen_key = jax.random.split(stream(key, name))
            happens = _draw_happens(happen_key, strengths, name, len(pixels))
            pixels = where_drawn(happens, change, pixels, *draw(draw_key, _parts(strengths, name), setting))
    return pixels


def changes_bytes(strengths: Strengths) -> bool:
    """Whether an operation on bytes is on."""
    return any(is_on(strengths, name) for name in (*TABLES, *OPERATIONS))


def _change_single_bytes(key: Key[Array, ""], strengths: Strengths, pixels: Images) -> Images:
    """Images through the composed table of all operations on single bytes that are on."""
    names = [name for name in TABLES if is_on(strengths, name)]
    if not names:
        return pixels
    count = len(pixels)
    composed, counts = tables.identity(count), _histograms(strengths, pixels)
    for name in names:
        draw_key, happen_key = jax.random.split(stream(key, name))
        (strength,) = TABLES[name](draw_key, _parts(strengths, name), _setting(pixels))
        happens = _draw_happens(happen_key, strengths, name, count)
        table = tables.choose(happens, tables.TABLES[name](strength, counts), tables.identity(count))
        composed, counts = tables.compose(composed, table), tables.histograms_after(counts, table)
    return tables.apply_tables(pixels, composed)


def _setting(pixels: Images) -> Setting:
    count, height, width, _ = pixels.shape
    return Setting(count, (height, width))


def _histograms(strengths: Strengths, pixels: Images) -> tables.Histograms:
    """The histograms, or where no operation reads them, empty ones."""
    if any(is_on(strengths, name) for name in ("equalize", "auto_contrast")):
        return tables.histograms(pixels)
    return jnp.zeros((len(pixels), 3, 256), jnp.int32)


def _parts(strengths: Strengths, name: str) -> Parts:
    return {field: jnp.asarray(value) for field, value in part(strengths, name).items()}


def _draw_happens(key: Key[Array, ""], strengths: Strengths, name: str, count: int) -> Bool[Array, " batch"]:
    probability = strengths[name] if name in strengths else strengths[f"{name}.probability"]
    return jax.random.bernoulli(key, jnp.asarray(probability), (count,))


def uniform(*names: str) -> Callable[[Key[Array, ""], Parts, Setting], tuple[PerImage, ...]]:
    """Draws of parameters, each uniform between the two values of its field, or always the one."""

    def draw(key: Key[Array, ""], parts: Parts, setting: Setting) -> tuple[PerImage, ...]:
        keys = jax.random.split(key, len(names))
        return tuple(_between(one, parts[name], setting.count) for one, name in zip(keys, names, strict=True))

    return draw


def _between(key: Key[Array, ""], bounds: Float[Array, "..."], count: int) -> PerImage:
    if bounds.ndim == 0:
        return jnp.broadcast_to(bounds, (count,))
    return bounds[0] + (bounds[1] - bounds[0]) * jax.random.uniform(key, (count,))


def always(*values: float) -> Callable[[Key[Array, ""], Parts, Setting], tuple[PerImage, ...]]:
    """Parameters that are the same for all images."""
    return lambda key, parts, setting: tuple(jnp.full(setting.count, value) for value in values)


def _draw_motion(key: Key[Array, ""], parts: Parts, setting: Setting) -> tuple[PerImage, PerImage]:
    length_key, angle_key = jax.random.split(key)
    angles = jax.random.uniform(angle_key, (setting.count,), maxval=np.pi)
    return _between(length_key, parts["length"], setting.count), angles


def _draw_noise(key: Key[Array, ""], parts: Parts, setting: Setting) -> tuple[Array, PerImage]:
    seed_key, deviation_key = jax.random.split(key)
    seeds = jax.random.bits(seed_key, (setting.count,), jnp.uint32)
    return seeds, _between(deviation_key, parts["deviation"], setting.count)


TABLES: Mapping[str, Callable[[Key[Array, ""], Parts, Setting], tuple[Float[Array, " batch"], ...]]] = {
    "gamma": uniform("exponent"),
    "posterize": uniform("bits"),
    "solarize": uniform("threshold"),
    "solarize_add": uniform("addition"),
    "equalize": always(0.0),
    "auto_contrast": always(0.0),
    "invert": always(0.0),
}
"""The draw of each single-byte operation's strength by its field in `Augmentation`, in their order."""

OPERATIONS: Mapping[str, Operation] = {
    "grey": Operation(adjust_colour, always(0.0)),
    "clahe": Operation(clahe, uniform("clip_limit")),
    "stroke_width": Operation(thicken, uniform("radius")),
    "sharpness": Operation(sharpen, uniform("factor")),
    "unsharp_mask": Operation(unsharp_mask, uniform("sigma", "share", "threshold")),
    "emboss": Operation(emboss, uniform("opacity", "relief")),
    "blur": Operation(gaussian_blur, uniform("sigma")),
    "motion_blur": Operation(motion_blur, _draw_motion),
    "edge_channels": Operation(edge_channels, always()),
    "watermark": Operation(
        draw_over, lambda key, parts, setting: (draw_words(key, parts["opacity"], *setting),)
    ),
    "coarse_dropout": Operation(
        erase, lambda key, parts, setting: (draw_dropout(key, parts["holes"], parts["size"], *setting),)
    ),
    "erasing": Operation(
        erase,
        lambda key, parts, setting: (draw_erasing(key, parts["area"], parts["least_aspect"], *setting),),
    ),
    "noise": Operation(add_noise, _draw_noise),
}
"""The other operations by their fields in `Augmentation`, in the order in which images go through them."""
