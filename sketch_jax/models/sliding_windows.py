"""How a kernel slides over channels-last images: its geometry, its taps and what each of them sees."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Features = Float[Array, "batch height width channel"]
Outputs = Float[Array, "batch out_height out_width channel_out"]
Padded = Float[Array, "batch padded_height padded_width channel"]
Kernel = Float[Array, "kernel_height kernel_width channel_in_group channel_out"]


class Geometry(NamedTuple):
    """All of a convolution but its arrays; hashable.

    Attributes:
        strides: steps down and right, in cells.
        padding: zeros added: ((top, bottom), (left, right)).
        groups: parts of the channels that do not mix.
        dilation: distance of neighbouring taps, down and right, in cells.
    """

    strides: Pair
    padding: Padding
    groups: int
    dilation: Pair


def output_sizes(geometry: Geometry, inputs: Features, kernel: Kernel) -> Pair:
    """Rows and columns of the outputs.

    >>> inputs, kernel = jnp.ones((1, 7, 4, 1)), jnp.ones((3, 3, 1, 1))
    >>> output_sizes(Geometry((2, 1), ((1, 1), (0, 0)), 1, (1, 1)), inputs, kernel)
    (4, 2)
    """
    sizes = []
    for axis, (stride, padding, step) in enumerate(
        zip(geometry.strides, geometry.padding, geometry.dilation, strict=True)
    ):
        reach = (kernel.shape[axis] - 1) * step + 1
        sizes.append((inputs.shape[axis + 1] + sum(padding) - reach) // stride + 1)
    rows, columns = sizes
    return rows, columns


def seen_by(
    tap: Pair, geometry: Geometry, padded: Padded, sizes: Pair
) -> Float[Array, "batch rows columns channel"]:
    """What a tap of the kernel sees of padded inputs, at each place of the outputs.

    Args:
        tap: row and column in the kernel.
        geometry: of the convolution.
        padded: inputs with the padding around them.
        sizes: of the outputs.
    """
    down, right = geometry.dilation
    return window(padded, (tap[0] * down, tap[1] * right), sizes, geometry.strides)


def taps(kernel: Kernel) -> Iterator[Pair]:
    """The places of a kernel, row by row."""
    return itertools.product(range(kernel.shape[0]), range(kernel.shape[1]))


def pad_edges(inputs: Features, rows: Pair, columns: Pair) -> Padded:
    """Adds zeros around images; a negative number removes cells."""
    edges = ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0))
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), edges)


def window(
    inputs: Features, start: Pair, sizes: Pair, strides: Pair = (1, 1)
) -> Float[Array, "batch rows columns channel"]:
    """As many rows and columns as `sizes` says, from a start on, in steps of `strides`."""
    batch, _, _, channels = inputs.shape
    ends = [first + (size - 1) * step + 1 for first, size, step in zip(start, sizes, strides, strict=True)]
    return lax.slice(inputs, (0, *start, 0), (batch, *ends, channels), (1, *strides, 1))
