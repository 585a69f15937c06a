"""Blocks of the MobileViT family: inverted residuals, and transformers over the patches of a map.

A token of an image is a place of a patch; tokens attend to those at the same place of the other patches.

References:
    timm/models/mobilevit.py, timm/models/byobnet.py.
"""

import dataclasses
import functools
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import silu
from sketch_jax.models.attention import Attention, Tokens
from sketch_jax.models.convolutional import (
    Conv,
    ConvNormAct,
    GroupNorm,
    fan_out_normal,
    make_divisible,
)
from sketch_jax.models.layers import DropPath, LayerNorm, Mlp
from sketch_jax.models.mobilevit_table import MobileVit
from sketch_jax.models.pooling import FeatureMap, NewMap
from sketch_jax.models.positions import Resampling, resize_matrix

NUM_HEADS = 4
MLP_RATIO = 2
EPSILON = 1e-5
LINEAR_INIT = nn.initializers.normal(0.01)

Patches = Float[Array, "batch area patches channels"]
"""The tokens of each place of a patch."""

make_conv = functools.partial(ConvNormAct, act_layer="silu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a block needs to know of its place."""

    in_channels: int
    out_channels: int
    stride: int = 1
    transformer_dim: int = 0
    transformer_depth: int = 0
    """Transformers; 0: the block is an inverted residual."""
    drop_path: float
    """Probability, 0 to below 1."""

    @property
    def has_shortcut(self) -> bool:
        """Whether an inverted residual is added to its inputs."""
        return self.stride == 1 and self.in_channels == self.out_channels


def plan_stages(architecture: MobileVit, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    plain = len(architecture.depths) - len(architecture.transformer_dims)
    transformers = [
        *[()] * plain,
        *zip(architecture.transformer_dims, architecture.transformer_depths, strict=True),
    ]
    last = sum(architecture.depths) + len(architecture.transformer_dims) - 1
    stages: list[list[Place]] = []
    in_channels, index = architecture.stem_chs, 0
    for stage, (channels, depth) in enumerate(zip(architecture.channels, architecture.depths, strict=True)):
        places = []
        for block in range(depth + bool(transformers[stage])):
            width, count = transformers[stage] if block == depth else (0, 0)
            places.append(
                Place(
                    in_channels=in_channels,
                    out_channels=channels,
                    stride=2 if stage > 0 and block == 0 else 1,
                    transformer_dim=width,
                    transformer_depth=count,
                    drop_path=drop_path * index / last,
                )
            )
            in_channels, index = channels, index + 1
        stages.append(places)
    return stages


def resize(inputs: FeatureMap, height: int, width: int, align_corners: bool) -> NewMap:
    """Resamples a map bilinearly; maps of this size stay as they are.

    Args:
        inputs: the feature map.
        height: wanted, in places.
        width: wanted, in places.
        align_corners: whether the outermost places keep their values, not the outer edges of their cells.
    """
    if inputs.shape[1:3] == (height, width):
        return inputs
    resampling = Resampling(kernel="linear", antialias=False, align_corners=align_corners)
    rows, columns = (
        jnp.asarray(resize_matrix(old, new, resampling), inputs.dtype)
        for old, new in zip(inputs.shape[1:3], (height, width), strict=True)
    )
    return jnp.einsum("yh,xw,bhwc->byxc", rows, columns, inputs)


def whole_patches(size: int, patch_size: int) -> int:
    """The least size that patches fill.

    >>> whole_patches(7, 2), whole_patches(8, 2)
    (8, 8)
    """
    return -(-size // patch_size) * patch_size


def unfold(features: FeatureMap, patch_size: int) -> Patches:
    """The tokens of each place of a patch, both row by row."""
    batch, height, width, channels = features.shape
    rows, columns = height // patch_size, width // patch_size
    cells = features.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return cells.transpose(0, 2, 4, 1, 3, 5).reshape(batch, patch_size**2, rows * columns, channels)


def fold(patches: Patches, height: int, width: int, patch_size: int) -> FeatureMap:
    """The inverse of `unfold`, for a map of this height and width."""
    batch, _, _, channels = patches.shape
    rows, columns = height // patch_size, width // patch_size
    cells = patches.reshape(batch, patch_size, patch_size, rows, columns, channels)
    return cells.transpose(0, 3, 1, 4, 2, 5).reshape(batch, height, width, channels)


class InvertedResidual(nn.Module):
    """A depthwise 3×3 convolution of more channels between two 1×1; no activation ends it."""

    architecture: MobileVit
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        place = self.place
        middle = make_divisible(place.in_channels * self.architecture.bottle_ratio)
        zero = place.has_shortcut and self.architecture.zero_init_last
        self.conv1_1x1 = make_conv(middle, dtype=self.dtype)
        self.conv2_kxk = make_conv(
            middle, 3, place.stride, middle, kernel_init=fan_out_normal(middle), dtype=self.dtype
        )
        self.conv3_1x1 = make_conv(
            place.out_channels,
            act_layer=None,
            scale_init=nn.initializers.zeros if zero else nn.initializers.ones,
            dtype=self.dtype,
        )
        self.drop_path = DropPath(place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Adds the residual branch where the shapes agree."""
        branch = self.conv2_kxk(self.conv1_1x1(inputs, train), train)
        branch = self.drop_path(self.conv3_1x1(branch, train), train)
        return inputs + branch if self.place.has_shortcut else branch


class Transformer(nn.Module):
    """Attention and a perceptron, each after a norm."""

    width: int
    drop_path: float
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.norm1 = LayerNorm(EPSILON)
        self.attn = Attention(self.width, NUM_HEADS, qkv_bias=True, dtype=self.dtype, kernel_init=LINEAR_INIT)
        self.norm2 = LayerNorm(EPSILON)
        self.mlp = Mlp(
            MLP_RATIO * self.width,
            self.width,
            "silu",
            last_init=LINEAR_INIT,
            dtype=self.dtype,
            kernel_init=LINEAR_INIT,
        )
        self.thin = DropPath(self.drop_path)

    def __call__(self, tokens: Tokens, train: bool) -> Tokens:
        """Adds both residual branches."""
        tokens = tokens + self.thin(self.attn(self.norm1(tokens), train), train)
        return tokens + self.thin(self.mlp(self.norm2(tokens), train), train)


class MobileVitBlock(nn.Module):
    """Convolutions, transformers over patches, and a convolution of the inputs beside their answer.

    Maps that patches do not fill are enlarged for the transformers alone.
    """

    architecture: MobileVit
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        place = self.place
        self.conv_kxk = make_conv(place.in_channels, 3, dtype=self.dtype)
        self.conv_1x1 = Conv(place.transformer_dim, dtype=self.dtype)
        self.transformer = [
            Transformer(place.transformer_dim, place.drop_path, self.dtype)
            for _ in range(place.transformer_depth)
        ]
        self.norm = LayerNorm(EPSILON)
        self.conv_proj = make_conv(place.out_channels, dtype=self.dtype)
        self.conv_fusion = make_conv(place.out_channels, 3, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Mixes the map, near and far."""
        size = self.architecture.patch_size
        height, width = (whole_patches(side, size) for side in inputs.shape[1:3])
        features = self.conv_1x1(self.conv_kxk(inputs, train))
        patches = unfold(resize(features, height, width, align_corners=False), size)
        tokens = patches.reshape(-1, *patches.shape[2:])
        for block in self.transformer:
            tokens = block(tokens, train)
        mixed = fold(self.norm(tokens).reshape(patches.shape), height, width, size)
        answer = self.conv_proj(resize(mixed, *inputs.shape[1:3], align_corners=False), train)
        return self.conv_fusion(jnp.concatenate([inputs, answer], axis=-1), train)


class LinearSelfAttention(nn.Module):
    """Attention of linear cost: one vector of context, a weighted mean of all tokens, gates each of them."""

    width: int
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.qkv_proj = Conv(1 + 2 * self.width, use_bias=True, dtype=self.dtype)
        self.out_proj = Conv(self.width, use_bias=True, dtype=self.dtype)

    def __call__(self, patches: Patches) -> Patches:
        """Mixes the tokens at each place of a patch; the softmax is float32."""
        query, key, value = jnp.split(self.qkv_proj(patches), [1, 1 + self.width], axis=-1)
        weights = jax.nn.softmax(query.astype(jnp.float32), axis=2).astype(key.dtype)
        context = (key * weights).sum(2, keepdims=True)
        return self.out_proj(jax.nn.relu(value) * context)


class ConvMlp(nn.Module):
    """A perceptron of 1×1 convolutions."""

    width: int
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.fc1 = Conv(MLP_RATIO * self.width, use_bias=True, dtype=self.dtype)
        self.fc2 = Conv(self.width, use_bias=True, dtype=self.dtype)

    def __call__(self, patches: Patches) -> Patches:
        """Maps the channels of each token."""
        return self.fc2(silu(self.fc1(patches)))


class LinearTransformer(nn.Module):
    """Linear attention and a perceptron, each after a norm over all of an image."""

    width: int
    drop_path: float
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.norm1 = GroupNorm(1, epsilon=EPSILON, dtype=self.dtype)
        self.attn = LinearSelfAttention(self.width, self.dtype)
        self.norm2 = GroupNorm(1, epsilon=EPSILON, dtype=self.dtype)
        self.mlp = ConvMlp(self.width, self.dtype)
        self.thin = DropPath(self.drop_path)

    def __call__(self, patches: Patches, train: bool) -> Patches:
        """Adds both residual branches."""
        patches = patches + self.thin(self.attn(self.norm1(patches, train)), train)
        return patches + self.thin(self.mlp(self.norm2(patches, train)), train)


class MobileVitV2Block(nn.Module):
    """A depthwise convolution, transformers over patches, and a 1×1 convolution.

    Maps that patches do not fill are enlarged, and stay so.
    """

    architecture: MobileVit
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        place = self.place
        self.conv_kxk = make_conv(
            place.in_channels,
            3,
            groups=place.in_channels,
            kernel_init=fan_out_normal(place.in_channels),
            dtype=self.dtype,
        )
        self.conv_1x1 = Conv(place.transformer_dim, dtype=self.dtype)
        self.transformer = [
            LinearTransformer(place.transformer_dim, place.drop_path, self.dtype)
            for _ in range(place.transformer_depth)
        ]
        self.norm = GroupNorm(1, epsilon=EPSILON, dtype=self.dtype)
        self.conv_proj = make_conv(place.out_channels, act_layer=None, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Mixes the map, near and far."""
        size = self.architecture.patch_size
        height, width = (whole_patches(side, size) for side in inputs.shape[1:3])
        features = self.conv_kxk(resize(inputs, height, width, align_corners=True), train)
        patches = unfold(self.conv_1x1(features), size)
        for block in self.transformer:
            patches = block(patches, train)
        return self.conv_proj(fold(self.norm(patches, train), height, width, size), train)


def block_kind(architecture: MobileVit, place: Place) -> type[nn.Module]:
    """Which block stands at a place."""
    if not place.transformer_depth:
        return InvertedResidual
    return MobileVitBlock if architecture.version == 1 else MobileVitV2Block
