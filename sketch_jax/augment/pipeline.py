"""Augmentation of a batch: bytes to ink, one warp, changes of values, mixing, and back to images."""

from collections.abc import Callable

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from sketch_jax.arrays import Images, Ink, Labels, Mask, Targets
from sketch_jax.augment.fields import distorts, draw_fields
from sketch_jax.augment.geometry import draw_matrices, moves
from sketch_jax.augment.mixing import mix
from sketch_jax.augment.operations import change_bytes, changes_bytes
from sketch_jax.augment.options import Augmentation, MixMode
from sketch_jax.augment.photometry import PHOTOMETRIC
from sketch_jax.augment.resample import warp, warp_from
from sketch_jax.augment.strengths import MIXING, Strengths, create_strengths, is_on
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
    """Each image on its own, as ink: geometry, then operations on bytes, then the jitter of colours."""
    ink = move_ink(key, strengths, 255 - jnp.asarray(images))
    if changes_bytes(strengths):
        pixels = 255 - jnp.round(ink).astype(jnp.uint8)
        ink = 255 - change_bytes(stream(key, "bytes"), strengths, pixels)
    ink = jnp.asarray(ink, jnp.float32) / 255.0
    for name, (adjust, draw) in PHOTOMETRIC.items():
        if name in strengths:
            ink = adjust(ink, draw(stream(key, name), strengths[name], len(images)))
    return ink


def move_ink(key: Key[Array, ""], strengths: Strengths, ink: UInt8[Array, "batch height width 3"]) -> Array:
    """Bytes of ink through all geometric operations that are on, resampled once; bytes where none is."""
    count, height, width, _ = ink.shape
    matrices = jnp.broadcast_to(jnp.eye(3), (count, 3, 3))
    if moves(strengths):
        matrices = draw_matrices(stream(key, "geometry"), strengths, count, (height, width))
    if distorts(strengths) or is_on(strengths, "perspective"):
        places = draw_fields(stream(key, "fields"), strengths, count, (height, width))
        return warp_from(ink, *places, matrices)
    return warp(ink, matrices) if moves(strengths) else ink
