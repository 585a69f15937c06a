"""Augmentation of a batch: bytes to ink, one warp, a policy, changes of values, mixing, and images again."""

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num, UInt8

from sketch_jax.arrays import Images, Ink, Labels, Mask, Targets
from sketch_jax.augment.curriculum_options import Curriculum
from sketch_jax.augment.fields import distorts, draw_fields
from sketch_jax.augment.geometry import draw_matrices, moves
from sketch_jax.augment.mixing import mix, mixing_due
from sketch_jax.augment.operations import change_bytes, changes_bytes
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.photometry import PHOTOMETRIC
from sketch_jax.augment.plan import Layouts, Plan, create_plan, plan_at
from sketch_jax.augment.policies.apply import Matrices, apply_policy
from sketch_jax.augment.policies.repertoire import Layout, Repertoire
from sketch_jax.augment.resample import warp, warp_from
from sketch_jax.augment.strengths import Strengths, is_on
from sketch_jax.class_choice import Choose, unknown_classes
from sketch_jax.keys import stream

Step = int | Int[Array, ""]
Rows = Int[Array | np.ndarray, " batch"]
Augmented = tuple[Float[Array, "batch rows columns 3"], Targets]
Augment = Callable[..., Augmented]
"""(key, step, images, labels, mask, rows) -> (images of 0 to 1, targets)."""


def create_augment(
    options: Augmentation | Curriculum,
    class_count: int,
    steps_per_epoch: int,
    image_size: int | None = None,
    choose: Choose = unknown_classes,
    numbers: Float[np.ndarray, " rows"] | None = None,
) -> Augment:
    """Builds (key, step, images, labels, mask, rows) -> (images of 0 to 1, targets), for a jitted step.

    Args:
        options: what is on, and how strong, from which epoch.
        class_count: width of the targets.
        steps_per_epoch: batches of an epoch.
        image_size: height and width in pixels to which images are scaled first. None: they stay as they come.
        choose: marks the classes of a choice; without it there must be none among the options.
        numbers: of each row of the examples; in a column after the soft labels they are targets, too, and are
            mixed as these. None: there are none, and rows need not be given.

    Raises:
        InputError: a class that the options name does not exist.
    """
    layouts, stages, first_steps = create_plan(options, class_count, steps_per_epoch, choose)

    def augment(
        key: Key[Array, ""], step: Step, images: Images, labels: Labels, mask: Mask, rows: Rows | None = None
    ) -> Augmented:
        plan = plan_at(stages, first_steps, step)
        if image_size is not None and image_size != images.shape[1]:
            images = scale_images(images, image_size)
        targets = jax.nn.one_hot(labels, class_count)
        if numbers is not None:
            targets = jnp.concatenate([targets, jnp.asarray(numbers)[rows][:, None]], axis=1)
        return augment_batch(key, step, plan, layouts, images, labels, targets, mask)

    return augment


def scale_images(images: Images, image_size: int) -> UInt8[Array, "batch size size 3"]:
    """Squares of another size, smoothed where they shrink, as Pillow's bilinear resize smooths them."""
    shape = len(images), image_size, image_size, 3
    with jax.default_matmul_precision("highest"):
        scaled = jax.image.resize(jnp.asarray(images, jnp.float32), shape, "linear", antialias=True)
    return jnp.round(scaled).astype(jnp.uint8)


def augment_batch(
    key: Key[Array, ""],
    step: Step,
    plan: Plan,
    layouts: Layouts,
    images: Images,
    labels: Labels,
    targets: Targets,
    mask: Mask,
) -> Augmented:
    """Augmented images, and their targets mixed as they are.

    Args:
        key: of this step.
        step: from 0; on some steps nothing is mixed.
        plan: of the step's stage; may be traced. Operations whose names are absent are not traced.
        layouts: that the plan was made for.
        images: bytes, 255 is white paper.
        labels: class indices; -1 where unknown.
        targets: soft labels, perhaps with further columns.
        mask: False where a row does not count; such rows are mixed into no other.

    Returns:
        Images of 0 to 1, where 1 is white paper, not yet normalised; targets, not yet smoothed.
    """
    ink_key, mix_key = jax.random.split(key)
    policy = None
    if layouts.policy is not None and plan.repertoire is not None:
        policy = layouts.policy, plan.repertoire
    ink = augment_ink(ink_key, plan.strengths, images, policy)
    chosen = jnp.ones(len(ink), bool)
    if plan.classes is not None:
        chosen = jnp.asarray(plan.classes)[labels] & (labels >= 0)
        plain = (255 - jnp.asarray(images)).astype(jnp.float32) / 255.0
        ink = jnp.where(chosen.reshape(-1, 1, 1, 1), ink, plain)
    if plan.mixing is not None and layouts.mixing is not None:
        due = mixing_due(plan.mixing, step)
        ink, targets = mix(mix_key, due, layouts.mixing, ink, labels, targets, mask, chosen)
    return 1.0 - ink, targets


def augment_ink(
    key: Key[Array, ""],
    strengths: Strengths,
    images: Images,
    policy: tuple[Layout, Repertoire] | None = None,
) -> Ink:
    """Each image on its own, as ink: geometry, a policy, operations on bytes, then the jitter of colours."""
    count, height, width, _ = images.shape
    ink = 255 - jnp.asarray(images)
    if policy is None:
        ink = move_ink(key, strengths, ink, None)
    else:

        def read(after: Matrices | None) -> Images:
            return as_bytes(move_ink(key, strengths, 255 - jnp.asarray(images), after))

        ink = 255.0 * apply_policy(stream(key, "policy"), policy[1], policy[0], count, (height, width), read)
    if changes_bytes(strengths):
        ink = 255 - change_bytes(stream(key, "bytes"), strengths, as_bytes(ink))
    ink = jnp.asarray(ink, jnp.float32) / 255.0
    for name, (adjust, draw) in PHOTOMETRIC.items():
        if name in strengths:
            ink = adjust(ink, draw(stream(key, name), strengths[name], count))
    return ink


def as_bytes(ink: Num[Array, "batch height width 3"]) -> Images:
    """Images of which 255 is paper, from ink of 0 to 255."""
    return 255 - jnp.round(ink).astype(jnp.uint8)


def move_ink(
    key: Key[Array, ""],
    strengths: Strengths,
    ink: UInt8[Array, "batch height width 3"],
    after: Matrices | None,
) -> Array:
    """Bytes of ink through all geometric operations that are on, resampled once; bytes where none is.

    Args:
        key: of these images.
        strengths: operations that are absent are not traced.
        ink: images.
        after: maps of further operations, upon those by a matrix and before the distortions. None: none.
    """
    count, height, width, _ = ink.shape
    matrices = jnp.broadcast_to(jnp.eye(3), (count, 3, 3)) if after is None else after
    if moves(strengths):
        drawn = draw_matrices(stream(key, "geometry"), strengths, count, (height, width))
        matrices = drawn if after is None else jnp.matmul(drawn, after, precision="highest")
    if distorts(strengths) or is_on(strengths, "perspective"):
        places = draw_fields(stream(key, "fields"), strengths, count, (height, width))
        return warp_from(ink, *places, matrices)
    return warp(ink, matrices) if moves(strengths) or after is not None else ink
