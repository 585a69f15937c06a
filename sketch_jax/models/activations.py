"""Activations; of gelu, silu and their like the backward pass computes exponentials again.

XLA takes the exponential of the same in both passes for one value, writes it in the forward pass and keeps it
until the backward pass; reading it there costs more than computing it, and memory (docs/log.md). So these
derivatives are in terms of something else, which to XLA is another value that it computes where it is used.
(A loop of blocks in float32 keeps the derivative: JAX cuts the passes apart there.)
"""

import math
from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from sketch_jax.models.half_precision import in_float32

Activation = Callable[[Array], Array]


def identity(inputs: Array) -> Array:
    """The inputs: what stands where an architecture leaves a part out."""
    return inputs


def with_slope(slope: Activation) -> Callable[[Activation], Activation]:
    """Gives an elementwise function its derivative, and computes both in float32.

    Args:
        slope: the derivative.
    """

    def decorate(function: Activation) -> Activation:
        act = jax.custom_jvp(function)
        act.defjvps(lambda tangent, _, inputs: tangent * slope(inputs))
        return in_float32(act)

    return decorate


def _gelu_slope(inputs: Array) -> Array:
    cumulative = 0.5 * (1.0 - lax.erf(inputs * -(0.5**0.5)))
    return cumulative + inputs * ((2.0 * math.pi) ** -0.5 * jnp.exp(-0.5 * inputs * inputs))


@with_slope(_gelu_slope)
def gelu(inputs: Array) -> Array:
    """The exact Gaussian error linear unit, by `erf` as in torch.

    The `erfc` form of `jax.nn.gelu` keeps more for the backward pass: a tenth of a ViT's memory in training.
    """
    return 0.5 * inputs * (1.0 + lax.erf(inputs * 0.5**0.5))


TANH_SLOPE, TANH_CUBIC = (2.0 / math.pi) ** 0.5, 0.044715
"""The tanh form of gelu: half of 1 + tanh(slope · (x + cubic · x³))."""


def _gelu_tanh_slope(inputs: Array) -> Array:
    squares = inputs * inputs
    negative = jnp.tanh(-TANH_SLOPE * (inputs + TANH_CUBIC * squares * inputs))
    inner = TANH_SLOPE * (1.0 + 3.0 * TANH_CUBIC * squares)
    return 0.5 * ((1.0 - negative) + inputs * (1.0 - negative * negative) * inner)


@with_slope(_gelu_tanh_slope)
def gelu_tanh(inputs: Array) -> Array:
    """The tanh approximation of `gelu`."""
    return jax.nn.gelu(inputs, approximate=True)


def _silu_slope(inputs: Array) -> Array:
    """From one exponential that cannot overflow, exact relative to its size on both sides."""
    shrunk = jnp.exp(-jnp.abs(inputs))
    share, negative = 1.0 / (1.0 + shrunk), inputs < 0
    gate = jnp.where(negative, shrunk, 1.0) * share
    closed = jnp.where(negative, 1.0, shrunk) * share
    return gate * (1.0 + inputs * closed)


@with_slope(_silu_slope)
def silu(inputs: Array) -> Array:
    """The inputs times their sigmoid; also called swish."""
    return inputs * jax.nn.sigmoid(inputs)


QUICK = 1.702


@with_slope(lambda inputs: _silu_slope(QUICK * inputs))
def quick_gelu(inputs: Array) -> Array:
    """The sigmoid approximation of `gelu` that OpenAI's CLIP was trained with."""
    return inputs * jax.nn.sigmoid(QUICK * inputs)


def relu6(inputs: Array) -> Array:
    """Clips to 0 … 6; the gradient at both ends is 0, as in torch (that of `jax.nn.relu6` is a half)."""
    return jnp.where((inputs > 0) & (inputs < 6), inputs, jnp.where(inputs > 0, 6, 0).astype(inputs.dtype))


@in_float32
def hard_sigmoid(inputs: Array) -> Array:
    """A straight line from 0 at -3 to 1 at 3."""
    return relu6(inputs + 3) / 6


@in_float32
def hard_swish(inputs: Array) -> Array:
    """The inputs times their `hard_sigmoid`."""
    return inputs * hard_sigmoid(inputs)


sigmoid = in_float32(jax.nn.sigmoid)

ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "swish": silu,
    "relu": jax.nn.relu,
    "relu6": relu6,
    "hard_swish": hard_swish,
    "hard_sigmoid": hard_sigmoid,
    "sigmoid": sigmoid,
    "tanh": in_float32(jnp.tanh),
}
"""Activations by timm's names."""
