"""Changes of pixel values that map each byte of a channel by itself, as tables of 256 bytes.

Tables of several operations compose into one, so that an image is read through a table once, and which
operation an image gets is a choice among tables. Pixels are as Pillow has them: 255 is white paper.

References:
    Pillow's ImageOps and ImageEnhance; torchvision/transforms/_functional_pil.py for gamma;
    timm/data/auto_augment.py for solarize-add.
"""

from collections.abc import Callable, Mapping

import jax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from sketch_jax.arrays import Images

Tables = UInt8[Array, "batch 3 256"]
"""The new byte of each byte, for each image and channel."""

Histograms = Int[Array, "batch 3 256"]
"""How many pixels have each byte, for each image and channel."""

PerImage = Float[Array, " batch"]
TableBuilder = Callable[[PerImage, Histograms], Tables]

LUMA_WEIGHTS = (19595, 38470, 7471)
"""Red, green and blue in Pillow's grey, of 65,536 (ITU-R BT.601)."""


def histograms(pixels: Images) -> Histograms:
    """The histogram of each image and channel."""

    def count(image: UInt8[Array, "height width 3"]) -> Int[Array, "3 256"]:
        bins = image.astype(jnp.int32) + 256 * jnp.arange(3, dtype=jnp.int32).reshape(1, 1, 3)
        counts = jnp.zeros(768, jnp.int32).at[bins.reshape(-1)].add(1, mode="promise_in_bounds")
        return counts.reshape(3, 256)

    return jax.lax.platform_dependent(
        jnp.asarray(pixels),
        cpu=lambda pixels: jax.lax.map(count, pixels),  # three times as fast there as all at once
        default=jax.vmap(count),
    )


def histograms_after(counts: Histograms, tables: Tables) -> Histograms:
    """The histograms of what `apply_tables` makes of images with these."""

    def move(count: Int[Array, " 256"], table: UInt8[Array, " 256"]) -> Int[Array, " 256"]:
        return jnp.zeros(256, jnp.int32).at[table.astype(jnp.int32)].add(count, mode="promise_in_bounds")

    return jax.vmap(jax.vmap(move))(counts, tables)


def apply_tables(pixels: Images, tables: Tables) -> Images:
    """Each byte replaced by its entry in the table of its image and channel.

    The loop and the barrier keep XLA from calculating the tables' entries anew for each pixel.
    """

    def read(table: UInt8[Array, "3 256"], image: UInt8[Array, "height width 3"]) -> Array:
        starts = 256 * jnp.arange(3, dtype=jnp.int32).reshape(1, 1, 3)
        return table.reshape(-1).at[starts + image].get(mode="promise_in_bounds")

    return jax.lax.platform_dependent(
        tables,
        jnp.asarray(pixels),
        cpu=lambda tables, pixels: jax.lax.map(lambda pair: read(*pair), (tables, pixels)),
        default=lambda tables, pixels: jax.vmap(read)(jax.lax.optimization_barrier(tables), pixels),
    )


def compose(first: Tables, second: Tables) -> Tables:
    """The table of the first operation followed by the second."""
    return jnp.take_along_axis(second, first.astype(jnp.int32), axis=-1)


def choose(happens: Bool[Array, " batch"], tables: Tables, otherwise: Tables) -> Tables:
    """The tables where an operation happens, and other ones where it does not."""
    return jnp.where(happens.reshape(-1, 1, 1), tables, otherwise)


def identity(count: int) -> Tables:
    """Tables that change nothing."""
    return jnp.broadcast_to(_bytes().astype(jnp.uint8), (count, 3, 256))


def brightness(factors: PerImage, counts: Histograms) -> Tables:
    """Pixel values multiplied by a factor of at least 0: 0 is black, 1 changes nothing."""
    return _for_channels(_blend(jnp.zeros_like(factors), factors))


def contrast(factors: PerImage, counts: Histograms) -> Tables:
    """Distances from the mean grey multiplied by a factor of at least 0: 0 is plain grey.

    The mean is that of the channels, weighted; Pillow's is of pixels whose grey was rounded.
    """
    return _for_channels(_blend(jnp.floor(_mean_grey(counts) + 0.5), factors))


def gamma(exponents: PerImage, counts: Histograms) -> Tables:
    """Shares of white raised to a power above 0: below 1 brighter, above 1 darker."""
    powers = (_bytes() / 255.0) ** exponents.reshape(-1, 1, 1)
    return _for_channels(256.0 * (1.0 - 1e-3 / 256.0) * powers)


def invert(strengths: PerImage, counts: Histograms) -> Tables:
    """White for black; the strength is not read."""
    return _for_channels(255.0 - _bytes() + 0.0 * strengths.reshape(-1, 1, 1))


def posterize(bits: PerImage, counts: Histograms) -> Tables:
    """The leading bits of each byte, 0 to 8 of them, a broken number counting as the whole one below."""
    step = jnp.exp2(8.0 - jnp.clip(jnp.floor(bits), 0.0, 8.0)).reshape(-1, 1, 1)
    return _for_channels(jnp.floor(_bytes() / step) * step)


def solarize(thresholds: PerImage, counts: Histograms) -> Tables:
    """Bytes of at least the threshold inverted: 0 inverts all, 256 none."""
    values = _bytes()
    return _for_channels(jnp.where(values < thresholds.reshape(-1, 1, 1), values, 255.0 - values))


def solarize_add(additions: PerImage, counts: Histograms) -> Tables:
    """What is darker than half made brighter by 0 to 255."""
    values = _bytes()
    return _for_channels(jnp.where(values < 128.0, values + jnp.floor(additions.reshape(-1, 1, 1)), values))


def equalize(strengths: PerImage, counts: Histograms) -> Tables:
    """Each channel's values spread so that its histogram is even; the strength is not read."""
    last = jnp.take_along_axis(counts, _highest(counts), axis=-1)
    step = (counts.sum(-1, keepdims=True) - last) // 255
    below = jnp.cumsum(counts, axis=-1) - counts
    spread = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step > 0, spread, _bytes().astype(jnp.int32)).astype(jnp.uint8)


def auto_contrast(strengths: PerImage, counts: Histograms) -> Tables:
    """Each channel stretched from its own darkest and brightest to black and white; the strength is not read.

    Rounded down from whole numbers; Pillow's floating point falls one short of some of them.
    """
    low, high = _lowest(counts), _highest(counts)
    values = _bytes().astype(jnp.int32)
    stretched = jnp.clip((values - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
    return jnp.where(high > low, stretched, values).astype(jnp.uint8)


def _bytes() -> Float[Array, "1 1 256"]:
    return jnp.arange(256, dtype=jnp.float32).reshape(1, 1, 256)


def _blend(origins: PerImage, factors: PerImage) -> Float[Array, "batch 1 256"]:
    """Distances from the origin multiplied by a factor."""
    origins = origins.reshape(-1, 1, 1)
    # Without the limits the product and the sum are rounded as one, and not as in Pillow.
    return origins + jnp.clip(factors.reshape(-1, 1, 1) * (_bytes() - origins), -65536.0, 65536.0)


def _for_channels(values: Float[Array, "batch 1 256"]) -> Tables:
    """Values cut to bytes, rounded down as Pillow does, the same for all channels."""
    table = jnp.clip(values, 0.0, 255.0).astype(jnp.uint8)
    return jnp.broadcast_to(table, (len(table), 3, 256))


def _mean_grey(counts: Histograms) -> PerImage:
    sums = jnp.sum(counts * jnp.arange(256, dtype=jnp.int32).reshape(1, 1, 256), axis=-1)
    means = sums.astype(jnp.float32) / counts.sum(-1).astype(jnp.float32)
    return jnp.sum(means * (jnp.asarray(LUMA_WEIGHTS, jnp.float32) / 65536.0).reshape(1, 3), axis=-1)


def _lowest(counts: Histograms) -> Int[Array, "batch 3 1"]:
    return jnp.argmax(counts > 0, axis=-1, keepdims=True)


def _highest(counts: Histograms) -> Int[Array, "batch 3 1"]:
    return 255 - jnp.argmax(counts[..., ::-1] > 0, axis=-1, keepdims=True)


TABLES: Mapping[str, TableBuilder] = {
    "brightness": brightness,
    "contrast": contrast,
    "gamma": gamma,
    "invert": invert,
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "equalize": equalize,
    "auto_contrast": auto_contrast,
}
"""Every operation on single bytes, by name."""
