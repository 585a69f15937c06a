import dataclasses

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment import operation_options
from sketch_jax.augment.filters import sharpen
from sketch_jax.augment.operations import OPERATIONS, TABLES, change_bytes
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import augment_ink
from sketch_jax.augment.selection import where_drawn
from sketch_jax.augment.strengths import create_strengths

RECORDS = {
    "gamma": operation_options.Gamma(exponent=(2.0, 3.0)),
    "posterize": operation_options.Posterize(bits=2),
    "solarize": operation_options.Solarize(),
    "solarize_add": operation_options.SolarizeAdd(addition=(50.0, 60.0)),
    "clahe": operation_options.Clahe(),
    "stroke_width": operation_options.StrokeWidth(radius=(1.0, 2.0)),
    "sharpness": operation_options.Sharpness(factor=(2.0, 3.0)),
    "unsharp_mask": operation_options.UnsharpMask(),
    "emboss": operation_options.Emboss(),
    "blur": operation_options.GaussianBlur(sigma=(1.0, 2.0)),
    "motion_blur": operation_options.MotionBlur(),
    "watermark": operation_options.Watermark(opacity=(0.5, 0.9)),
    "coarse_dropout": operation_options.CoarseDropout(),
    "erasing": operation_options.Erasing(),
    "noise": operation_options.GaussianNoise(),
}
CHANCES = ("equalize", "auto_contrast", "invert", "grey", "edge_channels")
COUNT, SHAPE = 200, (16, 24)
IMAGES = np.random.default_rng(0).integers(20, 236, (COUNT, *SHAPE, 3), dtype=np.uint8)


def options_of(name: str, probability: float) -> Augmentation:
    if name in CHANCES:
        return Augmentation(**{name: probability})
    return Augmentation(**{name: dataclasses.replace(RECORDS[name], probability=probability)})


def changed(options: Augmentation, images: np.ndarray, seed: int = 0) -> np.ndarray:
    strengths = create_strengths(options)
    return np.asarray(
        jax.jit(lambda key, images: change_bytes(key, strengths, images))(jax.random.key(seed), images)
    )


def test_every_operation_is_in_this_table():
    assert set(RECORDS) | set(CHANCES) == set(TABLES) | set(OPERATIONS)


@pytest.mark.parametrize("name", [*RECORDS, *CHANCES])
def test_an_operation_happens_to_as_many_images_as_asked_and_the_others_stay_as_they_are(name):
    happens = (changed(options_of(name, 0.4), IMAGES) != IMAGES).any((1, 2, 3))
    assert stats.binomtest(int(happens.sum()), COUNT, 0.4).pvalue > 0.001


@pytest.mark.parametrize("name", sorted(set(RECORDS) - {"posterize", "solarize", "clahe", "unsharp_mask"}))
def test_images_get_draws_of_their_own_from_the_key(name):
    one = np.broadcast_to(IMAGES[:1], (8, *SHAPE, 3))
    first, again = (changed(options_of(name, 1.0), one) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) >= 7


@pytest.mark.parametrize("name", [*RECORDS, *CHANCES])
def test_zeros_for_all_strengths_of_an_operation_turn_it_off(name):
    never = {key: np.zeros_like(value) for key, value in create_strengths(options_of(name, 1.0)).items()}
    np.testing.assert_array_equal(change_bytes(jax.random.key(0), never, IMAGES[:4]), IMAGES[:4])


def test_operations_on_single_bytes_go_through_one_table_in_their_order():
    posterize = operation_options.Posterize(bits=3, probability=1.0)
    options = Augmentation(posterize=posterize, equalize=1.0, invert=1.0)
    alone = changed(Augmentation(posterize=posterize), IMAGES[:4])
    expected = 255 - changed(Augmentation(equalize=1.0), alone)
    np.testing.assert_array_equal(changed(options, IMAGES[:4]), expected)


def test_running_one_image_after_another_changes_no_value():
    happens = jnp.arange(6) % 2 == 0
    factors = jnp.linspace(0.5, 2.0, 6)
    ours = jax.jit(lambda: where_drawn(happens, sharpen, jnp.asarray(IMAGES[:6]), factors))()
    expected = np.where(np.asarray(happens).reshape(-1, 1, 1, 1), sharpen(IMAGES[:6], factors), IMAGES[:6])
    np.testing.assert_array_equal(ours, expected)


def test_other_numbers_need_no_new_compilation():
    traces = []

    @jax.jit
    def augment(strengths):
        traces.append(strengths)
        return augment_ink(jax.random.key(0), strengths, IMAGES[:4])

    for alpha, sigma, steps, bits, holes in ((30.0, 4.0, 4, 4, 8), (300.0, 9.0, 5, 2, 20)):
        options = Augmentation(
            elastic=operation_options.Elastic(alpha=alpha, sigma=sigma, probability=1.0),
            grid_distortion=operation_options.GridDistortion(steps=steps, probability=1.0),
            posterize=operation_options.Posterize(bits=bits, probability=1.0),
            coarse_dropout=operation_options.CoarseDropout(holes=holes, probability=1.0),
            blur=operation_options.GaussianBlur(sigma=(alpha / 60, alpha / 60), probability=1.0),
        )
        assert np.isfinite(augment(create_strengths(options))).all()
    assert len(traces) == 1


def test_everything_on_at_once_gives_finite_images_of_ink():
    options = Augmentation(
        horizontal_flip=0.5,
        rotation_degrees=20.0,
        elastic=operation_options.Elastic(),
        perspective=operation_options.Perspective(),
        **RECORDS,
        **dict.fromkeys(CHANCES, 0.2),
        brightness=0.2,
        contrast=0.2,
        saturation=0.3,
        hue=0.1,
    )
    strengths = create_strengths(options)
    ink = np.asarray(jax.jit(lambda key: augment_ink(key, strengths, IMAGES[:8]))(jax.random.key(0)))
    assert ink.dtype == np.float32
    assert ink.min() >= 0.0
    assert ink.max() <= 1.0
    assert len({image.tobytes() for image in ink}) == 8
