"""Linen parts of convolutional networks: convolution, normalization, channel attention."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.errors import InputError, suggestion
from sketch_jax.models import layers
from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.convolution import convolution
from sketch_jax.models.half_precision import add_to_channels
from sketch_jax.models.normalization import along_channels, normalize, normalize_batch
from sketch_jax.models.pooling import FeatureMap, NewMap

Choice = TypeVar("Choice")


def choose(table: Mapping[str, Choice], name: str, argument: str) -> Choice:
    """The entry of a table that a model argument names.

    Raises:
        InputError: when the table has no such entry; names the argument and the choices.
    """
    if name not in table:
        choices = ", ".join(repr(choice) for choice in table)
        raise InputError(f"model argument {argument}: {name!r} is none of {choices}{suggestion(name, table)}")
    return table[name]


def make_divisible(width: float, divisor: int = 8, round_limit: float = 0.9) -> int:
    """The nearest multiple of a divisor, at least one divisor, and never below `round_limit` of the width.

    >>> make_divisible(32 * 0.35), make_divisible(24 * 0.35), make_divisible(36.5)
    (16, 8, 40)
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < round_limit * width else rounded


def symmetric_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Equal padding on both sides, whatever the size: torch's usual choice.

    >>> symmetric_padding(7, 3, 2), symmetric_padding(8, 3, 2)
    ((1, 1), (1, 1))
    """
    del size
    padding = (stride - 1 + kernel_size - 1) // 2
    return padding, padding


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding to ceil(size / stride) outputs: it depends on the size, an odd cell goes last.

    >>> same_padding(7, 3, 2), same_padding(8, 3, 2)
    ((1, 1), (0, 1))
    """
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def no_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """No cells on either side."""
    del size, kernel_size, stride
    return 0, 0


PADDINGS: dict[str, Callable[[int, int, int], tuple[int, int]]] = {
    "": symmetric_padding,
    "same": same_padding,
    "valid": no_padding,
}
"""(size, kernel size, stride) -> cells before and after, by timm's `pad_type`."""


def image_padding(
    inputs: FeatureMap, pad_type: str, kernel_size: int, stride: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Cells above and below, left and right.

    Raises:
        InputError: there is no such `pad_type`.
    """
    pad = choose(PADDINGS, pad_type, "pad_type")
    return pad(inputs.shape[1], kernel_size, stride), pad(inputs.shape[2], kernel_size, stride)


def symmetric_uniform(bound: float) -> Callable[..., jax.Array]:
    """Initializer: uniform between -bound and bound."""

    def init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def fan_out_normal(groups: int) -> Callable[..., jax.Array]:
    """Initializer: normal, of variance 2 / (kernel cells × features a group)."""
    return nn.initializers.variance_scaling(2.0 * groups, "fan_out", "normal")


kaiming_fan_out = fan_out_normal(1)


class Conv(nn.Module):
    """Convolution with timm's paddings.

    Its parameters: `kernel` [height, width, channels / groups, features] and, where used, `bias`.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    pad_type: str = ""
    groups: int = 1
    use_bias: bool = False
    kernel_init: Callable[..., jax.Array] = kaiming_fan_out
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros
    dtype: Any = jnp.float32
    padding: int | None = None
    """Cells on each of the four sides; None: as `pad_type` says."""

    @nn.compact
    def __call__(self, inputs: FeatureMap) -> NewMap:
        """Convolves in `dtype`."""
        padding = self._padding(inputs)
        shape = (self.kernel_size, self.kernel_size, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        strides = (self.stride, self.stride)
        outputs = convolution(inputs.astype(self.dtype), kernel, strides, padding, self.groups)
        if not self.use_bias:
            return outputs
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return add_to_channels(outputs, bias)

    def _padding(self, inputs: FeatureMap) -> tuple[tuple[int, int], tuple[int, int]]:
        if self.padding is None:
            return image_padding(inputs, self.pad_type, self.kernel_size, self.stride)
        return (self.padding, self.padding), (self.padding, self.padding)


class BatchNorm(nn.Module):
    """Batch normalization as torch does it; parameters `scale`, `bias`, running statistics `mean`, `var`.

    In training the statistics are those of the whole batch, over all devices, and the running ones move
    towards them by `momentum`, the variance in its unbiased form. Statistics and arithmetic are float32.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Normalises each channel; in training also moves the running statistics."""
        shape = inputs.shape[-1:]
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not train:
            return normalize(inputs, running_mean.value, running_variance.value, scale, bias, self.epsilon)
        results: Any = normalize_batch(inputs, scale, bias, self.epsilon)
        outputs, mean, variance = results
        count = inputs.size // inputs.shape[-1]
        unbiased = variance * (count / max(count - 1, 1))
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_variance.value += self.momentum * (unbiased - running_variance.value)
        return outputs


class GroupNorm(nn.Module):
    """Normalization over the cells and channels of each group; parameters `scale`, `bias`.

    Args:
        num_groups: groups of neighbouring channels.
        group_size: channels a group, in place of `num_groups`.
    """

    num_groups: int = 32
    group_size: int | None = None
    epsilon: float = 1e-5
    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    dtype: Any = jnp.float32
    use_bias: bool = True

    @nn.compact
    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Normalises; `train` makes no difference."""
        del train
        channels = inputs.shape[-1]
        groups = channels // self.group_size if self.group_size else self.num_groups
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        grouped = inputs.astype(jnp.float32).reshape(*inputs.shape[:3], groups, -1)
        centred = grouped - grouped.mean((1, 2, 4), keepdims=True)
        variance = (centred**2).mean((1, 2, 4), keepdims=True)
        normalized = (centred * jax.lax.rsqrt(variance + self.epsilon)).reshape(inputs.shape)
        scaled = normalized * scale.reshape(1, 1, 1, -1)
        if not self.use_bias:
            return scaled.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return (scaled + bias.reshape(1, 1, 1, -1)).astype(self.dtype)


class ConvNormAct(nn.Module):
    """A convolution `conv` without bias, its norm `bn`, and an activation.

    Attributes:
        act_layer: name of the activation; None: there is none.
        norm_layer: `BatchNorm` or `GroupNorm`, or either with arguments.
        scale_init: start of the norm's scale.

    References:
        timm/layers/conv_bn_act.py.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    act_layer: str | None = "relu"
    norm_layer: Callable[..., nn.Module] = BatchNorm
    kernel_init: Callable[..., jax.Array] = kaiming_fan_out
    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.conv = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            groups=self.groups,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
        )
        self.bn = self.norm_layer(scale_init=self.scale_init, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves, normalises, activates."""
        normalized = self.bn(self.conv(inputs), train)
        return choose(ACTIVATIONS, self.act_layer, "act_layer")(normalized) if self.act_layer else normalized


class ChannelNorm(nn.Module):
    """Layer normalization of the channels of each cell; parameters `scale`, `bias`."""

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Normalises; `train` makes no difference."""
        del train
        scale = self.param("scale", nn.initializers.ones, inputs.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, inputs.shape[-1:], jnp.float32)
        outputs: Any = layers.layer_norm(inputs, scale, bias, self.epsilon)
        return outputs.astype(self.dtype)


class EvoNorm(nn.Module):
    """EvoNorm-S0: activation and normalization by the deviation of each group; `scale`, `bias` and `v`.

    Args:
        group_size: neighbouring channels of a group.
        activates: whether it does more than to scale and shift.

    References:
        Evolving Normalization-Activation Layers (arXiv:2004.02967); timm/layers/evo_norm.py.
    """

    group_size: int
    activates: bool = True
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Activates and normalises, in float32; `train` makes no difference."""
        del train
        ones, shape = nn.initializers.ones, inputs.shape[-1:]
        scale = self.param("scale", ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        values = inputs.astype(jnp.float32)
        if self.activates:
            slope = self.param("v", ones, shape, jnp.float32)
            grouped = values.reshape(*inputs.shape[:3], -1, self.group_size)
            deviation = jnp.sqrt(grouped.var((1, 2, 4), keepdims=True) + self.epsilon)
            gated = values * jax.nn.sigmoid(values * along_channels(slope))
            values = (gated.reshape(grouped.shape) / deviation).reshape(inputs.shape)
        return (values * along_channels(scale) + along_channels(bias)).astype(self.dtype)


NORMS = (BatchNorm, GroupNorm, ChannelNorm, EvoNorm)


def run(parts: Sequence[Callable[..., NewMap]], inputs: FeatureMap, train: bool) -> NewMap:
    """Applies parts in turn, as torch's Sequential; only those with norms learn whether this is training."""
    outputs = inputs
    for part in parts:
        outputs = part(outputs, train) if isinstance(part, (*NORMS, ConvNormAct)) else part(outputs)
    return outputs
