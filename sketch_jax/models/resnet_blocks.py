"""Residual blocks of the ResNet family, and where each stands.

References:
    timm/models/resnet.py.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, Activation, identity
from sketch_jax.models.channel_attention import EfficientChannelAttention, SqueezeExcite
from sketch_jax.models.convolutional import Conv, choose, run
from sketch_jax.models.layers import DropPath
from sketch_jax.models.pooling import ANTI_ALIASING, FeatureMap, NewMap, average_pool
from sketch_jax.models.resnet_table import ResNet

EXPANSIONS = {"BasicBlock": 1, "Bottleneck": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a residual block needs to know of its place."""

    block: str
    in_channels: int
    planes: int
    """Width of the stage before the block's expansion."""
    stride: int
    drop_path: float
    """Probability, 0 to below 1."""
    kept: tuple[int, int, int] | None = None
    """Channels that pruning left after each convolution of a `Bottleneck`; None: all."""

    @property
    def full_channels(self) -> int:
        """Channels that leave the block where none are pruned."""
        return self.planes * EXPANSIONS[self.block]

    @property
    def out_channels(self) -> int:
        """Channels that leave the block."""
        return self.full_channels if self.kept is None else self.kept[2]


def stem_channels(architecture: ResNet) -> int:
    """Channels that enter the first stage."""
    return architecture.stem_width * 2 if architecture.stem_type else 64


def plan_stages(architecture: ResNet, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    stages: list[list[Place]] = []
    in_channels = stem_channels(architecture)
    last = max(sum(architecture.layers) - 1, 1)
    for stage, (planes, depth) in enumerate(zip(architecture.channels, architecture.layers, strict=True)):
        block = architecture.block if isinstance(architecture.block, str) else architecture.block[stage]
        stages.append([])
        for index in range(depth):
            place = Place(
                block=block,
                in_channels=in_channels,
                planes=planes,
                stride=2 if stage > 0 and index == 0 else 1,
                drop_path=drop_path * (sum(architecture.layers[:stage]) + index) / last,
                kept=_kept(architecture, stage, index),
            )
            stages[-1].append(place)
            in_channels = place.out_channels
    return stages


def _kept(architecture: ResNet, stage: int, index: int) -> tuple[int, int, int] | None:
    if architecture.pruned is None:
        return None
    out_channels, blocks = architecture.pruned[stage]
    return (*blocks[index], out_channels)


class ResidualBlock(nn.Module):
    """What both kinds of blocks share: the parts around their convolutions."""

    architecture: ResNet
    place: Place
    dtype: Any = jnp.float32

    def make_conv(self, features: int, kernel_size: int, stride: int = 1, groups: int = 1) -> Conv:
        """A convolution without bias."""
        return Conv(features, kernel_size, stride, groups=groups, dtype=self.dtype)

    def make_norm(self, last: bool = False) -> nn.Module:
        """A norm; the last of the residual branch may start at zero."""
        zero = last and self.architecture.zero_init_last
        scale_init = nn.initializers.zeros if zero else nn.initializers.ones
        return self.architecture.norm_layer(scale_init=scale_init, dtype=self.dtype)

    def make_strided_conv(
        self, features: int, groups: int = 1
    ) -> tuple[Conv, Callable[[FeatureMap], NewMap]]:
        """The 3×3 convolution that may be strided, and what follows its activation: anti-aliasing, if any."""
        stride, anti_aliasing = self.place.stride, self.architecture.aa_layer
        if anti_aliasing is None or stride == 1:
            return self.make_conv(features, 3, stride, groups), identity
        smaller = choose(ANTI_ALIASING, anti_aliasing, "aa_layer")
        return self.make_conv(features, 3, 1, groups), functools.partial(smaller, stride=stride)

    def make_activation(self) -> Activation:
        """The activation after every norm."""
        return choose(ACTIVATIONS, self.architecture.act_layer, "act_layer")

    def make_attention(self) -> Callable[[FeatureMap], NewMap]:
        """The channel attention that ends the residual branch, or nothing; pruning does not change it."""
        channels = self.place.full_channels
        if self.architecture.attn_layer == "se":
            return SqueezeExcite(channels, self.architecture.rd_ratio, dtype=self.dtype)
        if self.architecture.attn_layer == "eca":
            return EfficientChannelAttention(channels, dtype=self.dtype)
        return identity

    def make_shortcut(self) -> list[Callable[..., NewMap]]:
        """The projection beside the residual branch; empty when the shapes agree."""
        place, architecture = self.place, self.architecture
        if place.stride == 1 and place.in_channels == place.out_channels:
            return []
        if architecture.avg_down:
            return [_halved_if(place.stride), self.make_conv(place.out_channels, 1), self.make_norm()]
        kernel_size = architecture.down_kernel_size if place.stride > 1 else 1
        return [self.make_conv(place.out_channels, kernel_size, place.stride), self.make_norm()]


def _halved_if(stride: int) -> Callable[[FeatureMap], NewMap]:
    if stride == 1:
        return identity
    return functools.partial(
        average_pool, window=2, stride=stride, padding=0, ceil_mode=True, count_include_pad=False
    )


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions."""

    def setup(self):
        """Names as in timm."""
        planes = self.place.planes
        self.conv1, self.aa = self.make_strided_conv(planes // self.architecture.block_reduce_first)
        self.bn1 = self.make_norm()
        self.conv2 = self.make_conv(planes, 3)
        self.bn2 = self.make_norm(last=True)
        self.se = self.make_attention()
        self.downsample = self.make_shortcut()
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut."""
        branch = self.aa(self.act(self.bn1(self.conv1(inputs), train)))
        branch = self.se(self.bn2(self.conv2(branch), train))
        return self.act(self.drop_path(branch, train) + run(self.downsample, inputs, train))


class Bottleneck(ResidualBlock):
    """A 3×3 convolution, maybe grouped, between two 1×1."""

    def setup(self):
        """Names as in timm."""
        architecture = self.architecture
        width = int(self.place.planes * (architecture.base_width / 64)) * architecture.cardinality
        full = width // architecture.block_reduce_first, width, self.place.out_channels
        first, second, _ = self.place.kept or full
        self.conv1 = self.make_conv(first, 1)
        self.bn1 = self.make_norm()
        self.conv2, self.aa = self.make_strided_conv(second, architecture.cardinality)
        self.bn2 = self.make_norm()
        self.conv3 = self.make_conv(self.place.out_channels, 1)
        self.bn3 = self.make_norm(last=True)
        self.se = self.make_attention()
        self.downsample = self.make_shortcut()
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch to the shortcut."""
        branch = self.act(self.bn1(self.conv1(inputs), train))
        branch = self.aa(self.act(self.bn2(self.conv2(branch), train)))
        branch = self.se(self.bn3(self.conv3(branch), train))
        return self.act(self.drop_path(branch, train) + run(self.downsample, inputs, train))


BLOCKS: dict[str, type[ResidualBlock]] = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}
"""By the `block` of an architecture."""
