"""Convolutions whose kernels are standardised where they are used, in place of norms of the maps."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.convolution import convolution
from sketch_jax.models.convolutional import image_padding
from sketch_jax.models.half_precision import add_to_channels
from sketch_jax.models.pooling import FeatureMap, NewMap

Kernel = Float[Array, "kernel_height kernel_width channel_in_group channel_out"]

lecun_normal = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def standardize(kernel: Kernel, scale: Float[Array, " channel_out"], epsilon: float) -> Kernel:
    """Brings the weights of each output channel to mean 0 and variance 1, and multiplies them by a scale.

    Its gradient is written out over matrices, one column a channel: the one that JAX derives sums 1×1 kernels
    seven times slower on CPUs (88 ms for 1536 by 2304 and the product before it, 13 as below; jaxlib 0.10).

    Args:
        kernel: any.
        scale: of each output channel.
        epsilon: added to the variance.

    References:
        Weight Standardization (arXiv:1903.10520).
    """
    return _forward(kernel, scale, epsilon)[0]


def _forward(kernel: Kernel, scale: Any, epsilon: float) -> tuple[Kernel, tuple[Any, Any, Any]]:
    columns = kernel.reshape(-1, kernel.shape[-1])
    centred = columns - columns.mean(0)[None]
    inverse = jax.lax.rsqrt((centred * centred).mean(0) + epsilon)
    scaled = centred * (inverse * scale)[None]
    return scaled.reshape(kernel.shape), (centred, inverse, scale)


def _backward(epsilon: float, kept: tuple[Any, Any, Any], cotangents: Kernel) -> tuple[Kernel, Any]:
    """As of a layer norm: the gradient less its mean and its part along the standardised weights."""
    centred, inverse, scale = kept
    columns = cotangents.reshape(centred.shape)
    of_scale = (columns * centred).sum(0) * inverse
    along = centred * (inverse * of_scale / len(centred))[None]
    gradient = (inverse * scale)[None] * (columns - columns.mean(0)[None] - along)
    return gradient.reshape(cotangents.shape), of_scale


standardize.defvjp(_forward, _backward)


class ScaledStdConv(nn.Module):
    """Convolution with scaled weight standardization: outputs have the variance of the inputs.

    Its parameters: `kernel` [height, width, channels / groups, features], `bias`, and a learnt factor of each
    output channel, `gain` [features, 1, 1, 1], in timm's layout.

    Attributes:
        gamma: factor that makes up for the variance that an activation takes away.
        epsilon: added to the variance of the weights.
        gain_init: start of the gains.

    References:
        Characterizing signal propagation (arXiv:2101.08692); timm/layers/std_conv.py.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    pad_type: str = ""
    groups: int = 1
    gamma: float = 1.0
    epsilon: float = 1e-6
    gain_init: float = 1.0
    kernel_init: Callable[..., jax.Array] = lecun_normal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: FeatureMap) -> NewMap:
        """Convolves in `dtype`; kernels are standardised in float32."""
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        gain_init = nn.initializers.constant(self.gain_init)
        gain = self.param("gain", gain_init, (self.features, 1, 1, 1), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        fan_in = shape[0] * shape[1] * shape[2]
        scale = gain.reshape(-1) * (self.gamma * fan_in**-0.5)
        scaled: Any = standardize(kernel, scale, self.epsilon)
        padding = image_padding(inputs, self.pad_type, self.kernel_size, self.stride)
        strides = (self.stride, self.stride)
        outputs = convolution(
            inputs.astype(self.dtype), scaled.astype(self.dtype), strides, padding, self.groups
        )
        return add_to_channels(outputs, bias)
