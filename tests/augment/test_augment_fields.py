import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import ndimage, stats

from sketch_jax.augment.fields import Places, draw_fields, elastic
from sketch_jax.augment.operation_options import Elastic, GridDistortion, OpticalDistortion
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import augment_ink
from sketch_jax.augment.resample import fraction_bits, warp, warp_from
from sketch_jax.augment.strengths import create_strengths

COUNT, SHAPE = 500, (40, 56)
ELASTIC = Augmentation(elastic=Elastic(alpha=30.0, sigma=4.0, probability=1.0))
GRID = Augmentation(grid_distortion=GridDistortion(steps=4, limit=0.3, probability=1.0))
OPTICAL = Augmentation(optical_distortion=OpticalDistortion(limit=0.4, probability=1.0))
ALL = Augmentation(
    elastic=Elastic(probability=1.0),
    grid_distortion=GridDistortion(probability=1.0),
    optical_distortion=OpticalDistortion(probability=1.0),
)


def drawn(options: Augmentation, count: int = COUNT, shape: tuple[int, int] = SHAPE, seed: int = 0):
    places = draw_fields(jax.random.key(seed), create_strengths(options), count, shape)
    return tuple(np.asarray(values, float) for values in places)


def centred(size: int) -> np.ndarray:
    return np.arange(size) - (size - 1) / 2


def test_elastic_fields_have_the_spread_and_the_smoothness_of_blurred_noise():
    rows, columns = drawn(ELASTIC, 60, (60, 60))
    ours = np.concatenate([rows - centred(60).reshape(1, -1, 1), columns - centred(60).reshape(1, 1, -1)])
    uniform = np.random.default_rng(0).uniform(-1.0, 1.0, ours.shape)
    scipys = 30.0 * ndimage.gaussian_filter(uniform, (0, 4.0, 4.0), mode="mirror", truncate=5.0)
    inside = np.s_[:, 14:-14, 14:-14]
    assert ours[inside].std() == pytest.approx(scipys[inside].std(), rel=0.06)
    assert ours[inside].std() == pytest.approx(30.0 / (np.sqrt(3.0) * 2 * np.sqrt(np.pi) * 4.0), rel=0.05)
    assert ours[:, 0].std() == pytest.approx(scipys[:, 0].std(), rel=0.1)
    for distance in (2, 4, 8):
        correlations = [
            (field[:, distance:] * field[:, :-distance]).mean() / (field**2).mean()
            for field in (ours, scipys)
        ]
        assert correlations[0] == pytest.approx(np.exp(-(distance**2) / 64.0), abs=0.06)
        assert correlations[0] == pytest.approx(correlations[1], abs=0.07)


@pytest.mark.parametrize("sigma", [3.0, 4.0, 9.0])
def test_the_lattice_of_elastic_noise_leaves_no_trace_in_the_variance(sigma):
    places = Places(jnp.zeros((3000, 1, 1)), jnp.zeros((3000, 1, 1)))
    noise = {"alpha": jnp.array(100.0), "sigma": jnp.array(sigma)}
    field = np.asarray(elastic(jax.random.key(0), noise, places, (48, 47)).row, float)[:, 15:33, 23]
    expected = 100.0 / (np.sqrt(3.0) * 2 * np.sqrt(np.pi) * sigma)
    np.testing.assert_allclose(field.std(0), np.full(18, expected), rtol=4 / np.sqrt(6000))


def test_grid_lines_lie_between_cells_whose_lengths_are_uniform_before_they_are_scaled():
    rows, columns = drawn(GRID)
    for places, size in ((rows[:, :, 0], 40), (columns[:, 0], 56)):
        assert (np.diff(places) > 0).all()
        slopes = np.diff(places).reshape(COUNT, -1)
        cell = size // 4
        lengths = np.stack([slopes[:, start * cell + 1] for start in range(4)], -1)
        np.testing.assert_allclose(lengths.sum(-1), 4.0, atol=1e-4)
        assert lengths.min() >= 0.7 / (0.25 * (0.7 + 3 * 1.3)) - 1e-3
        lines = (np.cumsum(lengths, -1) / 4.0 - 0.5) * size
        for line in range(3):
            between = places[:, (line + 1) * cell - 1 : (line + 1) * cell + 1].mean(1)
            slack = np.abs(lengths[:, line + 1] - lengths[:, line]) / 4 + 1e-4
            assert (np.abs(between - lines[:, line]) <= slack).all()


def test_each_grid_is_a_piecewise_linear_map_of_the_whole_side():
    _, columns = drawn(GRID, 5)
    knots = np.linspace(0.0, 56.0, 5) - 28.0
    for places in columns[:, 0]:
        slopes = np.array([places[14 * cell + 5] - places[14 * cell + 4] for cell in range(4)])
        images = np.concatenate([[-28.0], -28.0 + 14.0 * np.cumsum(slopes)])
        np.testing.assert_allclose(places, np.interp(centred(56), knots, images), atol=1e-3)


def test_the_number_of_cells_is_data():
    for steps in (1, 3, 16):
        _, columns = drawn(
            Augmentation(grid_distortion=GridDistortion(steps=steps, limit=0.5, probability=1.0)), 4, (48, 96)
        )
        bends = np.abs(np.diff(columns[:, 0], n=2)) > 1e-3
        lines = np.flatnonzero(bends.any(0)) + 1
        assert len(set(np.round((lines + 0.5) / (96 / steps)))) == steps - 1


def test_a_lens_is_opencvs_radial_distortion():
    rows, columns = drawn(OPTICAL)
    y, x = centred(40).reshape(-1, 1) / 40, centred(56).reshape(1, -1) / 56
    squared = x**2 + y**2
    coefficients = (columns[:, 20, 50] / (x[0, 50] * 56) - 1) / (squared + squared**2)[20, 50]
    assert stats.kstest(coefficients, stats.uniform(-0.4, 0.8).cdf).pvalue > 0.001
    factor = 1 + coefficients.reshape(-1, 1, 1) * (squared + squared**2)
    np.testing.assert_allclose(rows, 40 * y * factor, atol=1e-3)
    np.testing.assert_allclose(columns, 56 * x * factor, atol=1e-3)


@pytest.mark.parametrize(
    "record", [Elastic(probability=0.3), GridDistortion(probability=0.3), OpticalDistortion(probability=0.3)]
)
def test_a_distortion_happens_as_often_as_asked(record):
    names = {Elastic: "elastic", GridDistortion: "grid_distortion", OpticalDistortion: "optical_distortion"}
    rows, _ = drawn(Augmentation(**{names[type(record)]: record}))
    moved = (rows != centred(40).reshape(1, -1, 1)).any((1, 2))
    assert stats.binomtest(int(moved.sum()), COUNT, 0.3).pvalue > 0.001


def reference(ink: np.ndarray, row: np.ndarray, column: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    row, column = np.broadcast_arrays(row, column)
    down, right, depth = np.einsum("ij,jhw->ihw", matrix, np.stack([row, column, np.ones_like(row)]))
    where = [down / depth + (ink.shape[0] - 1) / 2, right / depth + (ink.shape[1] - 1) / 2]
    channels = [
        ndimage.map_coordinates(ink[..., channel].astype(float), where, order=1, mode="grid-constant")
        for channel in range(3)
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize("shape", [(64, 80), (37, 51)])
def test_fields_and_matrices_are_resampled_once_as_scipy_does(shape):
    generator = np.random.default_rng(0)
    ink = generator.integers(0, 256, (16, *shape, 3), dtype=np.uint8)
    places = draw_fields(jax.random.key(3), create_strengths(ALL), 16, shape)
    matrices = np.eye(3, dtype=np.float32) + generator.uniform(-0.2, 0.2, (16, 3, 3)).astype(np.float32)
    matrices[:, 2] = np.array([0.001, -0.001, 1.0])
    ours = np.asarray(jax.jit(warp_from)(ink, *places, matrices))
    expected = np.stack(
        [
            reference(*(np.asarray(part, np.float64 if part.dtype != np.uint8 else None) for part in parts))
            for parts in zip(ink, *places, matrices, strict=True)
        ]
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.15)
    assert np.abs(ours - expected).mean() < 0.005


def test_places_that_are_pixels_are_read_exactly_by_gather_and_weights_alike():
    """A place calculated twice could fall before a pixel for one and on it for the other."""
    shape = (96, 96)
    ink = np.random.default_rng(0).integers(0, 256, (32, *shape, 3), dtype=np.uint8)
    places = draw_fields(jax.random.key(0), {}, 32, shape)
    matrices = np.tile(np.eye(3, dtype=np.float32), (32, 1, 1))
    matrices[:, :2] += np.random.default_rng(1).uniform(-3e-7, 3e-7, (32, 2, 3)).astype(np.float32)
    matrices[:, :2, 2] += np.arange(64).reshape(32, 2) % 5
    expected = np.asarray(jax.jit(warp)(ink, matrices))
    ours = np.asarray(jax.jit(warp_from)(ink, *places, matrices))
    step = 255 * 2 * (2.0**-16 + 2.0 ** -fraction_bits(*shape))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=3 * step)


def test_what_lies_behind_the_eye_is_paper():
    matrices = np.eye(3, dtype=np.float32)[None].copy()
    matrices[0, 2, 0] = 0.2
    places = draw_fields(jax.random.key(0), {}, 1, (21, 21))
    moved = np.asarray(jax.jit(warp_from)(np.full((1, 21, 21, 3), 255, np.uint8), *places, matrices))[0]
    assert not moved[:6].any()
    assert moved[10, 10].all()


@pytest.mark.parametrize("options", [ELASTIC, GRID, OPTICAL, ALL])
def test_blank_paper_stays_white_and_what_comes_in_is_white(options):
    strengths = create_strengths(options)
    white = np.full((4, *SHAPE, 3), 255, np.uint8)
    np.testing.assert_array_equal(augment_ink(jax.random.key(0), strengths, white), 0.0)
    blue = np.broadcast_to(np.array([10, 20, 200], np.uint8), white.shape)
    ink = np.asarray(augment_ink(jax.random.key(0), strengths, blue))
    assert (ink <= 245 / 255 + 1e-6).all()
    np.testing.assert_allclose(ink[..., 0] * 235 / 245, ink[..., 1], atol=1e-6)


def test_images_to_which_nothing_happens_are_unchanged():
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE, 3), dtype=np.uint8)
    never = {name: np.zeros_like(value) for name, value in create_strengths(ALL).items()}
    ink = 255.0 * np.asarray(augment_ink(jax.random.key(0), never, images))
    np.testing.assert_allclose(ink, 255 - images, rtol=0, atol=1e-4)
