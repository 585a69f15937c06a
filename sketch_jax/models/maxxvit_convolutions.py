"""The convolutional parts of the MaxxViT family: stem, pools, `mbconv` and `convnext` blocks.

References:
    timm/models/maxxvit.py.
"""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import ACTIVATIONS, Activation, identity
from sketch_jax.models.channel_attention import SqueezeExcite
from sketch_jax.models.convolutional import BatchNorm, Conv, choose, make_divisible, run
from sketch_jax.models.layers import Dropout, DropPath, LayerNorm, LayerScale, Linear
from sketch_jax.models.max_pooling import max_pool
from sketch_jax.models.maxxvit_plan import Place, stem_widths
from sketch_jax.models.maxxvit_record import MaxxVit
from sketch_jax.models.maxxvit_starts import TORCH, Start, conv_start
from sketch_jax.models.pooling import FeatureMap, NewMap, average_pool

POOLS: dict[str, Callable[[FeatureMap], NewMap]] = {
    "avg": functools.partial(average_pool, window=3, stride=2, padding=1, count_include_pad=False),
    "avg2": functools.partial(average_pool, window=2, stride=2),
    "max": functools.partial(max_pool, window=3, stride=2, padding=1),
    "max2": functools.partial(max_pool, window=2, stride=2),
}
"""Pools that halve a map, by timm's names."""

Cells = Float[Array, "*cells channels"]

NEXT_KERNEL_SIZE = 7
SHORTCUT_POOL = "avg2"


def make_conv(
    features: int,
    entering: int,
    start: Start,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    pad_type: str = "",
    groups: int = 1,
    use_bias: bool = True,
    dtype: Any,
) -> Conv:
    """A convolution.

    Args:
        features: channels that leave it.
        entering: channels that enter it.
        start: of its weights.
        kernel_size: cells.
        stride: cells.
        pad_type: timm's name of the padding.
        groups: parts of the channels that do not mix.
        use_bias: whether it has a bias.
        dtype: of the computation.
    """
    bias_init = start.bias_of(kernel_size**2 * entering // groups)
    return Conv(
        features, kernel_size, stride, pad_type, groups, use_bias, start.kernel, bias_init, dtype=dtype
    )


def make_map(
    features: int, entering: int, start: Start, *, convolves: bool, use_bias: bool = True, dtype: Any
) -> Conv | Linear:
    """A map of the channels of each cell, as a 1×1 convolution or as a linear map; else as `make_conv`."""
    if convolves:
        return make_conv(features, entering, start, use_bias=use_bias, dtype=dtype)
    return Linear(features, use_bias, start.kernel, start.bias_of(entering), dtype)


def make_norm(architecture: MaxxVit, dtype: Any) -> BatchNorm | LayerNorm:
    """A norm of the stem and of convolutional blocks."""
    epsilon = architecture.conv_norm_eps
    if architecture.conv_block_type == "convnext":
        return LayerNorm(epsilon)
    return BatchNorm(epsilon, dtype=dtype)


def make_scale(initial_value: float | None, dtype: Any) -> Callable[[Cells], Cells]:
    """A layer scale, or the identity."""
    return LayerScale(initial_value, dtype=dtype) if initial_value else identity


class Perceptron(nn.Module):
    """Two maps of the channels of each cell, an activation between them."""

    in_features: int
    hidden_features: int
    act_layer: str
    convolves: bool
    start: Start
    use_bias: bool = True
    dropout: float = 0.0
    """Of the hidden features, and, where the maps are linear, of what leaves."""
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        options: dict[str, Any] = {
            "convolves": self.convolves,
            "use_bias": self.use_bias,
            "dtype": self.dtype,
        }
        self.fc1 = make_map(self.hidden_features, self.in_features, self.start, **options)
        self.act = choose(ACTIVATIONS, self.act_layer, "act_layer")
        self.drop1 = Dropout(self.dropout)
        self.fc2 = make_map(self.in_features, self.hidden_features, self.start, **options)
        self.drop2 = Dropout(0.0 if self.convolves else self.dropout)

    def __call__(self, inputs: Cells, train: bool) -> Cells:
        """Maps the channels of each cell."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(inputs)), train)), train)


class Downsample(nn.Module):
    """Halves a map by a pool, then widens it by a 1×1 convolution `expand` where the widths differ."""

    in_channels: int
    out_channels: int
    pool_type: str
    use_bias: bool
    start: Start
    dtype: Any = jnp.float32

    def setup(self):
        """The pool and the convolution."""
        self.pool = choose(POOLS, self.pool_type, "pool_type")
        self.expand = identity
        if self.in_channels != self.out_channels:
            self.expand = make_conv(
                self.out_channels, self.in_channels, self.start, use_bias=self.use_bias, dtype=self.dtype
            )

    def __call__(self, inputs: FeatureMap) -> NewMap:
        """The smaller map."""
        return self.expand(self.pool(inputs))


class Stem(nn.Module):
    """Two 3×3 convolutions, a norm and an activation between them; the first strides."""

    architecture: MaxxVit
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        first, second = stem_widths(self.architecture)
        self.conv1 = self._conv(first, 3, 2)
        self.norm1 = make_norm(self.architecture, self.dtype)
        self.act = choose(ACTIVATIONS, self.architecture.conv_act_layer, "conv_act_layer")
        self.conv2 = self._conv(second, first, 1)

    def _conv(self, features: int, entering: int, stride: int) -> Conv:
        return make_conv(
            features,
            entering,
            conv_start(self.architecture.weight_init),
            kernel_size=3,
            stride=stride,
            pad_type=self.architecture.conv_padding,
            use_bias=self.architecture.stem_bias,
            dtype=self.dtype,
        )

    def __call__(self, images: FeatureMap, train: bool) -> NewMap:
        """The first feature map, of half the images' size."""
        return run([self.conv1, self.norm1, self.act, self.conv2], images, train)


class ConvBlock(nn.Module):
    """What both kinds of convolutional blocks share: the parts around their convolutions."""

    architecture: MaxxVit
    place: Place
    dtype: Any = jnp.float32

    def make_conv(self, features: int, entering: int, start: Start, **options: Any) -> Conv:
        """A convolution in the block's type."""
        return make_conv(features, entering, start, **options, dtype=self.dtype)

    def make_activation(self) -> Activation:
        """The activation between convolutions."""
        return choose(ACTIVATIONS, self.architecture.conv_act_layer, "conv_act_layer")

    def stride_of(self, part: str) -> int:
        """The stride of the pool, the first 1×1 convolution or the depthwise one."""
        return self.place.stride if self.architecture.conv_stride_mode == part else 1

    def make_pool(self) -> Callable[[FeatureMap], NewMap]:
        """What comes before the first convolution."""
        name = self.architecture.conv_downsample_pool_type
        return choose(POOLS, name, "conv_downsample_pool_type") if self.stride_of("pool") > 1 else identity

    def make_shortcut(self, pool_type: str, use_bias: bool, start: Start) -> Callable[[FeatureMap], NewMap]:
        """What stands beside the residual branch."""
        place = self.place
        if place.stride == 1:
            return identity
        return Downsample(place.in_channels, place.out_channels, pool_type, use_bias, start, self.dtype)


class MbConv(ConvBlock):
    """A depthwise convolution and channel attention between two 1×1 convolutions; a norm before all."""

    def setup(self):
        """Names as in timm."""
        architecture, place = self.architecture, self.place
        expanded = place.out_channels if architecture.conv_expand_output else place.in_channels
        width = make_divisible(expanded * architecture.conv_expand_ratio)
        start = conv_start(architecture.weight_init)
        bias = architecture.conv_output_bias
        self.shortcut = self.make_shortcut(architecture.conv_pool_type, bias, start)
        self.pre_norm = make_norm(architecture, self.dtype)
        self.down = self.make_pool()
        stride = self.stride_of("1x1")
        self.conv1_1x1 = self.make_conv(width, place.in_channels, start, stride=stride, use_bias=False)
        self.norm1 = make_norm(architecture, self.dtype)
        self.conv2_kxk = self.make_conv(
            width,
            width,
            conv_start(architecture.weight_init, width),
            kernel_size=architecture.conv_kernel_size,
            stride=self.stride_of("dw"),
            pad_type=architecture.conv_padding,
            groups=width,
            use_bias=False,
        )
        self.norm2 = make_norm(architecture, self.dtype)
        self._make_attention(width, start)
        self.conv3_1x1 = self.make_conv(place.out_channels, width, start, use_bias=bias)
        self.act = self.make_activation()
        self.drop_path = DropPath(place.drop_path)

    def _make_attention(self, width: int, start: Start):
        architecture = self.architecture
        ratio_of = self.place.out_channels if architecture.conv_expand_output else width
        attention = SqueezeExcite(
            width,
            rd_channels=int(architecture.conv_attn_ratio * ratio_of),
            act_layer=architecture.conv_attn_act_layer,
            kernel_init=start.kernel,
            bias_init=start.bias,
            dtype=self.dtype,
        )
        if architecture.conv_attn_early:
            self.se_early = attention
        else:
            self.se = attention

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut."""
        early, activated = self.architecture.conv_attn_early, self.architecture.conv_pre_norm_act
        parts = [
            *(self.pre_norm, self.act if activated else identity, self.down),
            *(self.conv1_1x1, self.norm1, self.act, self.conv2_kxk),
            *((self.se_early, self.norm2, self.act) if early else (self.norm2, self.act, self.se)),
            self.conv3_1x1,
        ]
        return self.drop_path(run(parts, inputs, train), train) + self.shortcut(inputs)


class ConvNext(ConvBlock):
    """A depthwise convolution of large kernel, a norm and a perceptron."""

    def setup(self):
        """Names as in timm, which starts blocks by `weight_init` only where attention follows."""
        architecture, place, bias = self.architecture, self.place, self.architecture.conv_output_bias
        alone, scheme, channels = place.kind == "C", architecture.weight_init, place.out_channels
        start = TORCH if alone else conv_start(scheme)
        self.shortcut = self.make_shortcut(SHORTCUT_POOL, True, start)
        self.down = self.make_pool()
        self.conv_dw = self.make_conv(
            channels,
            place.in_channels,
            TORCH if alone else conv_start(scheme, place.in_channels),
            kernel_size=NEXT_KERNEL_SIZE,
            stride=self.stride_of("dw"),
            groups=place.in_channels,
            use_bias=bias,
        )
        self.norm = make_norm(architecture, self.dtype)
        hidden, act = int(architecture.conv_expand_ratio * channels), architecture.conv_act_layer
        self.mlp = Perceptron(channels, hidden, act, True, start, bias, dtype=self.dtype)
        self.ls = make_scale(architecture.conv_init_values, self.dtype)
        self.drop_path = DropPath(place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut."""
        branch = run([self.down, self.conv_dw, self.norm], inputs, train)
        branch = self.ls(self.mlp(branch, train))
        return self.drop_path(branch, train) + self.shortcut(inputs)


CONV_BLOCKS: dict[str, type[ConvBlock]] = {"mbconv": MbConv, "convnext": ConvNext}
"""By `conv_block_type`."""
