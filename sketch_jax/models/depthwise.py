"""Depthwise convolutions of channels-last images as shifted multiply-adds: what the CPU does fastest."""

import functools
import itertools
from typing import NamedTuple

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.sliding_windows import (
    Features,
    Geometry,
    Kernel,
    Outputs,
    Padded,
    Pair,
    output_sizes,
    pad_edges,
    seen_by,
    taps,
    window,
)

ROWS_PER_BLOCK = 12
"""Products added in one elementwise kernel: more save memory traffic, and cost compile time."""

MORE_ROWS_PER_BLOCK = 28
"""Of kernels of seven rows and more, which are few and large."""

LARGE = 7


def repeat_channels(inputs: Features, kernel: Kernel) -> Float[Array, "batch height width channel_out"]:
    """Each channel as often as a depthwise kernel makes channels of it."""
    copies = kernel.shape[3] // inputs.shape[3]
    return jnp.repeat(inputs, copies, 3) if copies > 1 else inputs


def depthwise(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """A depthwise convolution: the sum over the taps of shifted inputs times weights."""
    padded, sizes = pad_edges(inputs, *geometry.padding), output_sizes(geometry, inputs, kernel)
    total = jnp.zeros((), inputs.dtype)
    for row, column in taps(kernel):
        seen = seen_by((row, column), geometry, padded, sizes)
        total += seen * kernel[None, None, None, row, column, 0]
    return total


class Share(NamedTuple):
    """What one row or column of taps gives to one phase of an axis: to gradient[i], cotangent[i + shift].

    Attributes:
        tap: index of the row or column of the kernel.
        shift: in cells of the cotangent.
    """

    tap: int
    shift: int


def shares(phase: int, kernel_size: int, stride: int, padding: int, dilation: int) -> list[Share]:
    """The taps that carry a cotangent to the cells `phase, phase + stride, ...` of an axis.

    >>> shares(0, 3, 2, 1, 1), shares(1, 3, 2, 1, 1)
    ([Share(tap=1, shift=0)], [Share(tap=0, shift=1), Share(tap=2, shift=0)])
    """
    distances = [(tap, phase + padding - tap * dilation) for tap in range(kernel_size)]
    return [Share(tap, distance // stride) for tap, distance in distances if distance % stride == 0]


def depthwise_gradients(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients of `depthwise`, where channels may have been repeated before it."""
    repeated = repeat_channels(inputs, kernel)
    of_copies = depthwise_inputs_gradient(geometry, repeated, kernel, cotangent)
    kernel_gradient = depthwise_kernel_gradient(geometry, repeated, kernel, cotangent)
    return of_copies.reshape(*inputs.shape, -1).sum(-1), kernel_gradient


def depthwise_inputs_gradient(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> Features:
    """The gradient of the inputs: per phase of the strides a sum of shifted cotangents, then interleaved."""
    (top, _), (left, _) = geometry.padding
    (down, right), (below, beside) = geometry.strides, geometry.dilation
    sizes = -(-inputs.shape[1] // down), -(-inputs.shape[2] // right)
    margins = [kernel.shape[0] * below, kernel.shape[1] * beside]
    rows = (margins[0], max(0, sizes[0] + margins[0] + top - cotangent.shape[1]))
    columns = (margins[1], max(0, sizes[1] + margins[1] + left - cotangent.shape[2]))
    padded = pad_edges(cotangent, rows, columns)
    phases = []
    for row_phase, column_phase in itertools.product(range(down), range(right)):
        total = jnp.zeros((), cotangent.dtype)
        row_shares = shares(row_phase, kernel.shape[0], down, top, below)
        column_shares = shares(column_phase, kernel.shape[1], right, left, beside)
        for row, column in itertools.product(row_shares, column_shares):
            start = (margins[0] + row.shift, margins[1] + column.shift)
            total += window(padded, start, sizes) * kernel[None, None, None, row.tap, column.tap, 0]
        phases.append(jnp.broadcast_to(total, (inputs.shape[0], *sizes, inputs.shape[3])))
    return interleave(phases, geometry.strides)[:, : inputs.shape[1], : inputs.shape[2]]


def interleave(phases: list[Features], strides: Pair) -> Float[Array, "batch all_rows all_columns channel"]:
    """Images of which every stride-th row and column is one of the phases."""
    down, right = strides
    if down == right == 1:
        return phases[0]
    batch, height, width, channels = phases[0].shape
    rows = [jnp.stack(phases[first : first + right], 3) for first in range(0, down * right, right)]
    return jnp.stack(rows, 2).reshape(batch, height * down, width * right, channels)


def depthwise_kernel_gradient(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> Kernel:
    """The gradient of the kernel: per tap the sum over all cells of shifted inputs times cotangent.

    A reduction whose operand XLA must compute on the way is not vectorised; one of a finished array is. So
    the products of a block of rows are added elementwise, and the blocks are summed at the end.
    """
    most_rows = MORE_ROWS_PER_BLOCK if kernel.shape[0] >= LARGE else ROWS_PER_BLOCK
    blocks = -(-cotangent.shape[1] // most_rows)
    rows = -(-cotangent.shape[1] // blocks)
    spare = blocks * rows - cotangent.shape[1]
    (top, bottom), sides = geometry.padding
    padded = pad_edges(inputs, (top, bottom + spare * geometry.strides[0]), sides)
    block_sums = functools.partial(
        kernel_row_block_sums,
        geometry,
        padded,
        pad_edges(cotangent, (0, spare), (0, 0)),
        kernel.shape[1],
        rows,
    )
    if kernel.shape[0] <= 3:
        sums = [block_sums(row).sum((1, 2, 3)) for row in range(kernel.shape[0])]
        return jnp.stack(sums)[:, :, None, :]
    return lax.map(lambda row: block_sums(row).sum((1, 2, 3)), jnp.arange(kernel.shape[0]))[:, :, None, :]


def kernel_row_block_sums(
    geometry: Geometry, padded: Padded, cotangent: Outputs, kernel_width: int, rows: int, tap: int | Array
) -> Float[Array, "kernel_width batch block out_width channel"]:
    """For one row of taps: shifted inputs times cotangent, added over each block of so many rows."""
    down, right = geometry.strides
    height = cotangent.shape[1]
    if isinstance(tap, int):
        first = tap * geometry.dilation[0]
    else:  # a copy: where the place is known, the slices below fuse instead
        reach = (height - 1) * down + 1
        padded, first = lax.dynamic_slice_in_dim(padded, tap * geometry.dilation[0], reach, 1), 0
    sizes = (height // rows, cotangent.shape[2])
    sums = []
    for column in range(kernel_width):
        total = jnp.zeros((), cotangent.dtype)
        for row in range(rows):
            start = (first + row * down, column * geometry.dilation[1])
            shifted = window(padded, start, sizes, (rows * down, right))
            total += shifted * window(cotangent, (row, 0), sizes, (rows, 1))
        sums.append(total)
    return jnp.stack(sums)
