"""Views of images on the device: one program for every affine view, one for each kind of random changes."""

from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.arrays import Images
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import create_augment
from sketch_jax.augment.policies.options import AutoAugment
from sketch_jax.augment.resample import warp
from sketch_jax.inference.view_options import Matrix

Seen = Float[Array, "batch height width 3"]
"""Images of 0 to 1, where 1 is white paper."""

RANDOM = {
    "color_jitter": Augmentation(brightness=0.2, contrast=0.2, saturation=0.2),
    "auto_augment": Augmentation(policy=AutoAugment()),
}
"""What random views go through."""


def view_images(images: Images, matrix: Float[Array, "3 3"]) -> Seen:
    """Images seen through an affine map; beyond the borders there is paper.

    Flips and quarter turns give every pixel's own value.

    Args:
        images: bytes, 255 is white paper.
        matrix: in pixels, as `pixel_matrix` gives it; may be traced.
    """
    ink = 255 - jnp.asarray(images)
    return 1.0 - warp(ink, jnp.broadcast_to(matrix, (len(ink), 3, 3))) / 255.0


def pixel_matrix(matrix: Matrix, height: int, width: int) -> Float[Array, "3 3"]:
    """A view's matrix in pixels from the centre instead of half sides."""
    side = jnp.asarray([height / 2.0, width / 2.0, 1.0])
    return jnp.asarray(matrix, jnp.float32) * side[:, None] / side[None, :]


def create_random_view(kind: str) -> Callable[[Key[Array, ""], Images], Seen]:
    """Builds (key, images) -> images after the random changes of a kind, the same for the same key."""
    augment: Any = create_augment(RANDOM[kind], class_count=1, steps_per_epoch=1)

    def see(key: Key[Array, ""], images: Images) -> Seen:
        labels = jnp.zeros(len(images), jnp.int32)
        return augment(key, 0, images, labels, jnp.ones(len(images), bool))[0]

    return jax.jit(see)
