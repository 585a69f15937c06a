"""Boxes of white paper over an image: random erasing and coarse dropout.

References:
    Zhong et al., Random Erasing Data Augmentation (2017), as in timm/data/random_erasing.py; DeVries and
    Taylor, Cutout (2017), with several holes as albumentations' CoarseDropout has them.
"""

from typing import NamedTuple

import jax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from sketch_jax.arrays import Images

MAX_HOLES = 32
ATTEMPTS = 10
"""How often a box that does not fit is drawn anew before an image is spared."""


class Boxes(NamedTuple):
    """Pixels from `top` to below `bottom`, from `left` to below `right`; empty ones cover nothing."""

    top: Int[Array, "batch box"]
    bottom: Int[Array, "batch box"]
    left: Int[Array, "batch box"]
    right: Int[Array, "batch box"]


def erase(pixels: Images, boxes: Boxes) -> Images:
    """White paper in the boxes."""
    height, width = pixels.shape[1:3]
    rows = _inside(boxes.top, boxes.bottom, height)
    columns = _inside(boxes.left, boxes.right, width)
    covered = jnp.einsum("bnh,bnw->bhw", rows.astype(jnp.float32), columns.astype(jnp.float32)) > 0.5
    return jnp.where(covered[..., None], jnp.uint8(255), pixels)


def draw_erasing(
    key: Key[Array, ""],
    area: Float[Array, "2"],
    least_aspect: Float[Array, ""],
    count: int,
    shape: tuple[int, int],
) -> Boxes:
    """A box for each image: its area uniform, the logarithm of height by width uniform about 0.

    Args:
        key: of this batch.
        area: least and largest, of the image's.
        least_aspect: least ratio of the sides; the largest is its inverse.
        count: images.
        shape: height and width in pixels.
    """
    size_key, place_key = jax.random.split(key)
    size, slant = jax.random.uniform(size_key, (2, count, ATTEMPTS))
    wanted = (area[0] + (area[1] - area[0]) * size) * (shape[0] * shape[1])
    aspect = jnp.exp(jnp.log(least_aspect) * (1.0 - 2.0 * slant))
    height = jnp.round(jnp.sqrt(wanted * aspect)).astype(jnp.int32)
    width = jnp.round(jnp.sqrt(wanted / aspect)).astype(jnp.int32)
    fits = (height < shape[0]) & (width < shape[1])
    first = jnp.argmax(fits, axis=1, keepdims=True)
    height, width = (
        jnp.where(fits.any(1, keepdims=True), jnp.take_along_axis(side, first, axis=1), 0)
        for side in (height, width)
    )
    return _placed(place_key, height, width, shape)


def draw_dropout(
    key: Key[Array, ""],
    holes: Float[Array, ""],
    size: Float[Array, "2"],
    count: int,
    shape: tuple[int, int],
) -> Boxes:
    """Holes for each image: their number uniform from 1, the share of each side that each takes uniform.

    Args:
        key: of this batch.
        holes: most that an image gets, at most 32.
        size: least and largest share of a side.
        count: images.
        shape: height and width in pixels.
    """
    number_key, size_key, place_key = jax.random.split(key, 3)
    numbers = jnp.floor(jax.random.uniform(number_key, (count, 1)) * holes) + 1.0
    shares = size[0] + (size[1] - size[0]) * jax.random.uniform(size_key, (2, count, MAX_HOLES))
    there = jnp.arange(MAX_HOLES, dtype=jnp.float32).reshape(1, -1) < numbers
    height, width = (
        jnp.where(there, jnp.round(share * side), 0.0).astype(jnp.int32)
        for share, side in zip(shares, shape, strict=True)
    )
    return _placed(place_key, height, width, shape)


def _placed(
    key: Key[Array, ""],
    height: Int[Array, "batch box"],
    width: Int[Array, "batch box"],
    shape: tuple[int, int],
) -> Boxes:
    """Boxes of given sizes, anywhere inside the image."""
    down, right = jax.random.uniform(key, (2, *height.shape))
    top = jnp.floor(down * (shape[0] - height + 1)).astype(jnp.int32)
    left = jnp.floor(right * (shape[1] - width + 1)).astype(jnp.int32)
    return Boxes(top, top + height, left, left + width)


def _inside(first: Array, end: Array, size: int) -> Bool[Array, "batch box size"]:
    places = jnp.arange(size, dtype=jnp.int32).reshape(1, 1, -1)
    return (first[..., None] <= places) & (places < end[..., None])
