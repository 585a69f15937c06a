import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image, ImageFilter
from scipy import ndimage, stats

from sketch_jax.augment.clahe import clahe
from sketch_jax.augment.colour import luma
from sketch_jax.augment.noise import add_noise, hashed, normal_noise
from sketch_jax.augment.strokes import thicken

NOISE = np.random.default_rng(0).integers(0, 256, (4, 22, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_strokes_grow_by_pillows_least_filter_and_shrink_by_its_greatest(radius):
    radii = jnp.array([radius, -radius, 0.0, radius], jnp.float32)
    ours = thicken(NOISE, radii)
    size = 2 * radius + 1
    filters = [ImageFilter.MinFilter(size), ImageFilter.MaxFilter(size), None, ImageFilter.MinFilter(size)]
    for image, kind, one in zip(NOISE, filters, ours, strict=True):
        expected = image if kind is None else np.asarray(Image.fromarray(image).filter(kind))
        np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize("radius", [0.3, 1.25, -0.5, -1.7])
def test_a_fractional_radius_mixes_the_whole_ones_about_it(radius):
    ours = np.asarray(thicken(NOISE, jnp.full(4, radius)), float)
    operator = ndimage.grey_erosion if radius > 0 else ndimage.grey_dilation
    low, high = (
        operator(NOISE, size=(1, size, size, 1), mode="nearest").astype(float)
        for size in (2 * int(abs(radius)) + 1, 2 * int(abs(radius)) + 3)
    )
    share = abs(radius) % 1
    np.testing.assert_allclose(ours, (1 - share) * low + share * high, atol=0.5 + 255 / 512)


def test_noise_is_normal_and_independent_between_channels_pixels_and_images():
    seeds = jnp.array([1, 2, 3, 4], jnp.uint32)
    noise = np.asarray(normal_noise(seeds, (64, 64, 3)))
    assert stats.kstest(noise.ravel()[:20000], "norm").pvalue > 0.001
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    pairs = [
        (noise[:, 1:], noise[:, :-1]),
        (noise[:, :, 1:], noise[:, :, :-1]),
        (noise[..., 0], noise[..., 1]),
        (noise[0], noise[1]),
        (noise[2], noise[3]),
    ]
    for first, second in pairs:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4.0 / np.sqrt(first.size)


def test_noise_has_the_deviation_that_it_says_about_the_image():
    grey = np.full((3, 80, 80, 3), 128, np.uint8)
    deviations = jnp.array([0.0, 5.0, 20.0])
    noisy = np.asarray(add_noise(grey, jnp.array([5, 6, 7], jnp.uint32), deviations), float) - 128.0
    np.testing.assert_array_equal(noisy[0], 0.0)
    assert np.abs(noisy.mean((1, 2, 3))).max() < 0.5
    assert noisy[1].std() == pytest.approx(np.hypot(5.0, 12**-0.5), rel=0.03)
    assert noisy[2].std() == pytest.approx(20.0, rel=0.03)


def test_hashing_maps_no_two_numbers_to_the_same():
    numbers = np.asarray(hashed(jnp.arange(2**16, dtype=jnp.uint32)))
    assert len(np.unique(numbers)) == 2**16


def tile_table(tile: np.ndarray, clip_limit: float) -> np.ndarray:
    """OpenCV's table of a tile, as its loops have it."""
    counts = np.bincount(tile.ravel(), minlength=256)
    limit = max(int(clip_limit * tile.size / 256), 1)
    excess = np.maximum(counts - limit, 0).sum()
    counts = np.minimum(counts, limit) + excess // 256
    left, place = excess % 256, 0
    step = max(256 // max(left, 1), 1)
    while place < 256 and left > 0:
        counts[place] += 1
        place, left = place + step, left - 1
    return np.round(np.cumsum(counts) * 255.0 / tile.size)


def clahe_by_hand(grey: np.ndarray, clip_limit: float) -> np.ndarray:
    """OpenCV's algorithm, pixel by pixel."""
    rows, columns = (-(-size // 8) for size in grey.shape)
    padding = ((0, 8 * rows - grey.shape[0]), (0, 8 * columns - grey.shape[1]))
    tiles = np.pad(grey, padding, mode="reflect").reshape(8, rows, 8, columns).transpose(0, 2, 1, 3)
    tables = [[tile_table(tile, clip_limit) for tile in line] for line in tiles]
    result = np.zeros(grey.shape)
    for row, column in np.ndindex(grey.shape):
        y, x = row / rows - 0.5, column / columns - 0.5
        top, left = int(np.floor(y)), int(np.floor(x))
        for down, right in np.ndindex(2, 2):
            share = abs(1 - down - (y - top)) * abs(1 - right - (x - left))
            table = tables[np.clip(top + down, 0, 7)][np.clip(left + right, 0, 7)]
            result[row, column] += share * table[grey[row, column]]
    return result


@pytest.mark.parametrize("shape", [(64, 48), (61, 75)])
@pytest.mark.parametrize("clip_limit", [1.0, 2.5, 40.0])
def test_clahe_of_grey_images_is_opencvs_algorithm_restated(shape, clip_limit):
    generator = np.random.default_rng(1)
    grey = ndimage.gaussian_filter(generator.uniform(0, 255, shape), 2.0)
    grey = ((grey - grey.min()) * 2.5 + 30).clip(0, 255).astype(np.uint8)
    ours = clahe(grey[None, :, :, None].repeat(3, -1), jnp.array([clip_limit]))
    expected = clahe_by_hand(grey, clip_limit)
    for channel in range(3):
        assert np.abs(np.asarray(ours, float)[0, ..., channel] - expected).max() <= 0.5 + 1e-3


def test_clahe_changes_the_grey_of_colours_and_keeps_the_differences_of_their_channels():
    images = (NOISE // 4 + 90).astype(np.uint8)
    ours = np.asarray(clahe(images, jnp.full(4, 2.0))).astype(int)
    expected = np.asarray(clahe(np.asarray(luma(images)).astype(np.uint8).repeat(3, -1), jnp.full(4, 2.0)))
    inside = ((ours > 0) & (ours < 255)).all(-1)
    assert inside.mean() > 0.3
    changes = ours - images.astype(int)
    np.testing.assert_array_equal(changes[..., 0][inside], changes[..., 2][inside])
    np.testing.assert_array_equal((np.asarray(luma(images)) + changes)[inside], expected.astype(int)[inside])


def test_blank_paper_stays_blank():
    blank = jnp.full((2, 24, 24, 3), 255, jnp.uint8)
    radii = jnp.array([1.5, -1.5])
    np.testing.assert_array_equal(jax.jit(thicken)(blank, radii), 255)
    assert np.asarray(jax.jit(clahe)(blank, jnp.full(2, 4.0))).min() == 255
