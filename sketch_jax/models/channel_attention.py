"""Linen parts that scale the channels of a feature map by what they hold."""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import ACTIVATIONS, Activation, sigmoid
from sketch_jax.models.convolutional import Conv, choose, kaiming_fan_out, make_divisible, symmetric_uniform
from sketch_jax.models.layers import LayerNorm
from sketch_jax.models.pooling import FeatureMap


def _excite(inputs: FeatureMap, squeeze: nn.Module, expand: nn.Module, inner: Activation, gate: Activation):
    """Scales the channels by a gate that reads their means."""
    return inputs * gate(expand(inner(squeeze(inputs.mean((1, 2), keepdims=True)))))


class SqueezeExcite(nn.Module):
    """Channel attention of SE-ResNets.

    Args:
        channels: of the feature map.
        rd_ratio: channels of the bottleneck to channels of the map, before rounding up to a multiple of 8.
        rd_channels: channels of the bottleneck, in place of `rd_ratio`.
        act_layer: name of the activation inside the bottleneck.
        kernel_init: initializer of both convolutions.
        bias_init: as `kernel_init`; None: as torch does it.

    References:
        Squeeze-and-Excitation Networks (arXiv:1709.01507); timm/layers/squeeze_excite.py.
    """

    channels: int
    rd_ratio: float = 1 / 16
    rd_channels: int | None = None
    act_layer: str = "relu"
    kernel_init: Callable[..., jax.Array] = kaiming_fan_out
    bias_init: Callable[..., jax.Array] | None = None
    dtype: Any = jnp.float32

    def setup(self):
        """Two 1×1 convolutions."""
        reduced = self.rd_channels or make_divisible(self.channels * self.rd_ratio, 8, round_limit=0.0)
        self.fc1 = self._convolution(reduced, self.channels)
        self.fc2 = self._convolution(self.channels, reduced)

    def _convolution(self, features: int, inputs: int) -> Conv:
        bias_init = self.bias_init or symmetric_uniform(inputs**-0.5)
        return Conv(
            features, use_bias=True, kernel_init=self.kernel_init, bias_init=bias_init, dtype=self.dtype
        )

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Scales the channels."""
        inner = choose(ACTIVATIONS, self.act_layer, "act_layer")
        return _excite(inputs, self.fc1, self.fc2, inner, sigmoid)


class MobileSqueezeExcite(nn.Module):
    """Channel attention of the EfficientNet family.

    Args:
        channels: of the feature map.
        rd_ratio: channels of the bottleneck to channels of the map.
        act_layer: name of the activation inside the bottleneck.
        gate_layer: name of the gate.
        kernel_init: initializer of both convolutions.

    References:
        timm/models/_efficientnet_blocks.py.
    """

    channels: int
    rd_ratio: float
    act_layer: str
    gate_layer: str = "sigmoid"
    kernel_init: Callable[..., jax.Array] = kaiming_fan_out
    dtype: Any = jnp.float32

    def setup(self):
        """Two 1×1 convolutions."""
        reduced = round(self.channels * self.rd_ratio)
        self.conv_reduce = Conv(reduced, use_bias=True, kernel_init=self.kernel_init, dtype=self.dtype)
        self.conv_expand = Conv(self.channels, use_bias=True, kernel_init=self.kernel_init, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Scales the channels."""
        inner = choose(ACTIVATIONS, self.act_layer, "act_layer")
        gate = choose(ACTIVATIONS, self.gate_layer, "gate_layer")
        return _excite(inputs, self.conv_reduce, self.conv_expand, inner, gate)


class GlobalContext(nn.Module):
    """Channel attention by a mean over the cells whose weights are learnt.

    Args:
        channels: of the feature map.
        rd_ratio: channels of the bottleneck to channels of the map.
        act_layer: name of the activation inside the bottleneck.
        kernel_init: initializer of all convolutions.

    References:
        GCNet (arXiv:1904.11492); timm/layers/global_context.py.
    """

    channels: int
    rd_ratio: float
    act_layer: str = "relu"
    kernel_init: Callable[..., jax.Array] = kaiming_fan_out
    dtype: Any = jnp.float32

    def setup(self):
        """The weights of the mean, and a perceptron."""
        self.conv_attn = Conv(1, use_bias=True, kernel_init=self.kernel_init, dtype=self.dtype)
        reduced = make_divisible(self.channels * self.rd_ratio, 1, round_limit=0.0)
        self.mlp_scale = ContextMlp(self.channels, reduced, self.act_layer, self.kernel_init, self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Scales the channels."""
        weights = jax.nn.softmax(self.conv_attn(inputs).astype(jnp.float32), axis=(1, 2))
        context = (inputs * weights.astype(inputs.dtype)).sum((1, 2), keepdims=True)
        return inputs * sigmoid(self.mlp_scale(context))


class ContextMlp(nn.Module):
    """Two 1×1 convolutions, a norm and an activation between them."""

    channels: int
    hidden_channels: int
    act_layer: str
    kernel_init: Callable[..., jax.Array]
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        init, dtype = self.kernel_init, self.dtype
        self.fc1 = Conv(self.hidden_channels, use_bias=True, kernel_init=init, dtype=dtype)
        self.norm = LayerNorm(epsilon=1e-6)
        self.fc2 = Conv(self.channels, use_bias=True, kernel_init=init, dtype=dtype)

    def __call__(self, context: FeatureMap) -> FeatureMap:
        """Transforms each cell."""
        act = choose(ACTIVATIONS, self.act_layer, "act_layer")
        return self.fc2(act(self.norm(self.fc1(context))))


class ChannelConvolution(nn.Module):
    """Convolution along the channels of [batch, channels], zeros beyond both ends: `kernel` [size, 1, 1]."""

    size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch channels"]) -> Float[Array, "batch channels"]:
        """Convolves."""
        kernel = self.param("kernel", symmetric_uniform(self.size**-0.5), (self.size, 1, 1), jnp.float32)
        padded = jnp.pad(inputs, ((0, 0), (self.size // 2, self.size // 2)))
        windows = jnp.stack([padded[:, start : start + inputs.shape[1]] for start in range(self.size)], -1)
        return windows @ kernel[:, 0, 0].astype(self.dtype)


class EfficientChannelAttention(nn.Module):
    """Channel attention by a short convolution along the channels, whose size grows with their number.

    References:
        ECA-Net (arXiv:1910.03151); timm/layers/eca.py.
    """

    channels: int
    dtype: Any = jnp.float32

    def setup(self):
        """An odd kernel size of at least 3."""
        size = int(abs(math.log2(self.channels) + 1) / 2)
        self.conv = ChannelConvolution(max(size if size % 2 else size + 1, 3), dtype=self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Scales the channels."""
        gate = sigmoid(self.conv(inputs.mean((1, 2))))
        return inputs * gate[:, None, None, :]
