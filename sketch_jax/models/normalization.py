"""Normalization of batches in training and of rows, as pure functions whose gradients are stated.

For batches every sum is a plain reduction of arrays that exist already, which XLA vectorises everywhere; what
is left of the forward and of the backward pass is one elementwise formula each, which fuses with its
neighbours. Only the inputs and numbers per channel (of rows: per row) are kept for the backward pass.
"""

import functools
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

Features = Float[Array, "batch height width channel"]
PerChannel = Float[Array, " channel"]
Hidden = Float[Array, "*axes width"]


def batch_statistics(inputs: Features) -> tuple[PerChannel, PerChannel]:
    """Mean and biased variance of each channel over the batch and all cells, in float32.

    Two passes: a single one (mean of squares minus square of mean) loses the variance of channels far from 0.

    >>> [statistic.tolist() for statistic in batch_statistics(jnp.arange(4.0).reshape(4, 1, 1, 1))]
    [[1.5], [1.25]]
    """
    wide = inputs.astype(jnp.float32)
    mean = wide.mean((0, 1, 2))
    return mean, jnp.square(wide - along_channels(mean)).mean((0, 1, 2))


def along_channels(values: PerChannel) -> Features:
    """Numbers per channel, as they broadcast against images."""
    return values[None, None, None, :]


def normalize(
    inputs: Features,
    mean: PerChannel,
    variance: PerChannel,
    scale: PerChannel,
    bias: PerChannel,
    epsilon: float,
) -> Features:
    """Applies given statistics, in float32: (inputs - mean) / sqrt(variance + epsilon) * scale + bias.

    Returns:
        The outputs, in the type of the inputs.
    """
    factor = scale * lax.rsqrt(variance + epsilon)
    shifted = inputs.astype(jnp.float32) * along_channels(factor) + along_channels(bias - mean * factor)
    return shifted.astype(inputs.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_batch(
    inputs: Features, scale: PerChannel, bias: PerChannel, epsilon: float
) -> tuple[Features, PerChannel, PerChannel]:
    """Normalises a batch by its own statistics, in float32.

    Under jit on a mesh the statistics are those of the whole batch, over all devices. Differentiable once, in
    reverse mode; the returned statistics are for the running averages, and carry no gradient.

    Args:
        inputs: a batch of any type.
        scale: in float32.
        bias: in float32.
        epsilon: added to the variance.

    Returns:
        The outputs, in the type of the inputs; the mean; the biased variance.
    """
    return normalize_batch_forward(inputs, scale, bias, epsilon)[0]


def normalize_batch_forward(
    inputs: Features, scale: PerChannel, bias: PerChannel, epsilon: float
) -> tuple[tuple[Features, PerChannel, PerChannel], tuple[Features, PerChannel, PerChannel, PerChannel]]:
    """The results of `normalize_batch`, and what its gradients need."""
    mean, variance = batch_statistics(inputs)
    outputs = normalize(inputs, mean, variance, scale, bias, epsilon)
    return (outputs, mean, variance), (inputs, scale, mean, lax.rsqrt(variance + epsilon))


def normalize_batch_backward(
    epsilon: float,
    residuals: tuple[Features, PerChannel, PerChannel, PerChannel],
    cotangents: tuple[Features, PerChannel, PerChannel],
) -> tuple[Features, PerChannel, PerChannel]:
    """The gradients of inputs, scale and bias.

    With x the normalised inputs and g the cotangent, the gradient of the inputs is
    scale / deviation * (g - mean(g) - x * mean(g * x)). Nothing as large as the inputs may be
    shared with the forward pass: XLA would keep that instead of computing it again.
    """
    del epsilon
    inputs, scale, mean, inverse_deviation = residuals
    wide, cotangent = inputs.astype(jnp.float32), cotangents[0].astype(jnp.float32)
    normalized = wide * along_channels(inverse_deviation) + along_channels(-mean * inverse_deviation)
    bias_gradient = cotangent.sum((0, 1, 2))
    scale_gradient = (cotangent * normalized).sum((0, 1, 2))
    count = inputs.size // inputs.shape[3]
    factor = scale * inverse_deviation
    slope = -factor * inverse_deviation * scale_gradient / count
    offset = -factor * bias_gradient / count - slope * mean
    gradient = cotangent * along_channels(factor) + wide * along_channels(slope) + along_channels(offset)
    return gradient.astype(inputs.dtype), scale_gradient, bias_gradient


normalize_batch.defvjp(normalize_batch_forward, normalize_batch_backward)


def along_last_axis(values: Float[Array, " width"], like: Array) -> Array:
    """Values of channels, with as many axes as `like` (this code base forbids silent rank promotion)."""
    return values.reshape((1,) * (like.ndim - 1) + (-1,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(
    inputs: Hidden, scale: Float[Array, " width"], bias: Float[Array, " width"], epsilon: float
) -> Hidden:
    """Normalises the last axis to mean 0 and variance 1, then scales and shifts it.

    The backward pass keeps the inputs in their own type and two float32 numbers a row, nothing else.
    """
    return _layer_norm_forward(inputs, scale, bias, epsilon)[0]


def _layer_norm_forward(inputs: Hidden, scale: Array, bias: Array, epsilon: float) -> tuple[Hidden, Any]:
    values = inputs.astype(jnp.float32)
    mean = values.mean(-1, keepdims=True)
    centred = values - mean
    inverse_deviation = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    normalized = centred * inverse_deviation
    outputs = normalized * along_last_axis(scale, inputs) + along_last_axis(bias, inputs)
    return outputs.astype(inputs.dtype), (inputs, mean, inverse_deviation, scale)


def _layer_norm_backward(epsilon: float, kept: Any, cotangents: Hidden) -> tuple[Hidden, Array, Array]:
    inputs, mean, inverse_deviation, scale = kept
    normalized = (inputs.astype(jnp.float32) - mean) * inverse_deviation
    wide = cotangents.astype(jnp.float32)
    scaled = wide * along_last_axis(scale, inputs)
    along_ones = scaled.mean(-1, keepdims=True)
    along_normalized = (scaled * normalized).mean(-1, keepdims=True)
    gradient = (scaled - along_ones - normalized * along_normalized) * inverse_deviation
    if inputs.dtype.itemsize == 2:
        return gradient.astype(inputs.dtype), *_gradients_of_scale_and_bias(epsilon, inputs, cotangents)
    axes = tuple(range(inputs.ndim - 1))
    return gradient.astype(inputs.dtype), (wide * normalized).sum(axes), wide.sum(axes)


def _gradients_of_scale_and_bias(epsilon: float, inputs: Hidden, cotangents: Hidden) -> tuple[Array, Array]:
    """In half precision: the sums over rows, from two readings of the inputs and one of the cotangents.

    Left to itself XLA on a GPU writes the products to be summed, in float32, with the gradient of the inputs
    and reads them again: twice the bytes. The first barrier parts the sums from that gradient, the second the
    statistics from the products. Rows are one axis, as in the product before: barriers keep shapes apart, and
    a product cannot add to a sum of another shape without a copy. The statistics come from one reading, of
    differences from each row's first value: wherever a row lies, its variance is off by about as many
    roundings as it has values at most, since the first value is one of those that vary.
    """
    matrices = (values.reshape(-1, inputs.shape[-1]) for values in (inputs, cotangents))
    rows, row_cotangents = lax.optimization_barrier(tuple(matrices))
    first = rows[:, :1].astype(jnp.float32)
    differences = rows.astype(jnp.float32) - first
    offset = differences.mean(-1, keepdims=True)
    variance = jnp.maximum(jnp.square(differences).mean(-1, keepdims=True) - jnp.square(offset), 0.0)
    kept = (rows, row_cotangents, first, offset, lax.rsqrt(variance + epsilon))
    rows, row_cotangents, first, offset, inverse_deviation = lax.optimization_barrier(kept)
    normalized = (rows.astype(jnp.float32) - first - offset) * inverse_deviation
    wide = row_cotangents.astype(jnp.float32)
    return (wide * normalized).sum(0), wide.sum(0)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)
