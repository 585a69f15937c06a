import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image, ImageEnhance, ImageOps

from sketch_jax.augment.colour import adjust_colour
from sketch_jax.augment.tables import (
    TABLES,
    apply_tables,
    choose,
    compose,
    histograms,
    histograms_after,
    identity,
)

COLOURED = np.random.default_rng(0).integers(0, 256, (6, 24, 31, 3), dtype=np.uint8)
COLOURED[:, 6:] //= np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1)
COLOURED[1] += 40
SKETCHES = np.where(COLOURED > 30, 255, COLOURED)[..., :1].repeat(3, -1)
BLANK = np.full_like(COLOURED, 255)
IMAGES = {"coloured": COLOURED, "sketches": SKETCHES, "blank": BLANK}
FACTORS = (0.0, 0.3, 0.8, 1.0, 1.3, 1.9)


def through(name: str, strengths, images: np.ndarray) -> np.ndarray:
    counts = histograms(images)
    change = jax.jit(lambda given: apply_tables(images, TABLES[name](given, counts)))
    return np.asarray(change(jnp.asarray(strengths, jnp.float32)))


def of_pillow(change, strengths, images: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            np.asarray(change(Image.fromarray(image), float(np.float32(strength))))
            for image, strength in zip(images, strengths, strict=True)
        ]
    )


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize(
    ("name", "strengths", "change"),
    [
        ("brightness", FACTORS, lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
        ("invert", FACTORS, lambda image, _: ImageOps.invert(image)),
        ("posterize", (1, 2, 3, 4, 6, 8), lambda image, bits: ImageOps.posterize(image, int(bits))),
        ("solarize", (0, 30, 100, 128, 200, 256), ImageOps.solarize),
        ("equalize", FACTORS, lambda image, _: ImageOps.equalize(image)),
    ],
)
def test_tables_are_pillows_byte_for_byte(name, strengths, change, images):
    np.testing.assert_array_equal(through(name, strengths, images), of_pillow(change, strengths, images))


def test_contrast_is_pillows_on_grey_images():
    expected = of_pillow(
        lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS, SKETCHES
    )
    np.testing.assert_array_equal(through("contrast", FACTORS, SKETCHES), expected)


def test_contrast_of_colours_is_within_one_of_pillows_whose_grey_is_rounded_before_the_mean():
    expected = of_pillow(
        lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS, COLOURED
    )
    differences = np.abs(through("contrast", FACTORS, COLOURED).astype(int) - expected)
    assert differences.max() <= 1
    assert differences.mean() <= 0.25


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_auto_contrast_is_pillows_but_for_its_floating_point(images):
    expected = of_pillow(lambda image, _: ImageOps.autocontrast(image), FACTORS, images)
    differences = through("auto_contrast", FACTORS, images).astype(int) - expected
    assert ((differences == 0) | (differences == 1)).all()
    assert differences.mean() <= 0.01


def test_gamma_is_torchvisions():
    functional = pytest.importorskip("torchvision.transforms.functional")
    exponents = (0.3, 0.7, 1.0, 1.3, 2.0, 3.0)
    expected = of_pillow(functional.adjust_gamma, exponents, COLOURED)
    differences = np.abs(through("gamma", exponents, COLOURED).astype(int) - expected)
    assert differences.max() <= 1
    assert (differences == 0).mean() > 0.99


def test_solarize_add_is_timms():
    auto_augment = pytest.importorskip("timm.data.auto_augment")
    additions = (0, 20, 55, 110, 127, 200)
    expected = of_pillow(lambda image, add: auto_augment.solarize_add(image, int(add)), additions, COLOURED)
    np.testing.assert_array_equal(through("solarize_add", additions, COLOURED), expected)


def test_colour_is_pillows_byte_for_byte():
    expected = of_pillow(lambda image, factor: ImageEnhance.Color(image).enhance(factor), FACTORS, COLOURED)
    ours = jax.jit(adjust_colour)(COLOURED, jnp.asarray(FACTORS, jnp.float32))
    np.testing.assert_array_equal(ours, expected)


def test_histograms_count_each_byte_of_each_channel():
    counts = np.asarray(jax.jit(histograms)(COLOURED))
    for image, count in zip(COLOURED, counts, strict=True):
        for channel in range(3):
            np.testing.assert_array_equal(
                count[channel], np.bincount(image[..., channel].ravel(), minlength=256)
            )


def test_histograms_go_through_tables_without_the_pixels():
    counts = histograms(COLOURED)
    tables = TABLES["solarize"](jnp.full(6, 90.0), counts)
    np.testing.assert_array_equal(
        histograms_after(counts, tables), histograms(apply_tables(COLOURED, tables))
    )


def test_a_composed_table_is_one_operation_after_the_other():
    counts = histograms(COLOURED)
    first = TABLES["posterize"](jnp.full(6, 3.0), counts)
    second = TABLES["equalize"](jnp.zeros(6), histograms_after(counts, first))
    both = apply_tables(COLOURED, compose(first, second))
    expected = of_pillow(lambda image, _: ImageOps.equalize(ImageOps.posterize(image, 3)), FACTORS, COLOURED)
    np.testing.assert_array_equal(both, expected)


def test_each_image_gets_the_table_that_is_chosen_for_it():
    happens = jnp.array([True, False, False, True, False, True])
    tables = choose(happens, TABLES["invert"](jnp.zeros(6), histograms(COLOURED)), identity(6))
    expected = np.where(np.asarray(happens).reshape(-1, 1, 1, 1), 255 - COLOURED, COLOURED)
    np.testing.assert_array_equal(apply_tables(COLOURED, tables), expected)
