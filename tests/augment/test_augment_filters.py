import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage, stats

from sketch_jax.augment.colour import luma
from sketch_jax.augment.filters import (
    _gaussian_matrix,
    edge_channels,
    emboss,
    gaussian_blur,
    motion_blur,
    sharpen,
    unsharp_mask,
)

NOISE = np.random.default_rng(0).integers(0, 256, (6, 26, 35, 3), dtype=np.uint8)
SMOOTH = ndimage.uniform_filter(NOISE, (0, 5, 5, 0))
SIGMAS = np.array([0.4, 0.7, 1.0, 1.5, 2.5, 4.0], np.float32)


def of_pillow(change, strengths, images: np.ndarray) -> np.ndarray:
    pairs = zip(images, strengths, strict=True)
    return np.stack([np.asarray(change(Image.fromarray(image), float(one))) for image, one in pairs])


def mean_difference(ours, expected) -> np.ndarray:
    """Of each image, in bytes."""
    return np.abs(np.asarray(ours, float) - expected).mean((1, 2, 3))


def test_sharpness_is_pillows_byte_for_byte():
    factors = np.array([0.0, 0.1, 0.7, 1.0, 1.5, 2.0], np.float32)
    expected = of_pillow(lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), factors, NOISE)
    np.testing.assert_array_equal(jax.jit(sharpen)(NOISE, jnp.asarray(factors)), expected)


def test_blur_is_a_gaussian_over_the_width_of_pixels_with_copies_beyond_the_border():
    blurred = np.asarray(gaussian_blur(NOISE, jnp.asarray(SIGMAS)))
    for image, sigma, ours in zip(NOISE, SIGMAS, blurred, strict=True):
        edges = np.arange(-40, 42) - 0.5
        weights = np.diff(stats.norm.cdf(edges, scale=np.sqrt(sigma**2 - 1 / 12)))
        expected = image.astype(float)
        for axis in (0, 1):
            expected = ndimage.correlate1d(expected, weights, axis=axis, mode="nearest")
        assert np.abs(ours - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("sigma", [0.8, 1.0, 3.0, 7.0])
def test_blur_has_the_spread_and_the_centre_that_it_says_from_eight_tenths_of_a_pixel_on(sigma):
    """Seen in the matrix of an axis, where no spread drowns in the rounding to bytes."""
    shares = np.asarray(_gaussian_matrix(jnp.array([sigma]), 101), float)[0, 50]
    assert shares.sum() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(shares, shares[::-1], atol=1e-6)
    assert np.sqrt((shares * (np.arange(101) - 50) ** 2).sum()) == pytest.approx(sigma, rel=2e-3)


def test_blur_is_scipys_and_pillows_to_a_byte_in_the_mean():
    ours = gaussian_blur(SMOOTH, jnp.asarray(SIGMAS))
    scipys = np.stack(
        [
            ndimage.gaussian_filter(image.astype(float), (one, one, 0), mode="nearest")
            for image, one in zip(SMOOTH, SIGMAS, strict=True)
        ]
    )
    assert (mean_difference(ours, scipys) <= 1.0).all()
    pillows = of_pillow(lambda image, one: image.filter(ImageFilter.GaussianBlur(one)), SIGMAS, SMOOTH)
    assert (mean_difference(ours, pillows) <= 1.0).all()


def test_no_spread_changes_nothing():
    np.testing.assert_array_equal(gaussian_blur(NOISE, jnp.zeros(6)), NOISE)


@pytest.mark.parametrize(("percent", "threshold"), [(50, 0), (150, 3), (150, 20)])
def test_unsharp_mask_is_pillows_to_a_byte_in_the_mean_where_the_blur_is_wide(percent, threshold):
    sigmas = np.maximum(SIGMAS, 1.0)
    ours = unsharp_mask(
        SMOOTH, jnp.asarray(sigmas), jnp.full(6, percent / 100), jnp.full(6, float(threshold))
    )
    expected = of_pillow(
        lambda image, one: image.filter(ImageFilter.UnsharpMask(one, percent, threshold)), sigmas, SMOOTH
    )
    assert (mean_difference(ours, expected) <= 1.0).all()
    assert (mean_difference(SMOOTH, expected) > 1.0).any()


@pytest.mark.parametrize(("opacity", "relief"), [(1.0, 0.5), (0.4, 0.2), (0.0, 0.7)])
def test_emboss_is_albumentations_kernel(opacity, relief):
    kernel = np.array([[-1 - relief, -relief, 0], [-relief, 1, relief], [0, relief, 1 + relief]])
    mixed = opacity * kernel
    mixed[1, 1] += 1 - opacity
    expected = ndimage.correlate(NOISE.astype(float), mixed[None, :, :, None], mode="nearest").clip(0, 255)
    ours = emboss(NOISE, jnp.full(6, opacity), jnp.full(6, relief))
    assert np.abs(np.asarray(ours, float) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("degrees", "axis"), [(0.0, 2), (90.0, 1), (180.0, 2)])
def test_motion_blur_along_an_axis_is_a_mean_of_so_many_pixels(degrees, axis):
    lengths = np.array([1, 3, 5, 7, 9, 11])
    ours = np.asarray(
        motion_blur(NOISE, jnp.asarray(lengths, jnp.float32), jnp.full(6, np.radians(degrees))), float
    )
    for image, length, one in zip(NOISE, lengths, ours, strict=True):
        expected = ndimage.uniform_filter1d(image.astype(float), length, axis=axis - 1, mode="nearest")
        assert np.abs(one - expected).max() <= 0.5 + 0.01


def test_motion_blur_draws_a_line_of_its_length_and_angle():
    dot = np.full((1, 61, 61, 3), 255, np.uint8)
    dot[0, 30, 30] = 0
    angle = np.radians(30.0)
    ink = 255.0 - np.asarray(motion_blur(dot, jnp.array([21.0]), jnp.array([angle])), float)[0, ..., 0]
    rows, columns = np.nonzero(ink > 0)
    assert (columns.min(), columns.max()) == (20, 40)
    weights = ink[rows, columns]
    slope = (weights * (rows - 30) * (columns - 30)).sum() / (weights * (columns - 30) ** 2).sum()
    assert slope == pytest.approx(-np.tan(angle), abs=0.03)
    assert ink.sum() == pytest.approx(255.0, rel=0.1)


def test_a_fractional_length_lies_between_whole_ones():
    whole = (motion_blur(NOISE, jnp.full(6, length), jnp.zeros(6)) for length in (3.0, 5.0))
    low, high = (np.asarray(one, float) for one in whole)
    middle = np.asarray(motion_blur(NOISE, jnp.full(6, 4.0), jnp.zeros(6)), float)
    np.testing.assert_allclose(middle, (3 * low + 5 * high) / 8, atol=1.1)


def test_edges_are_scipys():
    grey = np.asarray(luma(NOISE))[..., 0].astype(float)
    gradients = [
        np.stack(
            [np.hypot(*(operator(one, axis, mode="nearest") for axis in (0, 1))) / total for one in grey]
        )
        for operator, total in ((ndimage.sobel, 4.0), (ndimage.prewitt, 3.0))
    ]
    laplace = np.stack([np.abs(ndimage.laplace(one, mode="nearest")) for one in grey])
    expected = (255.0 - np.stack([*gradients, laplace], -1)).clip(0, 255)
    assert np.abs(np.asarray(edge_channels(NOISE), float) - expected).max() <= 0.5 + 1e-3


def test_a_black_half_beside_a_white_one_has_full_edges():
    halves = np.full((1, 8, 8, 3), 255, np.uint8)
    halves[:, :, 4:] = 0
    edges = np.asarray(edge_channels(halves))[0]
    np.testing.assert_array_equal(edges[:, 3:5], 0)
    np.testing.assert_array_equal(np.delete(edges, (3, 4), axis=1), 255)


@pytest.mark.parametrize(
    "change",
    [
        lambda blank, ones: sharpen(blank, 1.7 * ones),
        lambda blank, ones: gaussian_blur(blank, 2.0 * ones),
        lambda blank, ones: unsharp_mask(blank, ones, ones, ones),
        lambda blank, ones: emboss(blank, 0.5 * ones, 0.5 * ones),
        lambda blank, ones: motion_blur(blank, 7.0 * ones, ones),
        lambda blank, ones: edge_channels(blank),
    ],
)
def test_blank_paper_stays_blank(change):
    blank = jnp.full((2, 20, 30, 3), 255, jnp.uint8)
    np.testing.assert_array_equal(jax.jit(change)(blank, jnp.ones(2)), 255)
