"""Convolution of channels-last images, with a formulation per backend.

XLA's own convolution is right for accelerators. On the CPU it is right for most dense kernels, slow for
others: a depthwise one takes fifty times as long as it must, and its weight gradient more. So the CPU gets

- dense 3x3 of stride 1 with many channels: Winograd's filtering (see `winograd`), on one device;
- 1x1: one matrix product; the kernel's gradient has the narrower factor first, or XLA transposes the wider;
- depthwise: shifted multiply-adds; the gradient of the inputs likewise, one sum per phase of the stride;
  the gradient of the kernel as products added over a block of rows, elementwise, then one plain sum.

The choice is made when a program is lowered, so that only the branch of its backend is compiled.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models import winograd

ROWS_PER_BLOCK = 12
"""Products added in one elementwise kernel: more save memory traffic, and cost compile time."""

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


def convolution(
    inputs: Features,
    kernel: Kernel,
    strides: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
    dilation: Pair = (1, 1),
) -> Outputs:
    """Convolves channels-last images (cross-correlation, as in every network library).

    Differentiable once, in reverse mode. The batch may be sharded over a mesh.

    Args:
        inputs: in the type to compute in.
        kernel: HWIO; its third axis has the channels of one group.
        strides: see `Geometry`, as the other arguments.
        padding: not negative.
        groups: divides the channels of the inputs and of the outputs.
        dilation: at least 1.

    Returns:
        The outputs, in the type of the inputs.

    >>> convolution(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1))).tolist()
    [[[[4.0], [4.0]], [[4.0], [4.0]]]]
    """
    return convolve(inputs, kernel, Geometry(strides, padding, groups, dilation))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(inputs: Features, kernel: Kernel, geometry: Geometry) -> Outputs:
    """`convolution` with its numbers gathered, and with its gradients stated per backend."""
    return lax.platform_dependent(
        inputs,
        kernel,
        cpu=functools.partial(convolve_on_cpu, geometry),
        default=functools.partial(convolve_plainly, geometry),
    )


def convolve_forward(
    inputs: Features, kernel: Kernel, geometry: Geometry
) -> tuple[Outputs, tuple[Features, Kernel]]:
    """The outputs, and what the gradients need."""
    return convolve(inputs, kernel, geometry), (inputs, kernel)


def convolve_backward(
    geometry: Geometry, residuals: tuple[Features, Kernel], cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients of inputs and kernel."""
    return lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(gradients_on_cpu, geometry),
        default=functools.partial(gradients_plainly, geometry),
    )


convolve.defvjp(convolve_forward, convolve_backward)


def convolve_plainly(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        inputs,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def gradients_plainly(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients that XLA's own convolution has."""
    return jax.vjp(functools.partial(convolve_plainly, geometry), inputs, kernel)[1](cotangent)


def convolve_on_cpu(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """The fastest formulation known; computes in float32."""
    wide = inputs.astype(jnp.float32), kernel.astype(jnp.float32)
    if is_pointwise(geometry, kernel):
        outputs = pointwise(geometry, *wide)
    elif is_depthwise(geometry, inputs, kernel):
        outputs = depthwise(geometry, repeat_channels(*wide), wide[1])
    elif is_winograd(geometry, inputs, kernel):
        outputs = winograd.convolve(*wide, geometry.padding)
    else:
        outputs = convolve_plainly(geometry, *wide)
    return outputs.astype(inputs.dtype)


def gradients_on_cpu(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients of `convolve_on_cpu`."""
    wide = [array.astype(jnp.float32) for array in (inputs, kernel, cotangent)]
    if is_pointwise(geometry, kernel):
        gradients = pointwise_gradients(geometry, *wide)
    elif is_depthwise(geometry, inputs, kernel):
        gradients = depthwise_gradients(geometry, *wide)
    elif is_winograd(geometry, inputs, kernel):
        gradients = winograd_gradients(geometry, *wide)
    else:
        gradients = gradients_plainly(geometry, *wide)
    return gradients[0].astype(inputs.dtype), gradients[1].astype(kernel.dtype)


def is_pointwise(geometry: Geometry, kernel: Kernel) -> bool:
    """Whether the convolution is one matrix product."""
    return kernel.shape[:2] == (1, 1) and geometry.groups == 1 and geometry.padding == ((0, 0), (0, 0))


def is_depthwise(geometry: Geometry, inputs: Features, kernel: Kernel) -> bool:
    """Whether every channel is convolved by itself, into one channel or into several."""
    return geometry.groups == inputs.shape[3]


def is_winograd(geometry: Geometry, inputs: Features, kernel: Kernel) -> bool:
    """Whether Winograd's filtering is possible and the fastest.

    It is not for several devices: its tiles are merged with the batch, which they would have to gather.
    """
    plain = geometry.strides == geometry.dilation == (1, 1) and geometry.groups == 1
    return (
        plain and jax.device_count() == 1 and winograd.applies(inputs.shape, kernel.shape, geometry.padding)
    )


def winograd_gradients(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients of `winograd.convolve`."""
    inputs_gradient = winograd.inputs_gradient(cotangent, kernel, geometry.padding)
    return inputs_gradient, winograd.kernel_gradient(inputs, cotangent, geometry.padding)


def pointwise(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """A 1x1 convolution: the matrix product of all cells."""
    down, right = geometry.strides
    cells = inputs[:, ::down, ::right]
    products = cells.reshape(-1, kernel.shape[2]) @ kernel[0, 0]
    return products.reshape(*cells.shape[:3], kernel.shape[3])


def pointwise_gradients(
    geometry: Geometry, inputs: Features, kernel: Kernel, cotangent: Outputs
) -> tuple[Features, Kernel]:
    """The gradients of `pointwise`."""
    down, right = geometry.strides
    cells = inputs[:, ::down, ::right]
    spread = (cotangent.reshape(-1, kernel.shape[3]) @ kernel[0, 0].T).reshape(cells.shape)
    gaps = [(0, 0, 0)] + [
        (0, size - (count - 1) * stride - 1, stride - 1)
        for size, count, stride in zip(inputs.shape[1:3], cells.shape[1:3], geometry.strides, strict=True)
    ]
    inputs_gradient = lax.pad(spread, jnp.zeros((), spread.dtype), [*gaps, (0, 0, 0)])
    return inputs_gradient, sum_of_outer_products(cells, cotangent)[None, None]


def sum_of_outer_products(
    left: Float[Array, "batch height width left"], right: Float[Array, "batch height width right"]
) -> Float[Array, "left right"]:
    """The sum over all cells of left times right; the narrower goes first, or XLA transposes the wider."""
    left_cells, right_cells = left.reshape(-1, left.shape[3]), right.reshape(-1, right.shape[3])
    if left.shape[3] <= right.shape[3]:
        return left_cells.T @ right_cells
    return (right_cells.T @ left_cells).T


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


def repeat_channels(inputs: Features, kernel: Kernel) -> Float[Array, "batch height width channel_out"]:
    """Each channel as often as a depthwise kernel makes channels of it."""
    copies = kernel.shape[3] // inputs.shape[3]
    return jnp.repeat(inputs, copies, 3) if copies > 1 else inputs


def depthwise(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """A depthwise convolution: the sum over the taps of shifted inputs times weights."""
    padded = pad_edges(inputs, *geometry.padding)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel.shape[:2], geometry.dilation, strict=True)]
    sizes = (
        (padded.shape[1] - reach[0]) // geometry.strides[0] + 1,
        (padded.shape[2] - reach[1]) // geometry.strides[1] + 1,
    )
    total = jnp.zeros((), inputs.dtype)
    for row, column in taps(kernel):
        start = (row * geometry.dilation[0], column * geometry.dilation[1])
        total += window(padded, start, sizes, geometry.strides) * kernel[None, None, None, row, column, 0]
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
    blocks = -(-cotangent.shape[1] // ROWS_PER_BLOCK)
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
