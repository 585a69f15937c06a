"""Distortions that no matrix is: where each pixel of the output is read, before the matrix maps that place.

Places are (row, column) in pixels from the centre. All distortions and the matrix come to one place a pixel,
so that an image is resampled once.

References:
    Simard et al., Best Practices for Convolutional Neural Networks (2003), for elastic distortions;
    albumentations' ElasticTransform, GridDistortion and OpticalDistortion.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.augment.strengths import Strength, Strengths, is_on, part
from sketch_jax.keys import stream

MAX_STEPS = 16
"""Most cells of a distorted grid along an axis."""

LATTICE_PIXELS = 3.0
"""Distance of the random numbers of an elastic distortion; as many as there are pixels take ten times as
long. A Gaussian that is at least as wide hides their distance: its spectrum there is exp(-2 pi^2) or less."""


class Places(NamedTuple):
    """Where pixels are read, from the centre; axes of length 1 stand for all rows or columns."""

    row: Float[Array, "batch #height #width"]
    column: Float[Array, "batch #height #width"]


def draw_fields(key: Key[Array, ""], strengths: Strengths, count: int, shape: tuple[int, int]) -> Places:
    """Where each pixel of the output is read, after the distortions that are on.

    Args:
        key: of this batch.
        strengths: distortions that are absent are not traced.
        count: images.
        shape: height and width, in pixels.
    """
    places = _pixels(count, shape)
    for name, distort in DISTORTIONS.items():
        if is_on(strengths, name):
            draw_key, happen_key = jax.random.split(stream(key, name))
            parts = part(strengths, name)
            happens = jax.random.bernoulli(happen_key, parts["probability"], (count,)).reshape(-1, 1, 1)
            distorted = distort(draw_key, parts, places, shape)
            places = Places(
                *(jnp.where(happens, new, old) for new, old in zip(distorted, places, strict=True))
            )
    return places


def grid_distortion(
    key: Key[Array, ""], grid: Mapping[str, Strength], places: Places, shape: tuple[int, int]
) -> Places:
    """Cells of a grid, `steps` each way, made longer or shorter by up to `limit`, scaled to one total."""
    count = len(places.row)
    changes = jax.random.uniform(key, (2, count, MAX_STEPS), minval=-1.0, maxval=1.0) * grid["limit"]
    there = jnp.arange(MAX_STEPS) < jnp.round(grid["steps"])
    lengths = jnp.where(there.reshape(1, 1, -1), 1.0 + changes, 0.0)
    lengths = lengths / lengths.sum(-1, keepdims=True)
    return Places(
        _through_cells(places.row, lengths[0], jnp.asarray(grid["steps"]), shape[0]),
        _through_cells(places.column, lengths[1], jnp.asarray(grid["steps"]), shape[1]),
    )


def optical_distortion(
    key: Key[Array, ""], lens: Mapping[str, Strength], places: Places, shape: tuple[int, int]
) -> Places:
    """Places moved from the centre by 1 + k r² + k r⁴, where r is in image sides, k uniform up to `limit`."""
    coefficient = jax.random.uniform(key, (len(places.row), 1, 1), minval=-1.0, maxval=1.0) * lens["limit"]
    squared = (places.row / shape[0]) ** 2 + (places.column / shape[1]) ** 2
    factor = 1.0 + coefficient * squared * (1.0 + squared)
    return Places(places.row * factor, places.column * factor)


def elastic(
    key: Key[Array, ""], noise: Mapping[str, Strength], places: Places, shape: tuple[int, int]
) -> Places:
    """Places moved by white noise of -1 to 1, smoothed by a Gaussian of `sigma` pixels, times `alpha`.

    So many numbers make up a smoothed one that it is normal; normal noise of the same variance is drawn.
    """
    down, right = (_smoothing(jnp.asarray(noise["sigma"]), size) for size in shape)
    lattice = jax.random.normal(key, (2, len(places.row), down.shape[1], right.shape[1]))
    lattice *= noise["alpha"] / jnp.sqrt(3.0)
    rows, columns = jnp.einsum("hn,abnm,wm->abhw", down, lattice, right)
    return Places(places.row + rows, places.column + columns)


def _pixels(count: int, shape: tuple[int, int]) -> Places:
    rows, columns = (jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2.0 for size in shape)
    return Places(
        jnp.broadcast_to(rows.reshape(1, -1, 1), (count, shape[0], 1)),
        jnp.broadcast_to(columns.reshape(1, 1, -1), (count, 1, shape[1])),
    )


def _through_cells(
    places: Array, lengths: Float[Array, "batch cell"], steps: Float[Array, ""], size: int
) -> Array:
    """Places along an axis after the cells of the grid have changed their lengths, which sum to 1."""
    shares = (places / size + 0.5)[..., None] * steps
    full = jnp.clip(shares - jnp.arange(MAX_STEPS).reshape(1, 1, 1, -1), 0.0, 1.0)
    return size * (jnp.sum(full * lengths.reshape(-1, 1, 1, MAX_STEPS), axis=-1) - 0.5)


def _smoothing(sigma: Float[Array, ""], size: int) -> Float[Array, "size lattice"]:
    """The weight of each number of the lattice at each pixel; beyond the ends the lattice is mirrored."""
    count = int(np.ceil((size - 1) / LATTICE_PIXELS)) + 1
    knots = np.linspace(0.0, size - 1.0, count)
    offsets = np.arange(-1, 2).reshape(3, 1, 1) * 2.0 * (size - 1.0)
    pixels = np.arange(size).reshape(1, -1, 1)
    knots_about = knots.reshape(1, 1, -1)
    distances = np.concatenate([pixels - knots_about + offsets, pixels + knots_about + offsets])
    weights = jnp.exp(-0.5 * jnp.square(jnp.asarray(distances, jnp.float32) / sigma)).sum(0)
    ends = np.where(np.isin(np.arange(count), (0, count - 1)), 0.5, 1.0)  # an end is its own mirror image
    spacing = knots[1] - knots[0] if count > 1 else 1.0
    scale = jnp.asarray(ends * np.sqrt(spacing / (2.0 * np.pi)), jnp.float32) / sigma
    return weights * scale.reshape(1, -1)


DISTORTIONS = {
    "grid_distortion": grid_distortion,
    "optical_distortion": optical_distortion,
    "elastic": elastic,
}
"""Every distortion by its field in `Augmentation`, in the order in which places go through them."""


def distorts(strengths: Strengths) -> bool:
    """Whether a distortion is on."""
    return any(is_on(strengths, name) for name in DISTORTIONS)
