"""Batch normalization in training, as a pure function whose gradient is stated.

Every sum over the batch is a plain reduction of arrays that exist already, which XLA vectorises everywhere;
what is left of the forward and of the backward pass is one elementwise formula each, which fuses with its
neighbours. Only the inputs and numbers per channel are kept for the backward pass.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

Features = Float[Array, "batch height width channel"]
PerChannel = Float[Array, " channel"]


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
