"""Geometric operations as augmax transformations, composed into one map: an image is resampled once.

Only augmax's composition is used: its resampling takes three times as long as `resample.warp` on a CPU.
A matrix maps (row, column, 1) of the output, in pixels from the centre, to the place in the input; the last
row of all but perspectives is (0, 0, 1).

References:
    torchvision/transforms/transforms.py for random resized crops and perspectives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from augmax.geometric import (
    GeometricChain,
    GeometricTransformation,
    HorizontalFlip,
    LazyCoordinates,
    VerticalFlip,
)
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.augment.strengths import Strength, Strengths, is_on, part
from sketch_jax.keys import stream

Matrix = Float[Array, "3 3"]
Corners = Float[Array, "4 2"]
"""(row, column) of the top left, top right, bottom left and bottom right corner."""

CROP_ATTEMPTS = 10
"""How often a crop that does not fit is drawn anew before the largest one in the middle is taken."""


class Coordinates(LazyCoordinates):
    """augmax's composed coordinates, which also tell the matrix they have come to."""

    @property
    def matrix(self) -> Matrix:
        """From the output to the input."""
        return jnp.asarray(self._current_transform, jnp.float32)


class Projective(GeometricTransformation):
    """A map that a pure function (key, strength, shape) -> matrix draws, which happens with a probability.

    augmax's own rotation and zoom want their ranges as Python numbers; here a strength may be traced.
    """

    def __init__(
        self,
        draw: Callable[..., Matrix],
        strength: Strength | Mapping[str, Strength],
        probability: Strength | None = None,
    ):
        super().__init__()
        self.draw = draw
        self.strength = strength
        self.probability = probability

    def transform_coordinates(self, rng, coordinates, invert=False):
        """See `augmax.geometric.GeometricTransformation`."""
        matrix = self.draw(rng, self.strength, coordinates.current_shape)
        if self.probability is not None:
            # A named stream: `fold_in(key, 1)` is the second of `split(key, n)`, which `draw` may use.
            happens = jax.random.bernoulli(stream(jnp.asarray(rng), "happens"), self.probability)
            matrix = jnp.where(happens, matrix, jnp.eye(3))
        coordinates.push_transform(jnp.linalg.inv(matrix) if invert else matrix)
        return coordinates


def rotation(key: Key[Array, ""], max_degrees: Strength, shape: tuple[int, int]) -> Matrix:
    """A rotation about the centre, uniform between the largest angle one way and the other."""
    angle = jnp.deg2rad(max_degrees) * jax.random.uniform(key, minval=-1.0, maxval=1.0)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def scaling(key: Key[Array, ""], bounds: Strength, shape: tuple[int, int]) -> Matrix:
    """A magnification about the centre, uniform between the two bounds; the input is read at its inverse."""
    inverse = 1.0 / jax.random.uniform(key, minval=bounds[0], maxval=bounds[1])
    return jnp.diag(jnp.array([inverse, inverse, 1.0]))


def shifting(key: Key[Array, ""], max_fraction: Strength, shape: tuple[int, int]) -> Matrix:
    """A shift along each axis, uniform up to a fraction of that side."""
    row, column = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * max_fraction
    return jnp.array([[1.0, 0.0, row * shape[0]], [0.0, 1.0, column * shape[1]], [0.0, 0.0, 1.0]])


def stretching(key: Key[Array, ""], bounds: Strength, shape: tuple[int, int]) -> Matrix:
    """Width by height multiplied by a ratio whose logarithm is uniform; the area stays as it is."""
    logarithm = jax.random.uniform(key, minval=jnp.log(bounds[0]), maxval=jnp.log(bounds[1]))
    root = jnp.exp(logarithm / 2.0)
    return jnp.diag(jnp.array([root, 1.0 / root, 1.0]))


def shearing(key: Key[Array, ""], max_degrees: Strength, shape: tuple[int, int]) -> Matrix:
    """Columns, then rows, each slanted by an angle that is uniform up to the largest, either way."""
    down, right = jnp.tan(jnp.deg2rad(max_degrees) * jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0))
    return jnp.array([[1.0 + down * right, down, 0.0], [right, 1.0, 0.0], [0.0, 0.0, 1.0]])


def centre_cropping(key: Key[Array, ""], crop: Mapping[str, Strength], shape: tuple[int, int]) -> Matrix:
    """The middle of the image, `height` and `width` of it as shares, over the whole output."""
    return jnp.diag(jnp.array([crop["height"], crop["width"], 1.0]))


def resized_cropping(key: Key[Array, ""], crop: Mapping[str, Strength], shape: tuple[int, int]) -> Matrix:
    """A crop anywhere in the image over the whole output.

    Its share of the `area` is uniform between bounds, and so is the logarithm of width by height, `ratio`.
    """
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    attempts, (height, width) = (CROP_ATTEMPTS,), shape
    area = (
        height
        * width
        * jax.random.uniform(area_key, attempts, minval=crop["area"][0], maxval=crop["area"][1])
    )
    least, most = jnp.log(crop["ratio"][0]), jnp.log(crop["ratio"][1])
    ratio = jnp.exp(jax.random.uniform(ratio_key, attempts, minval=least, maxval=most))
    rows, columns = jnp.round(jnp.sqrt(area / ratio)), jnp.round(jnp.sqrt(area * ratio))
    fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
    whole = jnp.clip(width / height, crop["ratio"][0], crop["ratio"][1])
    size = jnp.where(
        fits.any(),
        jnp.stack([rows, columns])[:, jnp.argmax(fits)],
        jnp.round(jnp.stack([jnp.minimum(height, width / whole), jnp.minimum(width, height * whole)])),
    )
    room = jnp.array([height, width], jnp.float32) - size
    places = jnp.where(
        fits.any(), jnp.floor(jax.random.uniform(place_key, (2,)) * (room + 1.0)), jnp.round(room / 2.0)
    )
    offset = places - room / 2.0
    return jnp.array([[size[0] / height, 0.0, offset[0]], [0.0, size[1] / width, offset[1]], [0.0, 0.0, 1.0]])


def viewing(key: Key[Array, ""], view: Mapping[str, Strength], shape: tuple[int, int]) -> Matrix:
    """Each corner moves inwards along each axis, uniformly up to a share of half that side."""
    half = (jnp.array(shape, jnp.float32) - 1.0).reshape(1, 2) / 2.0
    inwards = jax.random.uniform(key, (4, 2)) * view["distortion"]
    return view_matrix(_unit_corners() * half * (1.0 - inwards), shape)


def view_matrix(corners: Corners, shape: tuple[int, int]) -> Matrix:
    """The map under which the image's corner pixels come to lie at given places of the output.

    References:
        Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.3.
    """
    half = (jnp.array(shape, jnp.float32) - 1.0) / 2.0
    scale = jnp.maximum(half.max(), 0.5)  # keeps all entries near 1, for the sake of float32
    top_left, top_right, bottom_left, bottom_right = corners / scale
    right, down = top_right - bottom_right, bottom_left - bottom_right
    rest = top_left - top_right + bottom_right - bottom_left
    determinant = _cross(right, down)
    by_column, by_row = _cross(rest, down) / determinant, _cross(right, rest) / determinant
    from_square = jnp.stack(
        [
            jnp.append(bottom_left - top_left + by_row * bottom_left, by_row),
            jnp.append(top_right - top_left + by_column * top_right, by_column),
            jnp.append(top_left, 1.0),
        ],
        axis=-1,
    )
    row, column, one = from_square
    to_square = jnp.stack([jnp.cross(column, one), jnp.cross(one, row), jnp.cross(row, column)], axis=-1)
    from_output = to_square @ jnp.diag(jnp.array([1.0 / scale, 1.0 / scale, 1.0]))
    height, width = 2.0 * half
    to_input = jnp.array([[height, 0.0, -half[0]], [0.0, width, -half[1]], [0.0, 0.0, 1.0]])
    matrix = to_input @ from_output
    return matrix / matrix[2, 2]


def _unit_corners() -> Corners:
    return jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])


def _cross(first: Float[Array, "2"], second: Float[Array, "2"]) -> Float[Array, ""]:
    return first[0] * second[1] - first[1] * second[0]


def _flip(create: Callable[[Any], Any], name: str) -> Callable[[Strengths], GeometricTransformation]:
    return lambda strengths: create(strengths[name])


def _always(draw: Callable[..., Any], name: str) -> Callable[[Strengths], GeometricTransformation]:
    return lambda strengths: Projective(draw, strengths[name])


def _sometimes(draw: Callable[..., Any], name: str) -> Callable[[Strengths], GeometricTransformation]:
    def create(strengths: Strengths) -> GeometricTransformation:
        parts = part(strengths, name)
        return Projective(draw, parts, parts["probability"])

    return create


GEOMETRIC: Mapping[str, Callable[[Strengths], GeometricTransformation]] = {
    "resized_crop": _sometimes(resized_cropping, "resized_crop"),
    "centre_crop": _sometimes(centre_cropping, "centre_crop"),
    "horizontal_flip": _flip(HorizontalFlip, "horizontal_flip"),
    "vertical_flip": _flip(VerticalFlip, "vertical_flip"),
    "scale": _always(scaling, "scale"),
    "stretch": _always(stretching, "stretch"),
    "rotation_degrees": lambda strengths: Projective(
        rotation, strengths["rotation_degrees"], strengths["rotation_probability"]
    ),
    "shear_degrees": _always(shearing, "shear_degrees"),
    "shift": _always(shifting, "shift"),
    "perspective": _sometimes(viewing, "perspective"),
}
"""Every geometric operation by its field in `Augmentation`, in the order in which images go through them."""


def moves(strengths: Strengths) -> bool:
    """Whether an operation that has a matrix is on."""
    return any(is_on(strengths, name) for name in GEOMETRIC)


def draw_matrices(
    key: Key[Array, ""], strengths: Strengths, count: int, shape: tuple[int, int]
) -> Float[Array, "batch 3 3"]:
    """The composed map of each image, from the output's centred coordinates to the input's.

    Args:
        key: of this batch.
        strengths: operations that are absent are not traced.
        count: images.
        shape: height and width, in pixels.
    """
    chain = GeometricChain(
        *(create(strengths) for name, create in GEOMETRIC.items() if is_on(strengths, name))
    )

    def draw(image_key: Key[Array, ""]) -> Matrix:
        coordinates = Coordinates(shape)
        chain.transform_coordinates(image_key, coordinates)
        return coordinates.matrix

    # augmax multiplies at the default precision, which on a GPU is TF32: errors of a tenth of a pixel.
    with jax.default_matmul_precision("highest"):
        return jax.vmap(draw)(jax.random.split(key, count))
