import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image, ImageEnhance
from scipy import stats

from sketch_jax.augment.photometry import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    draw_factors,
    draw_turns,
)

FACTORS = np.array([0.0, 0.3, 0.8, 1.0, 1.2, 1.9], np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)
IMAGES[:, 5:] //= np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1)
PIXELS = IMAGES / np.float32(255)


def adjusted(adjust) -> np.ndarray:
    return 1.0 - np.asarray(adjust(jnp.asarray(1.0 - PIXELS), jnp.asarray(FACTORS)))


@pytest.mark.parametrize(
    ("adjust", "enhancer"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_adjustments_are_pillows_to_the_rounding_of_its_bytes_and_of_its_mean(adjust, enhancer):
    for image, factor, ours in zip(IMAGES, FACTORS, adjusted(adjust), strict=True):
        pillow = np.asarray(enhancer(Image.fromarray(image)).enhance(float(factor)), float)
        assert np.abs(pillow - 255.0 * ours).max() <= 1.0 + 0.5 * abs(1.0 - factor)


def test_brightness_is_torchvisions():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.functional")
    for image, factor, ours in zip(PIXELS, FACTORS, adjusted(adjust_brightness), strict=True):
        expected = functional.adjust_brightness(torch.from_numpy(image).permute(2, 0, 1), float(factor))
        np.testing.assert_allclose(ours, expected.permute(1, 2, 0).numpy(), rtol=0, atol=2e-7)


def test_contrast_is_torchvisions_but_for_its_weights_of_grey_that_sum_to_less_than_one():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.functional")
    for image, factor, ours in zip(PIXELS, FACTORS, adjusted(adjust_contrast), strict=True):
        expected = functional.adjust_contrast(torch.from_numpy(image).permute(2, 0, 1), float(factor))
        missing_red = abs(1.0 - factor) * (0.299 - 0.2989)
        np.testing.assert_allclose(ours, expected.permute(1, 2, 0).numpy(), rtol=0, atol=missing_red + 1e-6)


def test_saturation_is_torchvisions_but_for_its_weights_of_grey_that_sum_to_less_than_one():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.functional")
    for image, factor, ours in zip(PIXELS, FACTORS, adjusted(adjust_saturation), strict=True):
        expected = functional.adjust_saturation(torch.from_numpy(image).permute(2, 0, 1), float(factor))
        missing_red = abs(1.0 - factor) * (0.299 - 0.2989)
        np.testing.assert_allclose(ours, expected.permute(1, 2, 0).numpy(), rtol=0, atol=missing_red + 1e-6)


def test_hue_is_torchvisions():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.functional")
    turns = np.array([-0.5, -0.2, 0.0, 0.1, 0.3, 0.5], np.float32)
    pixels = PIXELS.copy()
    pixels[:, :3] = pixels[:, :3, :, :1]
    ours = 1.0 - np.asarray(adjust_hue(jnp.asarray(1.0 - pixels), jnp.asarray(turns)))
    for image, turn, one in zip(pixels, turns, ours, strict=True):
        expected = functional.adjust_hue(torch.from_numpy(image).permute(2, 0, 1), float(turn))
        np.testing.assert_allclose(one, expected.permute(1, 2, 0).numpy(), rtol=0, atol=1e-5)


def test_contrast_leaves_blank_paper_white():
    blank = jnp.zeros((6, 4, 5, 3), jnp.float32)
    np.testing.assert_allclose(adjust_contrast(blank, jnp.asarray(FACTORS)), blank, atol=1e-6)


def test_factors_are_uniform_about_one():
    factors = np.asarray(draw_factors(jax.random.key(0), jnp.asarray(0.4), 4000))
    assert stats.kstest(factors, stats.uniform(0.6, 0.8).cdf).pvalue > 0.001


def test_turns_are_uniform_about_zero():
    turns = np.asarray(draw_turns(jax.random.key(0), jnp.asarray(0.3), 4000))
    assert stats.kstest(turns, stats.uniform(-0.3, 0.6).cdf).pvalue > 0.001
