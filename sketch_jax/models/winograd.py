"""Winograd's minimal filtering, F(4x4, 3x3), for 3x3 convolutions of stride 1 on the CPU.

A tile of 6x6 cells gives 4x4 outputs with 36 products a pair of channels, where the plain sum takes 144.
Tiles and kernels are transformed along each axis, multiplied place by place (36 matrix products), and
transformed back.

The transforms evaluate and interpolate polynomials at 0, ±2/3, ±3/2 and infinity. Rounding errors are about
four times those of the plain sum in float32, and half those of the customary points 0, ±1, ±2.

References:
    Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, arXiv:1509.09308.
    Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution, arXiv:1803.10986.
"""

from collections.abc import Sequence

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

TAPS = 3
"""Of a kernel, along each axis."""
STEP = 4
"""Outputs of a tile along each axis; tiles are as far apart."""
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
"""Where polynomials are evaluated, beside infinity."""
SIDE = len(POINTS) + 1
"""Cells of a tile along each axis."""
TILES_OF_A_PRODUCT = 1024
"""In a kernel's gradient; more fall out of the processor's cache."""
CELLS_AT_ONCE = 2**22
"""Of transformed tiles, in values and in gradients of inputs: 16 MiB; more fall out of the cache."""

Images = Float[Array, "batch height width channel"]
Outputs = Float[Array, "batch out_height out_width channel_out"]
Kernel = Float[Array, "3 3 channel channel_out"]
Tiles = Float[Array, "36 tile channel"]
Padding = tuple[tuple[int, int], tuple[int, int]]


def evaluation(size: int) -> np.ndarray:
    """Values at the points, and at infinity, of a polynomial of `size` coefficients: [6, size]."""
    powers = np.vander(POINTS, size, increasing=True)
    return np.vstack([powers, np.eye(size)[-1:]])


KERNEL_TRANSFORM = evaluation(TAPS)
OUTPUT_TRANSFORM = evaluation(STEP).T
INPUT_TRANSFORM = np.linalg.inv(evaluation(SIDE)).T
"""Outputs are OUTPUT_TRANSFORM @ ((KERNEL_TRANSFORM @ taps) * (INPUT_TRANSFORM @ cells)), along one axis."""


def both_axes(transform: np.ndarray) -> Float[Array, "36 9"]:
    """A transform of 3 numbers as one of 3x3 squares; its results are ordered by column, then by row."""
    square = np.einsum("ri,cj->crij", transform, transform)
    return jnp.asarray(square.reshape(SIDE * SIDE, TAPS * TAPS), jnp.float32)


def applies(inputs_shape: Sequence[int], kernel_shape: Sequence[int], padding: Padding) -> bool:
    """Whether this form is the faster one for a convolution without strides, groups or dilation.

    Few channels make the transforms dearer than the products, few tiles the transform of the kernel; and
    tiles may not stick out too far.
    """
    if tuple(kernel_shape[:2]) != (TAPS, TAPS) or min(kernel_shape[2:]) < 64:
        return False
    if not all(0 <= margin < TAPS for side in padding for margin in side):
        return False
    sizes = outputs_size(inputs_shape, padding)
    if min(sizes) < 1:
        return False
    counts = tile_counts(sizes)
    cells = counts[0] * counts[1] * STEP * STEP
    return inputs_shape[0] * counts[0] * counts[1] >= 64 and sizes[0] * sizes[1] >= cells / 2


def outputs_size(inputs_shape: Sequence[int], padding: Padding) -> tuple[int, int]:
    """Height and width of the outputs."""
    height, width = (
        size + sum(margins) - TAPS + 1 for size, margins in zip(inputs_shape[1:3], padding, strict=True)
    )
    return height, width


def tile_counts(sizes: tuple[int, int]) -> tuple[int, int]:
    """Tiles down and across that cover outputs of a height and width."""
    return -(-sizes[0] // STEP), -(-sizes[1] // STEP)


def convolve(inputs: Images, kernel: Kernel, padding: Padding) -> Outputs:
    """A 3x3 convolution of stride 1, in float32; margins of 0 to 2 cells."""
    return filter_tiles(inputs, transform_kernel(kernel, KERNEL_TRANSFORM), padding, "ptc,pco->pto")


def inputs_gradient(cotangent: Outputs, kernel: Kernel, padding: Padding) -> Images:
    """The gradient of `convolve` for its inputs: a convolution with the kernel turned by half a circle."""
    (top, bottom), (left, right) = padding
    margins = (TAPS - 1 - top, TAPS - 1 - bottom), (TAPS - 1 - left, TAPS - 1 - right)
    turned = transform_kernel(kernel, KERNEL_TRANSFORM[:, ::-1])
    return filter_tiles(cotangent, turned, margins, "pto,pco->ptc")


def filter_tiles(
    images: Images, transformed: Float[Array, "36 left right"], padding: Padding, product: str
) -> Outputs:
    """Transforms tiles, multiplies them, transforms them back; a few images at a time where they are many.

    Args:
        images: what is filtered.
        transformed: the kernel at all pairs of points.
        padding: zeros around the images.
        product: of tiles and kernel, as `einsum` takes it.
    """
    sizes = outputs_size(images.shape, padding)

    def filtered(part: Images) -> Outputs:
        tiles = transform_tiles(part, INPUT_TRANSFORM, padding, sizes)
        return join_tiles(jnp.einsum(product, tiles, transformed), part.shape[0], sizes)

    down, across = tile_counts(sizes)
    cells_of_an_image = SIDE * SIDE * down * across * max(transformed.shape[1:])
    parts = equal_parts(images.shape[0], max(1, CELLS_AT_ONCE // cells_of_an_image))
    if parts == 1:
        return filtered(images)
    outputs = lax.map(filtered, images.reshape(parts, -1, *images.shape[1:]))
    return outputs.reshape(-1, *outputs.shape[2:])


def kernel_gradient(inputs: Images, cotangent: Outputs, padding: Padding) -> Kernel:
    """The gradient of `convolve` for its kernel: the transposed transforms around products over all tiles.

    Cells that stick out have no cotangent, so that what the inputs hold there does not matter.
    """
    sizes = outputs_size(inputs.shape, padding)
    tiles = transform_tiles(inputs, INPUT_TRANSFORM, padding, sizes)
    pulled = transform_tiles(cotangent, OUTPUT_TRANSFORM.T, ((0, 0), (0, 0)), sizes)
    parts = equal_parts(tiles.shape[1], TILES_OF_A_PRODUCT)
    products = jnp.einsum(
        "ptc,pto->pco",
        tiles.reshape(SIDE * SIDE * parts, -1, tiles.shape[2]),
        pulled.reshape(SIDE * SIDE * parts, -1, pulled.shape[2]),
    )
    if parts > 1:
        products = products.reshape(SIDE * SIDE, parts, *products.shape[1:]).sum(1)
    flat = both_axes(KERNEL_TRANSFORM).T @ products.reshape(SIDE * SIDE, -1)
    return flat.reshape(TAPS, TAPS, *products.shape[1:])


def equal_parts(count: int, most: int) -> int:
    """The fewest equal parts of at most so many each, if no more than twice as many as needed; else one part.

    >>> [equal_parts(count, 16) for count in (16, 64, 48, 60, 31)]
    [1, 4, 3, 4, 1]
    """
    wanted = -(-count // most)
    return next((parts for parts in range(wanted, 2 * wanted + 1) if count % parts == 0), 1)


def transform_kernel(kernel: Kernel, transform: np.ndarray) -> Float[Array, "36 channel channel_out"]:
    """A kernel at all pairs of points."""
    values = both_axes(transform) @ kernel.reshape(TAPS * TAPS, -1)
    return values.reshape(SIDE * SIDE, *kernel.shape[2:])


def transform_tiles(images: Images, transform: np.ndarray, padding: Padding, sizes: tuple[int, int]) -> Tiles:
    """Cuts padded images into tiles 4 cells apart, and transforms each along both of its axes.

    One axis after the other: taken together, XLA would read each cell of the images 36 times.

    Args:
        images: inputs or cotangents.
        transform: [6, cells of a tile along an axis].
        padding: zeros around the images; what the last tiles lack is added to it.
        sizes: height and width of the outputs that the tiles are to cover.
    """
    batch, height, width, channels = images.shape
    extent, (down, across) = transform.shape[1], tile_counts(sizes)
    margins = [
        (before, (count - 1) * STEP + extent - size - before, 0)
        for (before, _), count, size in zip(padding, (down, across), (height, width), strict=True)
    ]
    padded = lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    last_row, last_column = (down - 1) * STEP + 1, (across - 1) * STEP + 1
    rows = [padded[:, first : first + last_row : STEP] for first in range(extent)]
    by_rows = jnp.stack(combine(transform, rows))
    columns = [by_rows[:, :, :, first : first + last_column : STEP] for first in range(extent)]
    by_columns = jnp.stack(combine(transform, columns))
    return by_columns.reshape(SIDE * SIDE, batch * down * across, channels)


def join_tiles(products: Tiles, batch: int, sizes: tuple[int, int]) -> Outputs:
    """Transforms tiles back and puts them side by side; what sticks out is cut off."""
    down, across = tile_counts(sizes)
    channels = products.shape[2]
    grid = products.reshape(SIDE, SIDE, batch, down, across, channels)
    by_columns = jnp.stack(combine(OUTPUT_TRANSFORM, list(grid)), 4)
    by_rows = jnp.stack(combine(OUTPUT_TRANSFORM, list(by_columns)), 2)
    return by_rows.reshape(batch, down * STEP, across * STEP, channels)[:, : sizes[0], : sizes[1]]


def combine(transform: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """The sums of parts that the rows of a matrix ask for; factors of 0 are left out."""
    sums = []
    for row in transform:
        terms = [float(factor) * part for factor, part in zip(row, parts, strict=True) if abs(factor) > 1e-9]
        sums.append(sum(terms[1:], start=terms[0]))
    return sums
