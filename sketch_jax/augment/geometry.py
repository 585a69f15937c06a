"""Geometric operations as augmax transformations, composed into one affine map: an image is resampled once.

Only augmax's composition is used: its resampling takes three times as long as `resample.warp` on a CPU.
A matrix maps (row, column, 1) of the output, in pixels from the centre, to the place in the input.
"""

import functools
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

from sketch_jax.augment.strengths import Strength, Strengths

Matrix = Float[Array, "3 3"]


class Coordinates(LazyCoordinates):
    """augmax's composed coordinates, which also tell the matrix they have come to."""

    @property
    def matrix(self) -> Matrix:
        """From the output to the input."""
        return jnp.asarray(self._current_transform, jnp.float32)


class Affine(GeometricTransformation):
    """An affine map that a pure function (key, strength, shape) -> matrix draws.

    augmax's own rotation and zoom want their ranges as Python numbers; here a strength may be traced.
    """

    def __init__(self, draw: Callable[..., Matrix], strength: Strength):
        super().__init__()
        self.draw = draw
        self.strength = strength

    def transform_coordinates(self, rng, coordinates, invert=False):
        """See `augmax.geometric.GeometricTransformation`."""
        matrix = self.draw(rng, self.strength, coordinates.current_shape)
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


GEOMETRIC: Mapping[str, Callable[[Any], GeometricTransformation]] = {
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "scale": functools.partial(Affine, scaling),
    "rotation_degrees": functools.partial(Affine, rotation),
    "shift": functools.partial(Affine, shifting),
}
"""Every geometric operation by the name of its strength, in the order in which images go through them."""


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
        *(create(strengths[name]) for name, create in GEOMETRIC.items() if name in strengths)
    )

    def draw(image_key: Key[Array, ""]) -> Matrix:
        coordinates = Coordinates(shape)
        chain.transform_coordinates(image_key, coordinates)
        return coordinates.matrix

    # augmax multiplies at the default precision, which on a GPU is TF32: errors of a tenth of a pixel.
    with jax.default_matmul_precision("highest"):
        return jax.vmap(draw)(jax.random.split(key, count))
