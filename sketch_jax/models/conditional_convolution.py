"""Convolution with a kernel of each image's own."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.convolution import convolution
from sketch_jax.models.convolutional import image_padding
from sketch_jax.models.pooling import FeatureMap, NewMap


def _normal_experts(fan_out: int) -> Callable[..., jax.Array]:
    return nn.initializers.normal((2.0 / fan_out) ** 0.5)


class CondConv(nn.Module):
    """Convolution whose kernel is a sum of experts' kernels, weighted for each image.

    Its `kernel` is [features × channels / groups × height × width, experts]; timm's holds an expert a row.

    References:
        CondConv (arXiv:1904.04971); timm/layers/cond_conv2d.py.
    """

    features: int
    kernel_size: int
    num_experts: int
    stride: int = 1
    pad_type: str = ""
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: FeatureMap, routing: Float[Array, "batch experts"]) -> NewMap:
        """Convolves in `dtype`."""
        size, stride = self.kernel_size, self.stride
        shape = (self.features, inputs.shape[-1] // self.groups, size, size)
        init = _normal_experts(size * size * self.features // self.groups)
        kernel = self.param(
            "kernel", init, (shape[0] * shape[1] * size * size, self.num_experts), jnp.float32
        )
        mixed = (routing.astype(self.dtype) @ kernel.astype(self.dtype).T).reshape(-1, *shape)
        padding = image_padding(inputs, self.pad_type, size, stride)

        def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolution(image[None], kernel, (stride, stride), padding, self.groups)[0]

        return jax.vmap(convolve)(inputs.astype(self.dtype), mixed.transpose(0, 3, 4, 2, 1))
