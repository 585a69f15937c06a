"""Augmentation of a batch: bytes to ink, one warp, changes of values, mixing, and back to images."""

from collections.abc import Callable

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.arrays import Images, Ink, Labels, Mask, Targets
from sketch_jax.augment.geometry import GEOMETRIC, draw_matrices
from sketch_jax.augment.mixing import mix
from sketch_jax.augment.options import Augmentation, MixMode
from sketch_jax.augment.photometry import PHOTOMETRIC, draw_factors
from sketch_jax.augment.resample import warp
from sketch_jax.augment.strengths import MIXING, Strengths, create_strengths
from sketch_jax.keys import stream

Augmented = tuple[Float[Array, "batch height width 3"], Targets]
Augment = Callable[[Key[Array, ""], Images, Labels, Mask], Augmented]


def create_augment(options: Augmentation, class_count: int) -> Augment:
    """Builds (key, images, labels, mask) -> (images of 0 to 1, targets), for use inside a jitted step.

    Args:
        options: what is on, and how strong.
        class_count: width of the targets.
    """
    strengths = create_strengths(options)

    def augment(key: Key[Array, ""], images: Images, labels: Labels, mask: Mask) -> Augmented:
        return augment_batch(key, strengths, options.mix_mode, class_count, images, labels, mask)

    return augment


def augment_batch(
    key: Key[Array, ""],
    strengths: Strengths,
    mix_mode: MixMode,
    class_count: int,
    images: Images,
    labels: Labels,
    mask: Mask,
) -> Augmented:
    """Augmented images and their soft targets.

    Args:
        key: of this step.
        strengths: may be traced; operations whose names are absent are not traced.
        mix_mode: who shares the draws of mixup and cutmix.
        class_count: width of the targets.
        images: bytes, 255 is white paper.
        labels: class indices; the target of -1 (unknown) is 0 everywhere.
        mask: False where a row does not count; such rows are mixed into no other.

    Returns:
        Images of 0 to 1, where 1 is white paper, not yet normalised; targets that sum to 1, not yet smoothed.
    """
    ink_key, mix_key = jax.random.split(key)
    ink = augment_ink(ink_key, strengths, images)
    targets = jax.nn.one_hot(labels, class_count)
    if any(name in strengths for name in MIXING):
        ink, targets = mix(mix_key, strengths, mix_mode, ink, targets, mask)
    return 1.0 - ink, targets


def augment_ink(key: Key[Array, ""], strengths: Strengths, images: Images) -> Ink:
    """Each image on its own, as ink, after the geometric and then the photometric operations."""
    count, height, width, _ = images.shape
    ink = 255 - jnp.asarray(images)
    if any(name in strengths for name in GEOMETRIC):
        matrices = draw_matrices(stream(key, "geometry"), strengths, count, (height, width))
        ink = warp(ink, matrices)
    ink = ink.astype(jnp.float32) / 255.0
    for name, adjust in PHOTOMETRIC.items():
        if name in strengths:
            ink = adjust(ink, draw_factors(stream(key, name), strengths[name], count))
    return ink
