"""Augmentation of the images of some classes only."""

import jax
import numpy as np
import pytest
from command import tiny

from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import create_augment
from sketch_jax.augment.policies.options import RandAugment
from sketch_jax.class_choice import NamedClasses, chosen_classes
from sketch_jax.errors import InputError

CLASSES = 5
LABELS = np.arange(20, dtype=np.int32) % CLASSES
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
MASK = np.ones(20, bool)
RARE = Augmentation(
    only_classes=NamedClasses(classes=("b", "e")),
    rotation_degrees=90.0,
    brightness=0.5,
    policy=RandAugment(),
    mixing=Mixing(mixup_alpha=0.8, cutmix=None),
)


def choose(choice, option) -> np.ndarray:
    return chosen_classes(choice, np.ones(CLASSES, int), "abcde", option=option)


def changed(options, step: int = 0) -> tuple[np.ndarray, np.ndarray]:
    augment = jax.jit(create_augment(options, CLASSES, 10, choose=choose))
    images, targets = augment(jax.random.key(0), step, IMAGES, LABELS, MASK)
    moved = np.abs(np.asarray(images) - IMAGES / 255.0).max((1, 2, 3)) > 1e-5
    return moved, np.asarray(targets).max(-1) < 1.0


def test_only_images_of_the_classes_are_changed_and_mixed():
    moved, mixed = changed(RARE)
    rare = np.isin(LABELS, (1, 4))
    np.testing.assert_array_equal(moved, rare)
    # Opposite images of these labels are of others: 1 meets 3, and 4 meets 0.
    np.testing.assert_array_equal(mixed, rare)


def test_a_stage_may_augment_some_classes_and_another_all():
    stages = (
        Stage(first_epoch=0, augmentation=RARE),
        Stage(first_epoch=1, augmentation=Augmentation(rotation_degrees=90.0)),
    )
    curriculum = Curriculum(stages=stages)
    np.testing.assert_array_equal(changed(curriculum, 9)[0], np.isin(LABELS, (1, 4)))
    assert changed(curriculum, 10)[0].all()


def test_an_image_of_unknown_label_is_not_among_the_classes():
    labels = np.where(LABELS == 4, -1, LABELS).astype(np.int32)
    augment = jax.jit(create_augment(RARE, CLASSES, 10, choose=choose))
    images, _ = augment(jax.random.key(0), 0, IMAGES, labels, labels >= 0)
    unknown = labels == -1
    np.testing.assert_allclose(np.asarray(images)[unknown], IMAGES[unknown] / 255.0, atol=1e-6)


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(InputError) as refusal:
        create_augment(
            Augmentation(only_classes=NamedClasses(classes=("b", "f"))), CLASSES, 10, choose=choose
        )
    assert str(refusal.value).splitlines()[:2] == [
        "--augmentation.only-classes.classes: must be names of the training set (1):",
        "  'f' is not",
    ]


def test_small_classes_are_augmented_in_a_run_and_a_wrong_name_leaves_no_directory(tmp_path):
    kind = ["--augmentation.only-classes.kind"]
    done = tiny(tmp_path / "run", *kind, "SmallClasses")
    assert done.returncode == 0, done.stderr
    wrong = [*kind, "NamedClasses", "--augmentation.only-classes.classes", "fihs"]
    done = tiny(tmp_path / "other", *wrong)
    assert done.returncode == 2
    assert "'fihs' is not; did you mean 'fish'?" in done.stderr
    assert not (tmp_path / "other").exists()
