import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image
from scipy import stats

from sketch_jax.augment.geometry import draw_matrices, view_matrix
from sketch_jax.augment.operation_options import CentreCrop, Perspective, ResizedCrop
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import augment_ink
from sketch_jax.augment.resample import warp
from sketch_jax.augment.strengths import create_strengths

COUNT, SHAPE = 3000, (40, 70)


def matrices(**options) -> np.ndarray:
    drawn = draw_matrices(jax.random.key(0), create_strengths(Augmentation(**options)), COUNT, SHAPE)
    return np.asarray(drawn, np.float64)


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


def test_a_rotation_happens_as_often_as_asked_and_then_by_the_same_angles_as_always():
    always, sometimes = (matrices(rotation_degrees=15.0, rotation_probability=share) for share in (1.0, 0.3))
    happens = (sometimes != np.eye(3)).any((1, 2))
    assert stats.binomtest(int(happens.sum()), COUNT, 0.3).pvalue > 0.001
    np.testing.assert_array_equal(sometimes[happens], always[happens])


def test_stretching_multiplies_width_by_height_evenly_on_a_scale_of_logarithms():
    drawn = matrices(stretch=(0.5, 2.0))
    assert_uniform(np.log2(drawn[:, 0, 0] / drawn[:, 1, 1]), -1.0, 1.0)
    np.testing.assert_allclose(np.linalg.det(drawn), 1.0, atol=1e-5)


def test_shears_slant_columns_and_rows_and_keep_the_area():
    drawn = matrices(shear_degrees=20.0)
    np.testing.assert_allclose(np.linalg.det(drawn), 1.0, atol=1e-5)
    for slant in (drawn[:, 0, 1], drawn[:, 1, 0]):
        assert_uniform(np.degrees(np.arctan(slant)), -20.0, 20.0)


def test_a_centre_crop_is_pillows_of_the_middle():
    crop = CentreCrop(height=0.5, width=0.7, probability=1.0)
    matrix = np.asarray(
        draw_matrices(jax.random.key(0), create_strengths(Augmentation(centre_crop=crop)), 1, SHAPE)
    )
    image = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    box = (70 * 0.15, 40 * 0.25, 70 * 0.85, 40 * 0.75)
    expected = Image.fromarray(image).resize((70, 40), Image.Resampling.BILINEAR, box=box)
    ours = np.asarray(warp(jnp.asarray(image[None]), jnp.asarray(matrix)))[0]
    assert np.abs(ours - np.asarray(expected, float))[1:-1, 1:-1].max() <= 1.0 + 1e-2


def boxes(drawn: np.ndarray) -> tuple[np.ndarray, ...]:
    """Height, width, top and left of each crop, in pixels."""
    height, width = 40 * drawn[:, 0, 0], 70 * drawn[:, 1, 1]
    return height, width, drawn[:, 0, 2] + (40 - height) / 2, drawn[:, 1, 2] + (70 - width) / 2


def test_resized_crops_are_torchvisions_draws():
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    area, ratio = (0.2, 0.9), (0.5, 2.0)
    height, width, top, left = boxes(matrices(resized_crop=ResizedCrop(area=area, ratio=ratio)))
    for sides, place, size in ((height, top, 40), (width, left, 70)):
        np.testing.assert_allclose(sides, np.round(sides), atol=1e-3)
        np.testing.assert_allclose(place, np.round(place), atol=1e-3)
        assert (place > -1e-3).all()
        assert (place + sides < size + 1e-3).all()
    torch.manual_seed(0)
    blank = torch.zeros(1, *SHAPE)
    theirs = np.array([transforms.RandomResizedCrop.get_params(blank, area, ratio) for _ in range(COUNT)])
    for ours, expected in ((top, 0), (left, 1), (height, 2), (width, 3)):
        assert stats.ks_2samp(np.round(ours), theirs[:, expected]).pvalue > 0.001


def test_whether_a_crop_happens_does_not_decide_its_shape():
    drawn = matrices(resized_crop=ResizedCrop(area=(0.2, 0.5), ratio=(0.5, 2.0), probability=0.5))
    height, width, _, _ = boxes(drawn[(drawn != np.eye(3)).any((1, 2))])
    wide = int((width / 70 > height / 40).sum())
    always = boxes(matrices(resized_crop=ResizedCrop(area=(0.2, 0.5), ratio=(0.5, 2.0))))
    share = float((always[1] / 70 > always[0] / 40).mean())
    assert stats.binomtest(wide, len(height), share).pvalue > 0.001


def test_where_no_crop_fits_torchvisions_largest_in_the_middle_is_taken():
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    crop = ResizedCrop(area=(1.0, 1.0), ratio=(0.5, 0.5))
    height, width, top, left = boxes(matrices(resized_crop=crop)[:1])
    expected = transforms.RandomResizedCrop.get_params(torch.zeros(1, *SHAPE), crop.area, crop.ratio)
    assert (round(top[0]), round(left[0]), round(height[0]), round(width[0])) == tuple(expected)


def corners() -> np.ndarray:
    generator = np.random.default_rng(0)
    half = (np.array(SHAPE) - 1) / 2
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    return signs * half * (1 - generator.uniform(0.0, 0.6, (20, 4, 2)))


def test_a_view_puts_the_corners_of_the_image_where_it_says_as_torchvision_does():
    functional = pytest.importorskip("torchvision.transforms.functional")
    centre = (np.array(SHAPE) - 1) / 2
    order = [0, 1, 3, 2]
    starts = [[0, 0], [69, 0], [69, 39], [0, 39]]
    for places in corners():
        matrix = np.asarray(view_matrix(jnp.asarray(places, jnp.float32), SHAPE), np.float64)
        ends = (places + centre)[order][:, ::-1].tolist()
        a, b, c, d, e, f, g, h = functional._get_perspective_coeffs(starts, ends)
        theirs = np.array([[a, b, c], [d, e, f], [g, h, 1.0]])
        for row, column in np.random.default_rng(1).uniform(0, 30, (10, 2)):
            x, y, depth = theirs @ [column, row, 1.0]
            ours = matrix @ [row - centre[0], column - centre[1], 1.0]
            np.testing.assert_allclose(ours[:2] / ours[2] + centre, [y / depth, x / depth], atol=2e-3)


def test_corners_of_a_perspective_move_inwards_uniformly_up_to_a_share_of_half_the_side():
    drawn = matrices(perspective=Perspective(distortion=0.4, probability=1.0))
    half = (np.array(SHAPE) - 1) / 2
    for signs in ([-1, -1], [-1, 1], [1, -1], [1, 1]):
        corner = np.append(signs * half, 1.0)
        places = np.linalg.solve(drawn, np.broadcast_to(corner, (COUNT, 3))[..., None])[..., 0]
        moved = 1.0 - signs * (places[:, :2] / places[:, 2:]) / half
        assert_uniform(moved[:, 0], 0.0, 0.4)
        assert_uniform(moved[:, 1], 0.0, 0.4)


@pytest.mark.parametrize(
    "options",
    [
        {"perspective": Perspective(distortion=0.5, probability=0.3)},
        {"resized_crop": ResizedCrop(probability=0.3)},
        {"centre_crop": CentreCrop(probability=0.3)},
    ],
    ids=str,
)
def test_maps_happen_as_often_as_asked(options):
    happens = (matrices(**options) != np.eye(3)).any((1, 2))
    assert stats.binomtest(int(happens.sum()), COUNT, 0.3).pvalue > 0.001


@pytest.mark.parametrize(
    "options",
    [
        {"perspective": Perspective(distortion=0.6, probability=1.0)},
        {"stretch": (0.5, 2.0)},
        {"shear_degrees": 40.0},
        {"resized_crop": ResizedCrop(), "rotation_degrees": 90.0, "shift": 0.3},
        {"centre_crop": CentreCrop(height=0.6), "rotation_degrees": 90.0},
    ],
    ids=str,
)
def test_what_comes_in_is_white_and_blank_paper_stays_white(options):
    strengths = create_strengths(Augmentation(**options))
    white = np.full((8, *SHAPE, 3), 255, np.uint8)
    np.testing.assert_array_equal(augment_ink(jax.random.key(0), strengths, white), 0.0)
    blue = np.broadcast_to(np.array([10, 20, 200], np.uint8), white.shape)
    ink = np.asarray(augment_ink(jax.random.key(0), strengths, blue))
    np.testing.assert_allclose(ink[..., 0] * 235 / 245, ink[..., 1], atol=1e-6)
    assert (ink == 0.0).all(-1).any()
