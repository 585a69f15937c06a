"""What half precision must not round away: activations, and gradients of numbers that whole batches share.

In float32 these functions are what they look like. In half precision an activation is computed in float32 and
rounded once, keeping its inputs alone for the backward pass; and the gradient of a bias or a factor, a sum
over all rows, is summed in float32, as torch does. By its source (not measured) XLA would sum it in half
precision on GPUs from Hopper on.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.normalization import along_last_axis

Shared = Float[Array, " channel"]
"""One number for each channel, or one for all; float32."""


def in_float32(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """An elementwise function that is computed in float32, whatever the type of its inputs and outputs.

    Differentiable once, in reverse mode, where the inputs are of half precision.
    """

    @jax.custom_vjp
    def of_half(inputs: Array) -> Array:
        return function(inputs.astype(jnp.float32)).astype(inputs.dtype)

    def backward(inputs: Array, cotangent: Array) -> tuple[Array]:
        (gradient,) = jax.vjp(function, inputs.astype(jnp.float32))[1](cotangent.astype(jnp.float32))
        return (gradient.astype(inputs.dtype),)

    of_half.defvjp(lambda inputs: (of_half(inputs), inputs), backward)

    @functools.wraps(function)
    def compute(inputs: Array) -> Array:
        return function(inputs) if inputs.dtype == jnp.float32 else of_half(inputs)

    return compute


def add_to_channels(inputs: Array, summand: Shared) -> Array:
    """Adds numbers along the last axis, in the type of the inputs."""
    return add_shared(inputs, along_last_axis(summand, inputs))


def scale_channels(inputs: Array, factor: Shared) -> Array:
    """Multiplies by numbers along the last axis, in the type of the inputs."""
    factor = along_last_axis(factor, inputs)
    return inputs * factor if inputs.dtype == jnp.float32 else _scale_half(inputs, factor)


def add_shared(inputs: Array, summand: Array) -> Array:
    """Adds what has length 1 on axes along which it is shared, in the type of the inputs."""
    return inputs + summand if inputs.dtype == jnp.float32 else _add_to_half(inputs, summand)


def _sum_to_shared(values: Array, shared: Array) -> Array:
    """The sum along the axes on which there is one number for all, in float32."""
    axes = tuple(axis for axis, length in enumerate(shared.shape) if length == 1)
    return values.astype(jnp.float32).sum(axes, keepdims=True)


@jax.custom_vjp
def _add_to_half(inputs: Array, summand: Array) -> Array:
    return inputs + summand.astype(inputs.dtype)


def _add_to_half_backward(summand: Array, cotangent: Array) -> tuple[Array, Array]:
    return cotangent, _sum_to_shared(cotangent, summand)


_add_to_half.defvjp(lambda inputs, summand: (_add_to_half(inputs, summand), summand), _add_to_half_backward)


@jax.custom_vjp
def _scale_half(inputs: Array, factor: Array) -> Array:
    return inputs * factor.astype(inputs.dtype)


def _scale_half_forward(inputs: Array, factor: Array) -> tuple[Array, Any]:
    return _scale_half(inputs, factor), (inputs, factor)


def _scale_half_backward(kept: Any, cotangent: Array) -> tuple[Array, Array]:
    inputs, factor = kept
    products = cotangent.astype(jnp.float32) * inputs.astype(jnp.float32)
    return _scale_half(cotangent, factor), _sum_to_shared(products, factor)


_scale_half.defvjp(_scale_half_forward, _scale_half_backward)
