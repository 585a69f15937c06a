import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment.geometry import (
    GEOMETRIC,
    Coordinates,
    GeometricChain,
    Projective,
    draw_matrices,
    shifting,
)
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.strengths import create_strengths

COUNT, SHAPE = 4000, (40, 70)
ALL = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "scale": (0.8, 1.25),
    "rotation_degrees": 15.0,
    "shift": 0.1,
}


def matrices(seed: int = 0, **options) -> np.ndarray:
    drawn = draw_matrices(jax.random.key(seed), create_strengths(Augmentation(**options)), COUNT, SHAPE)
    return np.asarray(drawn, np.float64)


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


def assert_frequency(events: np.ndarray, probability: float) -> None:
    assert stats.binomtest(int(events.sum()), events.size, probability).pvalue > 0.001


def test_angles_are_uniform_between_the_largest_either_way():
    drawn = matrices(rotation_degrees=15.0)
    angles = np.degrees(np.arctan2(drawn[:, 0, 1], drawn[:, 0, 0]))
    assert_uniform(angles, -15.0, 15.0)
    turns = np.radians(angles)
    expected = np.stack([[np.cos(turns), np.sin(turns)], [-np.sin(turns), np.cos(turns)]]).transpose(2, 0, 1)
    np.testing.assert_allclose(drawn[:, :2, :2], expected, atol=2e-7)
    assert not drawn[:, :2, 2].any()


def test_magnification_is_uniform_and_equal_along_both_axes():
    drawn = matrices(scale=(0.8, 1.2))
    assert_uniform(1.0 / drawn[:, 0, 0], 0.8, 1.2)
    np.testing.assert_array_equal(drawn[:, 0, 0], drawn[:, 1, 1])
    assert not drawn[:, [0, 1], [1, 0]].any()


def test_shifts_are_uniform_fractions_of_their_own_side_and_independent():
    drawn = matrices(shift=0.1)
    rows, columns = drawn[:, 0, 2], drawn[:, 1, 2]
    assert_uniform(rows, -4.0, 4.0)
    assert_uniform(columns, -7.0, 7.0)
    assert stats.pearsonr(rows, columns).pvalue > 0.001


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_a_flip_happens_as_often_as_asked_along_its_own_axis(name, axis):
    drawn = matrices(**{name: 0.3})
    assert_frequency(drawn[:, axis, axis] == -1.0, 0.3)
    assert (drawn[:, 1 - axis, 1 - axis] == 1.0).all()


def test_flips_of_the_two_axes_are_independent():
    drawn = matrices(horizontal_flip=0.5, vertical_flip=0.5)
    assert_frequency(drawn[:, 0, 0] * drawn[:, 1, 1] == -1.0, 0.5)


def test_all_operations_compose_into_one_map_of_flip_zoom_turn_and_shift():
    drawn = matrices(**ALL)
    determinant = np.linalg.det(drawn[:, :2, :2])
    zoom = 1.0 / np.sqrt(np.abs(determinant))
    assert_uniform(zoom, 0.8, 1.25)
    assert_frequency(determinant < 0, 0.5)
    orthogonal = drawn[:, :2, :2] * zoom.reshape(-1, 1, 1)
    np.testing.assert_allclose(
        orthogonal @ orthogonal.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (COUNT, 2, 2)), atol=1e-6
    )
    shifts = np.linalg.solve(drawn[:, :2, :2], drawn[:, :2, 2:])[..., 0]
    assert_uniform(shifts[:, 0], -4.0, 4.0)
    assert_uniform(shifts[:, 1], -7.0, 7.0)


def test_another_key_draws_other_maps_and_the_same_key_the_same():
    np.testing.assert_array_equal(matrices(3, **ALL), matrices(3, **ALL))
    assert (matrices(3, **ALL) != matrices(4, **ALL)).any((1, 2)).mean() > 0.99


def test_the_inverse_chain_undoes_the_maps():
    key = jax.random.key(5)
    strengths = create_strengths(Augmentation(**ALL))
    chain = GeometricChain(*(GEOMETRIC[name](strengths) for name in ALL))
    forward, backward = Coordinates(SHAPE), Coordinates(SHAPE)
    chain.transform_coordinates(key, forward)
    chain.transform_coordinates(key, backward, invert=True)
    np.testing.assert_allclose(forward.matrix @ backward.matrix, np.eye(3), atol=1e-5)


def test_a_zero_strength_that_is_traced_moves_nothing():
    strengths = {
        "rotation_degrees": 0.0,
        "rotation_probability": 1.0,
        "shift": 0.0,
        "horizontal_flip": 0.0,
        "scale": (1.0, 1.0),
        "shear_degrees": 0.0,
        "stretch": (1.0, 1.0),
        "perspective.distortion": 0.0,
        "perspective.probability": 1.0,
    }
    traced = jax.tree.map(jnp.asarray, strengths, is_leaf=lambda value: isinstance(value, tuple))
    drawn = jax.jit(draw_matrices, static_argnums=(2, 3))(jax.random.key(0), traced, 8, SHAPE)
    np.testing.assert_allclose(drawn, np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-6)


def test_matrices_are_multiplied_in_full_precision_on_every_device():
    strengths = create_strengths(Augmentation(**ALL))
    program = str(jax.make_jaxpr(lambda key: draw_matrices(key, strengths, 2, SHAPE))(jax.random.key(0)))
    assert program.count("dot_general") == len(ALL)
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == len(ALL)


def test_an_operation_of_ours_takes_a_traced_strength():
    def shift_of(strength):
        coordinates = Coordinates(SHAPE)
        Projective(shifting, strength).transform_coordinates(jax.random.key(0), coordinates)
        return coordinates.matrix[:2, 2]

    np.testing.assert_allclose(jax.jit(shift_of)(0.2), 2 * jax.jit(shift_of)(0.1), rtol=1e-6)
