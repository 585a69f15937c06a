"""Convolutions whose kernels are standardised where they are used, in place of norms of the maps."""

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


def standardize(kernel: Kernel, epsilon: float) -> Kernel:
    """Brings the weights of each output channel to mean 0 and variance 1, the epsilon added to it.

    References:
        Weight Standardization (arXiv:1903.10520).
    """
    centred = kernel - kernel.mean((0, 1, 2), keepdims=True)
    variance = (centred * centred).mean((0, 1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


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
        scale = gain.reshape(1, 1, 1, -1) * (self.gamma * fan_in**-0.5)
        scaled = (standardize(kernel, self.epsilon) * scale).astype(self.dtype)
        padding = image_padding(inputs, self.pad_type, self.kernel_size, self.stride)
        strides = (self.stride, self.stride)
        outputs = convolution(inputs.astype(self.dtype), scaled, strides, padding, self.groups)
        return add_to_channels(outputs, bias)
