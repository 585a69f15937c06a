import jax
import numpy as np
import pytest
from as_runs import jit_as_runs_do
from jax import numpy as jnp
from PIL import Image
from scipy import ndimage

from sketch_jax.augment import resample
from sketch_jax.augment.geometry import draw_matrices
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import augment_ink
from sketch_jax.augment.resample import fixed_point_map, fraction_bits, warp
from sketch_jax.augment.strengths import create_strengths

ALL = Augmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation_degrees=45.0, shift=0.2, scale=(0.5, 2.0))
EXTREME = Augmentation(rotation_degrees=180.0, shift=0.5, scale=(0.25, 0.25))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@jax.jit
def warped(ink: np.ndarray, matrices: np.ndarray) -> jax.Array:
    return warp(ink, matrices)


def drawn(options: Augmentation, count: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.asarray(draw_matrices(jax.random.key(seed), create_strengths(options), count, shape))


def places(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where each output pixel is read: (row, column) from the first pixel, in float64."""
    centre = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - centre
    return grid @ np.asarray(matrix, np.float64)[:2, :2].T + matrix[:2, 2] + centre


def reference(ink: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    where = np.moveaxis(places(matrix, ink.shape[:2]), -1, 0)
    channels = [
        ndimage.map_coordinates(ink[..., channel].astype(float), where, order=1, mode="grid-constant")
        for channel in range(ink.shape[-1])
    ]
    return np.stack(channels, -1)


def rounding(height: int, width: int) -> float:
    """The most that whole-number places change a byte: their error in pixels, times 255 along each axis."""
    return 2 * 255 * (height + width + 2) / 2 * 2.0 ** -fraction_bits(height, width) + 1e-3


@pytest.mark.parametrize("shape", [(40, 56), (33, 20), (96, 96)])
@pytest.mark.parametrize("options", [ALL, EXTREME], ids=["all", "extreme"])
def test_resampling_is_scipys_bilinear_on_colour_images_of_any_shape(shape, options):
    ink, matrices = noise(12, *shape, 3), drawn(options, 12, shape)
    ours = np.asarray(warped(ink, matrices))
    expected = np.stack([reference(image, matrix) for image, matrix in zip(ink, matrices, strict=True)])
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=rounding(*shape))


def test_resampling_is_pillows_where_all_is_inside():
    shape = (48, 64)
    pixels, matrices = noise(8, *shape, 3), drawn(ALL, 8, shape)
    for image, matrix, ours in zip(pixels, matrices, warped(pixels, matrices), strict=True):
        linear = matrix[[[1, 1], [0, 0]], [[1, 0], [1, 0]]].astype(float)
        centre = np.array([shape[1], shape[0]]) / 2
        offset = centre + matrix[[1, 0], 2] - linear @ centre
        data = (*linear[0], offset[0], *linear[1], offset[1])
        pillow = Image.fromarray(image).transform(
            (shape[1], shape[0]), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
        where = places(matrix, shape)
        interior = ((where >= 0) & (where <= np.array(shape) - 1)).all(-1)
        assert interior.mean() > 0.1
        assert np.abs(np.asarray(pillow, float) - ours)[interior].max() <= 1.0 + rounding(*shape)


def test_a_batch_of_noise_has_no_wrong_pixel():
    shape = (96, 96)
    ink, strengths = noise(64, *shape, 1), create_strengths(ALL)

    @jax.jit
    def move(key, ink):
        matrices = draw_matrices(key, strengths, 64, shape)
        return matrices, warp(ink, matrices)

    for seed in range(3):
        matrices, ours = move(jax.random.key(seed), ink)
        expected = np.stack([reference(image, np.asarray(m)) for image, m in zip(ink, matrices, strict=True)])
        np.testing.assert_allclose(ours, expected, rtol=0, atol=rounding(*shape))


def test_places_within_a_rounding_of_a_pixel_are_read_right():
    shape = (96, 96)
    ink = noise(64, *shape, 3)
    matrices = np.tile(np.eye(3, dtype=np.float32), (64, 1, 1))
    matrices[:, :2] += np.random.default_rng(1).uniform(-3e-7, 3e-7, (64, 2, 3)).astype(np.float32)
    matrices[:, :2, 2] += np.arange(128).reshape(64, 2) % 5
    expected = np.stack([reference(image, matrix) for image, matrix in zip(ink, matrices, strict=True)])
    np.testing.assert_allclose(warped(ink, matrices), expected, rtol=0, atol=rounding(*shape))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_exact(turns):
    matrix = np.eye(3, dtype=np.float32)
    matrix[:2, :2] = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns)
    ink = noise(1, 24, 24, 3)
    np.testing.assert_array_equal(warped(ink, matrix[None])[0], np.rot90(ink[0], turns))


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips_are_exact_on_an_image_that_is_not_square(name, axis):
    ink = noise(3, 20, 31, 3)
    matrices = drawn(Augmentation(**{name: 1.0}), 3, (20, 31))
    np.testing.assert_array_equal(warped(ink, matrices), np.flip(ink, axis))


def test_a_shift_by_whole_pixels_is_exact_and_lets_paper_in():
    ink = noise(1, 20, 30, 3)
    matrix = np.eye(3, dtype=np.float32)
    matrix[:2, 2] = 3, -4
    expected = np.zeros_like(ink[0])
    expected[:17, 4:] = ink[0, 3:, :26]
    np.testing.assert_array_equal(warped(ink, matrix[None])[0], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"horizontal_flip": 1.0},
        {"vertical_flip": 1.0},
        {"rotation_degrees": 180.0},
        {"shift": 0.5},
        {"scale": (0.25, 0.9)},
        {"rotation_degrees": 180.0, "shift": 0.5, "scale": (0.25, 0.9), "horizontal_flip": 0.5},
    ],
    ids=str,
)
def test_what_comes_in_from_beyond_a_colour_image_is_white(options):
    shape = (32, 44)
    strengths = create_strengths(Augmentation(**options))
    blue = np.broadcast_to(np.array([10, 20, 200], np.uint8), (32, *shape, 3))
    images = 1.0 - np.asarray(augment_ink(jax.random.key(1), strengths, blue))
    darkest = blue[0, 0, 0] / 255.0
    assert (images >= darkest - 1e-6).all()
    shares = (1.0 - images) / (1.0 - darkest)
    np.testing.assert_allclose(shares, shares[..., :1].repeat(3, -1), atol=1e-6)
    if not {"horizontal_flip", "vertical_flip"} >= set(options):
        assert (images == 1.0).all(-1).any((1, 2)).mean() > 0.7
    white = np.full((4, *shape, 3), 255, np.uint8)
    assert (1.0 - np.asarray(augment_ink(jax.random.key(1), strengths, white)) == 1.0).all()


@pytest.mark.parametrize("degrees", [10.0, 45.0])
def test_corners_that_a_rotation_uncovers_are_white_in_every_channel(degrees):
    angle = np.radians(degrees)
    matrix = np.eye(3, dtype=np.float32)
    matrix[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    ink = np.full((1, 64, 64, 3), 255, np.uint8)
    corners = np.asarray(warped(ink, matrix[None]))[0][[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, 0.0)


def test_floats_are_resampled_like_bytes():
    ink, matrices = noise(2, 24, 24, 3), drawn(ALL, 2, (24, 24))
    resampled = jit_as_runs_do(warp)
    np.testing.assert_array_equal(resampled(ink.astype(np.float32), matrices), resampled(ink, matrices))


def test_the_branch_of_the_cpu_changes_no_value():
    ink, matrices = noise(4, 24, 30, 3), drawn(ALL, 4, (24, 30))
    plain = jax.jit(resample._resample)(jnp.asarray(ink), fixed_point_map(jnp.asarray(matrices), 24, 30))
    np.testing.assert_array_equal(warped(ink, matrices), plain)
    still = np.broadcast_to(np.eye(3, dtype=np.float32), (4, 3, 3))
    np.testing.assert_array_equal(warped(ink, still), ink)
