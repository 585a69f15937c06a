"""Convolution of channels-last images, with a formulation per backend.

XLA's own convolution is right for accelerators. On the CPU it is right for most dense kernels, slow for
others: a depthwise one takes fifty times as long as it must, and its weight gradient more. So the CPU gets

- dense 3x3 of stride 1 with many channels: Winograd's filtering (see `winograd`), on one device;
- 1x1: one matrix product; the kernel's gradient has the narrower factor first, or XLA transposes the wider;
- depthwise: shifted multiply-adds; the gradient of the inputs likewise, one sum per phase of the stride;
  the gradient of the kernel as products added over a block of rows, elementwise, then one plain sum;
- grouped: dense ones of a few groups together (see `grouped`); XLA has plain loops for their kernels'
  gradients, and a training step of ResNeXt-50 takes thirty times as long (docs/log.md);
- dense up to 3x3, with outputs of four places or fewer: one product of what all taps see and the kernel.
  XLA's takes seventy times as long where there are two rows and two columns (docs/log.md).

The choice is made when a program is lowered, so that only the branch of its backend is compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models import winograd
from sketch_jax.models.depthwise import depthwise, depthwise_gradients, repeat_channels
from sketch_jax.models.grouped import convolve_groups, group_gradients
from sketch_jax.models.sliding_windows import (
    Features,
    Geometry,
    Kernel,
    Outputs,
    Padding,
    Pair,
    output_sizes,
    pad_edges,
    seen_by,
    taps,
)

MANY_TAPS = 36
"""Of a depthwise kernel that is kept by itself: 7×7 gained by it, 5×5 lost (docs/log.md)."""

FEW_PLACES = 4
"""Of an output: up to as many, a small dense kernel is one product of matrices."""

FEW_TAPS = 9
"""Of such a kernel: more would make many pieces, which take long to compile."""


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
        outputs = by_itself(functools.partial(depthwise_outputs, geometry), kernel, *wide)
    elif geometry.groups > 1:
        outputs = convolve_groups(convolve_on_cpu, geometry, *wide)
    elif has_few_places(geometry, inputs, kernel):
        outputs = product_of_all_taps(geometry, *wide)
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
        gradients = by_itself(functools.partial(depthwise_gradients, geometry), kernel, *wide)
    elif geometry.groups > 1:
        gradients = group_gradients(gradients_on_cpu, geometry, *wide)
    elif has_few_places(geometry, inputs, kernel):
        pull = jax.vjp(functools.partial(product_of_all_taps, geometry), *wide[:2])[1]
        gradients = pull(wide[2])
    elif is_winograd(geometry, inputs, kernel):
        gradients = winograd_gradients(geometry, *wide)
    else:
        gradients = gradients_plainly(geometry, *wide)
    return gradients[0].astype(inputs.dtype), gradients[1].astype(kernel.dtype)


def depthwise_outputs(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """A depthwise convolution, into one channel or into several."""
    return depthwise(geometry, repeat_channels(inputs, kernel), kernel)


def by_itself(function: Callable[..., Any], kernel: Kernel, *arrays: Array) -> Any:
    """What a function gives, computed apart from what comes before and after it.

    XLA on a CPU would compute a sum over many taps anew in each of its readers, three times for a norm, and
    what the sum reads once for each tap. Only a branch keeps them apart, and this one is taken always but
    where the first weight is no number: then every result is none, also of channels that it does not touch.
    """
    if kernel.shape[0] * kernel.shape[1] < MANY_TAPS:
        return function(*arrays)
    shapes = jax.eval_shape(function, *arrays)
    lost = jax.tree.map(lambda shape: jnp.full(shape.shape, jnp.nan, shape.dtype), shapes)
    return lax.cond(jnp.isnan(kernel[0, 0, 0, 0]), lambda *_: lost, function, *arrays)


def is_pointwise(geometry: Geometry, kernel: Kernel) -> bool:
    """Whether the convolution is one matrix product."""
    return kernel.shape[:2] == (1, 1) and geometry.groups == 1 and geometry.padding == ((0, 0), (0, 0))


def is_depthwise(geometry: Geometry, inputs: Features, kernel: Kernel) -> bool:
    """Whether every channel is convolved by itself, into one channel or into several."""
    return geometry.groups == inputs.shape[3]


def has_few_places(geometry: Geometry, inputs: Features, kernel: Kernel) -> bool:
    """Whether the outputs of a dense kernel are so small that one product of matrices is the fastest."""
    rows, columns = output_sizes(geometry, inputs, kernel)
    return 0 < rows * columns <= FEW_PLACES and kernel.shape[0] * kernel.shape[1] <= FEW_TAPS


def product_of_all_taps(geometry: Geometry, inputs: Features, kernel: Kernel) -> Outputs:
    """A dense convolution: what all taps see, side by side, times the kernel as a matrix."""
    padded, sizes = pad_edges(inputs, *geometry.padding), output_sizes(geometry, inputs, kernel)
    seen = jnp.concatenate([seen_by(tap, geometry, padded, sizes) for tap in taps(kernel)], axis=3)
    products = seen.reshape(-1, seen.shape[3]) @ kernel.reshape(-1, kernel.shape[3])
    return products.reshape(inputs.shape[0], *sizes, kernel.shape[3])


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
