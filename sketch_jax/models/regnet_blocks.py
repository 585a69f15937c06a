"""Blocks of the RegNet family.

References:
    timm/models/regnet.py.
"""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, Activation, identity
from sketch_jax.models.channel_attention import SqueezeExcite
from sketch_jax.models.convolutional import Conv, ConvNormAct, choose, fan_out_normal, run
from sketch_jax.models.layers import DropPath, Initializer, recomputed
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, NewMap, halve
from sketch_jax.models.regnet_plan import Place
from sketch_jax.models.regnet_table import RegNet

zeros, ones = nn.initializers.zeros, nn.initializers.ones


def make_conv_norm_act(
    architecture: RegNet,
    features: int,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    *,
    activates: bool = True,
    scale_init: Initializer = ones,
    name: str | None = None,
    dtype: Any,
) -> ConvNormAct:
    """A convolution with the architecture's norm and, where wanted, its activation."""
    return ConvNormAct(
        features,
        kernel_size,
        stride,
        groups,
        act_layer=architecture.act_layer if activates else None,
        norm_layer=architecture.norm_layer,
        kernel_init=fan_out_normal(groups),
        scale_init=scale_init,
        dtype=dtype,
        name=name,
    )


class RegNetBlock(nn.Module):
    """What both kinds of blocks share: the parts around their convolutions."""

    architecture: RegNet
    place: Place
    dtype: Any = jnp.float32

    def inner_width(self) -> int:
        """Channels inside the block."""
        return round(self.place.out_channels * self.architecture.bottle_ratio)

    def make_attention(self) -> Callable[[FeatureMap], NewMap]:
        """Squeeze-and-excitation of the channels inside, or nothing."""
        if not self.architecture.se_ratio:
            return identity
        return SqueezeExcite(
            self.inner_width(),
            rd_channels=round(self.place.in_channels * self.architecture.se_ratio),
            act_layer=self.architecture.act_layer,
            bias_init=zeros,
            dtype=self.dtype,
        )

    def make_shortcut(self) -> list[Callable[..., NewMap]] | None:
        """What lies beside the residual branch: nothing when the shapes agree; None: there is no shortcut."""
        place, downsample = self.place, self.architecture.downsample
        if place.stride == 1 and place.in_channels == place.out_channels:
            return []
        if not downsample:
            return None
        if downsample == "conv1x1":
            return [self.make_projection(place.stride, "downsample")]
        return [halve, self.make_projection(1, "downsample_1")]

    def make_projection(self, stride: int, name: str) -> nn.Module:
        """The 1×1 convolution on the shortcut."""
        raise NotImplementedError


class Bottleneck(RegNetBlock):
    """Norms and activations follow the convolutions."""

    def setup(self):
        """Names as in timm."""
        architecture, width = self.architecture, self.inner_width()
        make = functools.partial(make_conv_norm_act, architecture, dtype=self.dtype)
        self.conv1 = make(width)
        self.conv2 = make(width, 3, self.place.stride, width // self.place.group_size)
        self.se = self.make_attention()
        scale_init = zeros if architecture.zero_init_last else ones
        self.conv3 = make(self.place.out_channels, activates=False, scale_init=scale_init)
        self.act3: Activation = (
            identity if architecture.linear_out else choose(ACTIVATIONS, architecture.act_layer, "act_layer")
        )
        self.shortcut = self.make_shortcut()
        self.drop_path = DropPath(self.place.drop_path)

    def make_projection(self, stride: int, name: str) -> nn.Module:
        """With a norm."""
        return make_conv_norm_act(
            self.architecture,
            self.place.out_channels,
            1,
            stride,
            activates=False,
            name=name,
            dtype=self.dtype,
        )

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut; without one the branch is all, never left out."""
        branch = self.conv3(self.se(self.conv2(self.conv1(inputs, train), train)), train)
        if self.shortcut is not None:
            branch = self.drop_path(branch, train) + run(self.shortcut, inputs, train)
        return self.act3(branch)


class PreBottleneck(RegNetBlock):
    """Norms and activations come before the convolutions."""

    def setup(self):
        """Names as in timm."""
        architecture, place, width = self.architecture, self.place, self.inner_width()
        self.norm1, self.norm2, self.norm3 = (architecture.norm_layer(dtype=self.dtype) for _ in range(3))
        self.act = choose(ACTIVATIONS, architecture.act_layer, "act_layer")
        groups = width // place.group_size
        self.conv1 = Conv(width, dtype=self.dtype)
        self.conv2 = Conv(
            width, 3, place.stride, groups=groups, kernel_init=fan_out_normal(groups), dtype=self.dtype
        )
        self.se = self.make_attention()
        self.conv3 = Conv(place.out_channels, dtype=self.dtype)
        self.shortcut = self.make_shortcut()
        self.drop_path = DropPath(place.drop_path)

    def make_projection(self, stride: int, name: str) -> nn.Module:
        """Without a norm."""
        return Conv(self.place.out_channels, 1, stride, dtype=self.dtype, name=name)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut, which also reads the normalised inputs."""
        normalized = self.act(self.norm1(inputs, train))
        branch = self.act(self.norm2(self.conv1(normalized), train))
        branch = self.conv3(self.act(self.norm3(self.se(self.conv2(branch)), train)))
        if self.shortcut is None:
            return branch
        return self.drop_path(branch, train) + run(self.shortcut, normalized, train)


class Stage(nn.Module):
    """Blocks of one width, `b1`, `b2` and so on."""

    architecture: RegNet
    places: tuple[Place, ...]
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """The blocks."""
        block = PreBottleneck if self.architecture.preact else Bottleneck
        kind = recomputed(block, self.remat, (2,))
        self.blocks = [
            kind(self.architecture, place, self.dtype, name=f"b{number}")
            for number, place in enumerate(self.places, 1)
        ]

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Applies the blocks in turn."""
        outputs = inputs
        for block in self.blocks:
            outputs = block(outputs, train)
        return outputs
