"""Stem and blocks of networks without norms, and where each block stands.

References:
    timm/models/nfnet.py.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array

from sketch_jax.models.activations import ACTIVATIONS, Activation
from sketch_jax.models.channel_attention import EfficientChannelAttention, SqueezeExcite
from sketch_jax.models.convolutional import choose, make_divisible
from sketch_jax.models.layers import DropPath
from sketch_jax.models.max_pooling import max_pool
from sketch_jax.models.nfnet_table import NfNet
from sketch_jax.models.pooling import FeatureMap, NewMap, halve
from sketch_jax.models.weight_standardization import ScaledStdConv, lecun_normal

GAMMAS = {
    "gelu": 1.7015043497085571,
    "relu": 1.7139588594436646,
    "relu6": 1.7131484746932983,
    "sigmoid": 4.803835391998291,
    "silu": 1.7881293296813965,
}
"""Factors that make up for the variance that activations take from normal noise."""

Attention = SqueezeExcite | EfficientChannelAttention


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a block needs to know of its place."""

    in_channels: int
    out_channels: int
    inner_width: int
    """Channels of the 3×3 convolutions."""
    groups: int
    """Of the 3×3 convolutions."""
    stride: int
    beta: float
    """Factor that brings what enters to variance 1."""
    drop_path: float
    """Probability, 0 to below 1."""


def scale_width(architecture: NfNet, channels: int) -> int:
    """Channels after `width_factor`."""
    return make_divisible(float(channels * architecture.width_factor), architecture.ch_div)


def stem_channels(architecture: NfNet) -> int:
    """Channels that enter the first stage."""
    return scale_width(architecture, architecture.stem_chs or architecture.channels[0])


def fit_groups(architecture: NfNet, width: float) -> tuple[int, int]:
    """The channels of the 3×3 convolutions and their groups."""
    inner = make_divisible(width, architecture.ch_div)
    if not architecture.group_size:
        return inner, 1
    groups = inner // architecture.group_size
    fits = architecture.group_size % architecture.ch_div == 0
    return (architecture.group_size * groups if fits else inner), groups


def expected_variances(architecture: NfNet) -> list[list[float]]:
    """Variance of what enters each block.

    Every branch adds its share; a stage's first block starts anew, since its shortcut normalises.
    """
    variance = 1.0
    stages: list[list[float]] = []
    for depth in architecture.depths:
        after = [1.0 + index * architecture.alpha**2 for index in range(1, depth + 1)]
        stages.append([variance, *after[:-1]])
        variance = after[-1]
    return stages


def plan_stages(architecture: NfNet, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    rates = iter(np.linspace(0.0, drop_path, sum(architecture.depths)).tolist())
    quartered = architecture.stem_type == "deep_quad" or "pool" in architecture.stem_type
    stages: list[list[Place]] = []
    in_channels = stem_channels(architecture)
    for stage, variances in enumerate(expected_variances(architecture)):
        out_channels = scale_width(architecture, architecture.channels[stage])
        stages.append([])
        for index, variance in enumerate(variances):
            ratio = 1.0 if architecture.reg and stage == index == 0 else architecture.bottle_ratio
            inner, groups = fit_groups(
                architecture, (in_channels if architecture.reg else out_channels) * ratio
            )
            place = Place(
                in_channels=in_channels,
                out_channels=out_channels,
                inner_width=inner,
                groups=groups,
                stride=2 if index == 0 and not (stage == 0 and quartered) else 1,
                beta=variance**-0.5,
                drop_path=next(rates),
            )
            stages[-1].append(place)
            in_channels = out_channels
    return stages


def make_activation(architecture: NfNet) -> Activation:
    """The activation, with its factor where that is not in the kernels."""
    act = choose(ACTIVATIONS, architecture.act_layer, "act_layer")
    gamma = choose(GAMMAS, architecture.act_layer, "act_layer")

    def scaled(inputs: Array) -> Array:
        return act(inputs) * gamma

    return scaled if architecture.gamma_in_act else act


def conv_maker(architecture: NfNet, dtype: Any) -> Callable[..., ScaledStdConv]:
    """Makes convolutions with the architecture's settings."""
    gamma = choose(GAMMAS, architecture.act_layer, "act_layer")
    return functools.partial(
        ScaledStdConv,
        pad_type="same" if architecture.same_padding else "",
        gamma=1.0 if architecture.gamma_in_act else gamma,
        epsilon=architecture.std_conv_eps,
        dtype=dtype,
    )


def plan_stem(architecture: NfNet) -> list[tuple[str, int, int, int]]:
    """Name, channels, kernel size and stride of the stem's convolutions."""
    channels, kind = stem_channels(architecture), architecture.stem_type
    if "deep" not in kind:
        return [("conv", channels, 3 if "3x3" in kind else 7, 2)]
    strides = (2, 1, 1, 2) if "quad" in kind else (2, 1, 1)
    if "quad" in kind:
        widths = (channels // 8, channels // 4, channels // 2, channels)
    elif "tiered" in kind:
        widths = (3 * channels // 8, channels // 2, channels)
    else:
        widths = (channels // 2, channels // 2, channels)
    steps = enumerate(zip(widths, strides, strict=True), 1)
    return [(f"conv{number}", width, 3, stride) for number, (width, stride) in steps]


class Stem(nn.Module):
    """Convolutions with activations between them, and perhaps a max-pool."""

    architecture: NfNet
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        make_conv = conv_maker(self.architecture, self.dtype)
        self.act = make_activation(self.architecture)
        self.convs = [
            make_conv(width, kernel_size, stride, name=name)
            for name, width, kernel_size, stride in plan_stem(self.architecture)
        ]

    def __call__(self, images: FeatureMap) -> NewMap:
        """The map that enters the first stage."""
        outputs = self.convs[0](images)
        for conv in self.convs[1:]:
            outputs = conv(self.act(outputs))
        if "pool" in self.architecture.stem_type:
            return max_pool(outputs, 3, 2, 1)
        return outputs


class Downsample(nn.Module):
    """The projection beside a residual branch: averaged to the smaller size, then a 1×1 convolution."""

    architecture: NfNet
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """The convolution."""
        self.conv = conv_maker(self.architecture, self.dtype)(self.place.out_channels)

    def __call__(self, inputs: FeatureMap) -> NewMap:
        """Projects."""
        return self.conv(halve(inputs) if self.place.stride > 1 else inputs)


class NormFreeBlock(nn.Module):
    """A residual block without norms, its activations before its convolutions."""

    architecture: NfNet
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        architecture, place = self.architecture, self.place
        make_conv = conv_maker(architecture, self.dtype)
        changes_shape = place.stride > 1 or place.in_channels != place.out_channels
        self.downsample = Downsample(architecture, place, self.dtype) if changes_shape else None
        self.act = make_activation(architecture)
        self.conv1 = make_conv(place.inner_width)
        self.conv2 = make_conv(place.inner_width, 3, place.stride, groups=place.groups)
        if architecture.extra_conv:
            self.conv2b = make_conv(place.inner_width, 3, groups=place.groups)
        self.conv3 = make_conv(place.out_channels, gain_init=1.0 if architecture.skipinit else 0.0)
        self.attn = self._attention(place.inner_width) if architecture.reg else None
        self.attn_last = None if architecture.reg else self._attention(place.out_channels)
        self.drop_path = DropPath(place.drop_path)
        if architecture.skipinit:
            self.skipinit_gain = self.param("skipinit_gain", nn.initializers.zeros, (), jnp.float32)

    def _attention(self, channels: int) -> Attention | None:
        architecture = self.architecture
        if architecture.attn_layer is None:
            return None
        if architecture.attn_layer == "eca":
            return EfficientChannelAttention(channels, dtype=self.dtype)
        return SqueezeExcite(
            channels,
            architecture.rd_ratio,
            kernel_init=lecun_normal,
            bias_init=nn.initializers.zeros,
            dtype=self.dtype,
        )

    def _attend(self, attention: Attention | None, inputs: FeatureMap) -> FeatureMap:
        """Channel attention and its factor, where there is any."""
        return inputs if attention is None else self.architecture.attn_gain * attention(inputs)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut; a projection there reads the activated inputs."""
        architecture = self.architecture
        activated = self.act(inputs) * self.place.beta
        shortcut = self.downsample(activated) if self.downsample is not None else inputs
        branch = self.conv2(self.act(self.conv1(activated)))
        if architecture.extra_conv:
            branch = self.conv2b(self.act(branch))
        branch = self.conv3(self.act(self._attend(self.attn, branch)))
        branch = self.drop_path(self._attend(self.attn_last, branch), train)
        if architecture.skipinit:
            branch = branch * self.skipinit_gain.astype(self.dtype)
        return branch * architecture.alpha + shortcut
