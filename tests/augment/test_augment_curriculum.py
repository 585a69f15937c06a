import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image
from scipy import stats

from sketch_jax.augment.curriculum_options import Curriculum, SizeSpan, Stage, stage_sizes
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.operation_options import Elastic, GridDistortion
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import create_augment, scale_images
from sketch_jax.augment.plan import create_plan, plan_at, stage_at
from sketch_jax.augment.policies.options import AutoAugment, RandAugment
from sketch_jax.errors import InputError

CLASSES, STEPS = 5, 10
WILD = Augmentation(
    horizontal_flip=0.5,
    scale=(0.7, 1.4),
    brightness=0.3,
    policy=RandAugment(probability=1.0),
    mixing=Mixing(mode="element"),
)
GENTLE = Augmentation(vertical_flip=0.5, rotation_degrees=10.0, policy=AutoAugment())
STAGES = Curriculum(
    stages=(
        Stage(first_epoch=0),
        Stage(first_epoch=2, augmentation=WILD),
        Stage(first_epoch=5, augmentation=GENTLE),
    )
)

FLIPS = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "rotation_probability": 0.5}
SYSTEM_A = Curriculum(
    stages=(
        Stage(first_epoch=0),
        Stage(first_epoch=5, augmentation=Augmentation(**FLIPS, rotation_degrees=10.0)),
        Stage(
            first_epoch=10,
            augmentation=Augmentation(
                **FLIPS,
                rotation_degrees=15.0,
                elastic=Elastic(alpha=30.0, sigma=4.0, probability=0.5),
                grid_distortion=GridDistortion(steps=4, limit=0.2, probability=0.5),
            ),
        ),
    )
)


def batch(count: int = 16, size: int = 24):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return images, np.arange(count, dtype=np.int32) % CLASSES, np.ones(count, bool)


@pytest.fixture(scope="module")
def staged():
    return jax.jit(create_augment(STAGES, CLASSES, STEPS))


def test_a_stage_begins_with_the_first_step_of_its_epoch():
    _, _, first_steps = create_plan(STAGES, CLASSES, STEPS)
    stages = [int(stage_at(first_steps, step)) for step in (0, 19, 20, 49, 50, 10_000)]
    assert stages == [0, 0, 1, 1, 2, 2]


def test_the_first_stage_leaves_everything_as_it_is(staged):
    images, labels, mask = batch()
    for step in (0, 19):
        augmented, targets = staged(jax.random.key(step), step, images, labels, mask)
        np.testing.assert_allclose(augmented, images / 255.0, atol=1e-6)
        np.testing.assert_array_equal(targets, np.eye(CLASSES)[labels])


def test_later_stages_change_images_and_only_their_own_stage_mixes(staged):
    images, labels, mask = batch()
    for step, mixes in ((20, True), (49, True), (50, False), (500, False)):
        augmented, targets = staged(jax.random.key(0), step, images, labels, mask)
        assert (np.abs(augmented - images / 255.0) > 0.01).any((1, 2, 3)).mean() > 0.5
        assert (np.asarray(targets).max(-1) < 1.0).any() == mixes


def test_one_program_runs_all_stages():
    traces = []

    def augment(step, *rows):
        traces.append(step)
        return create_augment(STAGES, CLASSES, STEPS)(jax.random.key(0), step, *rows)

    jitted = jax.jit(augment)
    for step in (0, 20, 50):
        jitted(step, *batch())
    assert len(traces) == 1


def test_a_stage_is_as_its_augmentation_alone_would_be(staged):
    """Without a policy and mixing, whose draws are made for the largest of all stages, bit for bit."""
    first = Augmentation(horizontal_flip=0.5, rotation_degrees=10.0)
    second = Augmentation(horizontal_flip=0.2, vertical_flip=0.5, rotation_degrees=30.0, contrast=0.4)
    both = Curriculum(
        stages=(Stage(first_epoch=0, augmentation=first), Stage(first_epoch=1, augmentation=second))
    )
    rows, key = batch(), jax.random.key(3)
    in_stages = jax.jit(create_augment(both, CLASSES, STEPS))
    alone = jax.jit(create_augment(second, CLASSES, STEPS))
    np.testing.assert_allclose(in_stages(key, 10, *rows)[0], alone(key, 10, *rows)[0], atol=1e-5)


def test_the_curriculum_of_system_a_only_flips_and_turns_before_its_last_stage():
    images, labels, mask = batch(count=64)
    augment = jax.jit(create_augment(SYSTEM_A, CLASSES, STEPS))
    flips = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]

    def unturned(step: int) -> int:
        """Images that are a flip of their own, not turned, pulled or stretched."""
        augmented = np.asarray(augment(jax.random.key(1), step, images, labels, mask)[0])
        near = [(np.abs(augmented - flip / 255.0) < 1e-3).all((1, 2, 3)) for flip in flips]
        return int(np.any(near, 0).sum())

    assert unturned(49) == 64
    assert stats.binomtest(unturned(50), 64, 0.5).pvalue > 0.001
    assert stats.binomtest(unturned(99), 64, 0.5).pvalue > 0.001
    assert stats.binomtest(unturned(100), 64, 0.125).pvalue > 0.001


def test_strengths_that_a_stage_lacks_are_there_and_off():
    _, plan, first_steps = create_plan(STAGES, CLASSES, STEPS)
    at = {step: plan_at(plan, first_steps, jnp.asarray(step)) for step in (0, 20, 50)}
    for step in (0, 50):
        np.testing.assert_array_equal(at[step].strengths["scale"], (1.0, 1.0))
        assert at[step].strengths["brightness"] == 0.0
        assert at[step].mixing is not None
        assert at[step].mixing.probability == 0.0
    np.testing.assert_array_equal(at[20].strengths["scale"], np.float32((0.7, 1.4)))
    assert at[50].strengths["rotation_degrees"] == 10.0


def test_the_sizes_of_a_run_are_spans_of_its_steps():
    grow = Curriculum(
        stages=(
            Stage(first_epoch=0, image_size=96),
            Stage(first_epoch=2, image_size=96, augmentation=GENTLE),
            Stage(first_epoch=5, image_size=128),
            Stage(first_epoch=8),
        )
    )
    assert stage_sizes(grow, 160, 10, 100) == (
        SizeSpan(0, 50, 96),
        SizeSpan(50, 80, 128),
        SizeSpan(80, 100, 160),
    )
    assert stage_sizes(grow, 128, 10, 100) == (SizeSpan(0, 50, 96), SizeSpan(50, 100, 128))
    assert stage_sizes(grow, 160, 10, 60) == (SizeSpan(0, 50, 96), SizeSpan(50, 60, 128))
    assert stage_sizes(STAGES, 224, 10, 60) == (SizeSpan(0, 60, 224),)
    assert stage_sizes(grow, 160, 10, 0) == (SizeSpan(0, 0, 96),)


def test_images_are_scaled_as_pillow_scales_them():
    images = batch(count=3, size=60)[0]
    images[0, 20:40] = 255
    for size in (24, 45, 90):
        scaled = np.asarray(scale_images(images, size), int)
        for image, ours in zip(images, scaled, strict=True):
            pillow = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(pillow, int) - ours).max() <= 1


def test_a_program_of_another_size_scales_its_images_first():
    images, labels, mask = batch(size=32)
    augment = jax.jit(create_augment(Augmentation(), CLASSES, STEPS, image_size=20))
    augmented, targets = augment(jax.random.key(0), 0, images, labels, mask)
    np.testing.assert_allclose(augmented, np.asarray(scale_images(images, 20)) / 255.0, atol=1e-6)
    assert targets.shape == (16, CLASSES)


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ((), "--augmentation.stages with first epochs none: must begin with 0 and rise"),
        ((Stage(first_epoch=1),), "--augmentation.stages with first epochs 1: must begin with 0 and rise"),
        (
            (Stage(first_epoch=0), Stage(first_epoch=5), Stage(first_epoch=5)),
            "--augmentation.stages with first epochs 0, 5, 5: must begin with 0 and rise",
        ),
        ((Stage(first_epoch=0, image_size=4),), "--augmentation.stages.0.image-size 4: must be at least 8"),
    ],
)
def test_stages_out_of_order_are_refused(stages, fault):
    with pytest.raises(InputError) as refusal:
        Curriculum(stages=stages)
    assert str(refusal.value) == f"curriculum (1):\n  {fault}\norder the stages by their first epochs."
