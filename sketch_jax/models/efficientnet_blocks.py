"""Blocks of the EfficientNet family.

References:
    timm/models/_efficientnet_blocks.py.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, Activation, identity, sigmoid
from sketch_jax.models.channel_attention import GlobalContext, MobileSqueezeExcite
from sketch_jax.models.conditional_convolution import CondConv
from sketch_jax.models.convolutional import (
    BatchNorm,
    Conv,
    EvoNorm,
    choose,
    fan_out_normal,
    symmetric_uniform,
)
from sketch_jax.models.efficientnet_plan import Place
from sketch_jax.models.efficientnet_rows import Kernel
from sketch_jax.models.efficientnet_table import EfficientNet
from sketch_jax.models.layers import DropPath, Linear
from sketch_jax.models.pooling import ANTI_ALIASING, FeatureMap, NewMap


def make_norm(architecture: EfficientNet, dtype: Any, *, activates: bool = True) -> nn.Module:
    """The norm that follows every convolution.

    Args:
        architecture: whose norm it is.
        dtype: of the computation.
        activates: whether an activation follows, which some norms apply themselves.
    """
    norm = architecture.norm_layer
    if norm is None:
        return BatchNorm(epsilon=architecture.bn_eps, momentum=architecture.bn_momentum, dtype=dtype)
    return norm(activates=activates, dtype=dtype) if norm_activates(architecture) else norm(dtype=dtype)


def make_activation(architecture: EfficientNet, name: str) -> Activation:
    """The function of a name, or none where norms apply one of their own."""
    return identity if norm_activates(architecture) else choose(ACTIVATIONS, name, "act_layer")


def norm_activates(architecture: EfficientNet) -> bool:
    """Whether the norms apply activations of their own."""
    norm = architecture.norm_layer
    return isinstance(norm, functools.partial) and norm.func is EvoNorm


def split_channels(channels: int, parts: int) -> list[int]:
    """Channels of each part; the first takes what is left over.

    >>> split_channels(10, 3)
    [4, 3, 3]
    """
    share = channels // parts
    return [channels - share * (parts - 1)] + [share] * (parts - 1)


def convolve(conv: Conv | Sequence[Conv], inputs: FeatureMap) -> NewMap:
    """Applies a convolution, or several to a part of the channels each."""
    if isinstance(conv, Conv):
        return conv(inputs)
    sizes = split_channels(inputs.shape[-1], len(conv))
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    parts = jnp.split(inputs, ends, -1)
    return jnp.concatenate([part_conv(part) for part_conv, part in zip(conv, parts, strict=True)], -1)


class MobileBlock(nn.Module):
    """What all kinds of blocks share: how their parts are made."""

    architecture: EfficientNet
    place: Place
    dtype: Any = jnp.float32

    def make_conv(
        self,
        features: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        pad_type: str | None = None,
    ) -> Conv:
        """A convolution without bias; `pad_type` None: the architecture's."""
        pad_type = self.architecture.pad_type if pad_type is None else pad_type
        init = fan_out_normal(groups)
        return Conv(features, kernel_size, stride, pad_type, groups, kernel_init=init, dtype=self.dtype)

    def make_convs(
        self,
        features: int,
        kernel_size: Kernel,
        stride: int = 1,
        groups: int = 1,
        pad_type: str | None = None,
    ) -> Conv | list[Conv]:
        """A convolution, or one for each size of a mixed kernel; depthwise when there are groups."""
        if isinstance(kernel_size, int):
            return self.make_conv(features, kernel_size, stride, groups, pad_type)
        sizes = split_channels(features, len(kernel_size))
        return [
            self.make_conv(size, kernel, stride, 1 if groups == 1 else size, pad_type)
            for size, kernel in zip(sizes, kernel_size, strict=True)
        ]

    def make_spatial_conv(
        self, features: int, kernel_size: Kernel, group_size: int, pad_type: str | None = None
    ) -> tuple[Conv | list[Conv], Callable[[FeatureMap], NewMap]]:
        """The convolution that may be strided, and what follows its activation: anti-aliasing or nothing.

        Args:
            features: channels that leave.
            kernel_size: see `make_convs`.
            group_size: channels a group where neither row nor architecture say; 0: one group.
            pad_type: see `make_convs`.
        """
        size = self.place.row.group_size or self.architecture.group_size or group_size
        groups = features // size if size else 1
        stride, anti_aliasing = self.place.stride, self.architecture.aa_layer
        if anti_aliasing is None or stride == 1:
            return self.make_convs(features, kernel_size, stride, groups, pad_type), identity
        smaller = choose(ANTI_ALIASING, anti_aliasing, "aa_layer")
        smaller = functools.partial(smaller, stride=stride)
        return self.make_convs(features, kernel_size, 1, groups, pad_type), smaller

    def make_norm(self, activates: bool = True) -> nn.Module:
        """See `make_norm`."""
        return make_norm(self.architecture, self.dtype, activates=activates)

    def activation_name(self) -> str:
        """The row's activation, else the architecture's."""
        return self.place.row.act_layer or self.architecture.act_layer

    def make_activation(self) -> Activation:
        """The function of `activation_name`."""
        return make_activation(self.architecture, self.activation_name())

    def make_attention(self, channels: int) -> Callable[[FeatureMap], NewMap]:
        """The channel attention inside the block, or nothing."""
        if not self.place.row.se_ratio:
            return identity
        ratio = self.place.squeeze_ratio
        if self.architecture.se_layer == "gc":
            return GlobalContext(channels, ratio, self.activation_name(), dtype=self.dtype)
        return MobileSqueezeExcite(channels, ratio, self.activation_name(), dtype=self.dtype)

    def joined(self, branch: NewMap, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the shortcut where there is one."""
        return self.drop_path(branch, train) + inputs if self.place.has_skip else branch


class ConvBnAct(MobileBlock):
    """A plain convolution."""

    def setup(self):
        """Names as in timm."""
        self.conv, self.aa = self.make_spatial_conv(self.place.out_channels, self.place.row.kernel_size, 0)
        self.bn1 = self.make_norm()
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and adds the shortcut."""
        return self.joined(self.aa(self.act(self.bn1(convolve(self.conv, inputs), train))), inputs, train)


class EdgeResidual(MobileBlock):
    """A full convolution that widens, then a 1×1 projection (also named FusedMBConv)."""

    def setup(self):
        """Names as in timm."""
        row = self.place.row
        inner = self.place.inner_channels
        self.conv_exp, self.aa = self.make_spatial_conv(inner, row.kernel_size, 0)
        self.bn1 = self.make_norm()
        self.se = self.make_attention(inner)
        self.conv_pwl = self.make_convs(self.place.out_channels, row.pw_kernel_size)
        self.bn2 = self.make_norm(activates=False)
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and adds the shortcut."""
        branch = self.se(self.aa(self.act(self.bn1(convolve(self.conv_exp, inputs), train))))
        return self.joined(self.bn2(convolve(self.conv_pwl, branch), train), inputs, train)


class DepthwiseSeparable(MobileBlock):
    """A depthwise convolution, then a 1×1; maybe after folding 2×2 cells into channels by a convolution."""

    def setup(self):
        """Names as in timm."""
        row, channels, kernel_size, pad_type = (
            self.place.row,
            self.place.in_channels,
            self.place.row.kernel_size,
            None,
        )
        if self.place.folds:
            channels, kernel_size = channels * 4, (row.plain_kernel_size + 1) // 2
            pad_type = "same" if kernel_size == 2 else None
            self.conv_s2d, self.bn_s2d = self.make_conv(channels, 2, 2, pad_type="same"), self.make_norm()
        self.conv_dw, self.aa = self.make_spatial_conv(channels, kernel_size, 1, pad_type)
        self.bn1 = self.make_norm()
        self.se = self.make_attention(channels)
        self.conv_pw = self.make_convs(self.place.out_channels, row.pw_kernel_size)
        self.bn2 = self.make_norm(activates=row.pw_act)
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and adds the shortcut."""
        branch = self.act(self.bn_s2d(self.conv_s2d(inputs), train)) if self.place.folds else inputs
        branch = self.se(self.aa(self.act(self.bn1(convolve(self.conv_dw, branch), train))))
        branch = self.bn2(convolve(self.conv_pw, branch), train)
        return self.joined(self.act(branch) if self.place.row.pw_act else branch, inputs, train)


class InvertedResidual(MobileBlock):
    """A 1×1 convolution that widens, a depthwise one, a 1×1 projection (also named MBConv)."""

    def setup(self):
        """Names as in timm."""
        row = self.place.row
        inner = self.place.inner_channels
        self.conv_pw = self.make_convs(inner, row.exp_kernel_size)
        self.bn1 = self.make_norm()
        self.conv_dw, self.aa = self.make_spatial_conv(inner, row.kernel_size, 1)
        self.bn2 = self.make_norm()
        self.se = self.make_attention(inner)
        self.conv_pwl = self.make_convs(self.place.out_channels, row.pw_kernel_size)
        self.bn3 = self.make_norm(activates=False)
        self.act = self.make_activation()
        self.drop_path = DropPath(self.place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and adds the shortcut."""
        branch = self.act(self.bn1(convolve(self.conv_pw, inputs), train))
        branch = self.se(self.aa(self.act(self.bn2(convolve(self.conv_dw, branch), train))))
        return self.joined(self.bn3(convolve(self.conv_pwl, branch), train), inputs, train)


class CondConvResidual(MobileBlock):
    """An `InvertedResidual` whose kernels each image mixes from those of several experts."""

    def setup(self):
        """Names as in timm."""
        place, experts = self.place, self.place.row.num_experts
        inner = place.inner_channels
        bound = symmetric_uniform((place.in_channels + experts) ** -0.5)
        self.routing_fn = Linear(experts, kernel_init=bound, dtype=self.dtype)
        self.conv_pw = self.make_experts(inner, 1)
        self.bn1 = self.make_norm()
        self.conv_dw = self.make_experts(inner, place.row.plain_kernel_size, place.stride, inner)
        self.bn2 = self.make_norm()
        self.se = self.make_attention(inner)
        self.conv_pwl = self.make_experts(place.out_channels, 1)
        self.bn3 = self.make_norm(activates=False)
        self.act = self.make_activation()
        self.drop_path = DropPath(place.drop_path)

    def make_experts(self, features: int, kernel_size: int, stride: int = 1, groups: int = 1) -> CondConv:
        """A convolution of as many experts as the row says."""
        return CondConv(
            features,
            kernel_size,
            self.place.row.num_experts,
            stride,
            self.architecture.pad_type,
            groups,
            dtype=self.dtype,
        )

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and adds the shortcut."""
        routing = sigmoid(self.routing_fn(inputs.mean((1, 2))))
        branch = self.act(self.bn1(self.conv_pw(inputs, routing), train))
        branch = self.se(self.act(self.bn2(self.conv_dw(branch, routing), train)))
        return self.joined(self.bn3(self.conv_pwl(branch, routing), train), inputs, train)


BLOCKS: dict[str, type[MobileBlock]] = {
    "ConvBnAct": ConvBnAct,
    "DepthwiseSeparable": DepthwiseSeparable,
    "InvertedResidual": InvertedResidual,
    "EdgeResidual": EdgeResidual,
    "CondConvResidual": CondConvResidual,
}
"""By the `block` of a row."""
