"""The blocks of the MaxxViT family that attend, parameters named as in timm.

References:
    timm/models/maxxvit.py; CoAtNet (arXiv:2106.04803) for `T`, MaxViT (arXiv:2204.01697) for `M`.
"""

import dataclasses
from typing import Any

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import identity
from sketch_jax.models.attention import attend, thinning
from sketch_jax.models.convolutional import BatchNorm, run
from sketch_jax.models.layers import Dropout, DropPath, LayerNorm
from sketch_jax.models.maxxvit_convolutions import (
    CONV_BLOCKS,
    Cells,
    Downsample,
    Perceptron,
    make_map,
    make_scale,
)
from sketch_jax.models.maxxvit_plan import Place, attention_width
from sketch_jax.models.maxxvit_record import MaxxVit, Pair
from sketch_jax.models.maxxvit_starts import TORCH, transformer_start
from sketch_jax.models.pooling import FeatureMap, NewMap
from sketch_jax.models.relative_position_kinds import RelativePositionBiasTf, RelativePositionMlp
from sketch_jax.models.relative_positions import Bias, RelativePositionBias
from sketch_jax.models.windows import cut_grid, cut_windows, join_grid, join_windows


class RelativeAttention(nn.Module):
    """Attention among all cells of a map or of a window, with biases by their relative positions."""

    architecture: MaxxVit
    in_channels: int
    width: int
    """Channels of the queries."""
    out_channels: int
    window: Pair
    """Height and width of the map or window, in cells."""
    convolves: bool
    """Whether the projections are 1×1 convolutions of a map, not linear maps of a window's cells."""
    dtype: Any = jnp.float32

    def setup(self):
        """Projections and biases."""
        architecture, start = self.architecture, transformer_start(self.architecture.weight_init)
        options: dict[str, Any] = {
            "convolves": self.convolves,
            "use_bias": architecture.transformer_attn_bias,
            "dtype": self.dtype,
        }
        self.qkv = make_map(3 * self.width, self.in_channels, start, **options)
        self.rel_pos = self._make_relative_positions()
        self.attn_drop = Dropout(architecture.transformer_attn_drop)
        self.proj = make_map(self.out_channels, self.width, start, **options)
        self.proj_drop = Dropout(architecture.transformer_proj_drop)

    def _make_relative_positions(self) -> RelativePositionBias | RelativePositionBiasTf | RelativePositionMlp:
        architecture = self.architecture
        heads = self.width // architecture.transformer_dim_head
        if architecture.transformer_rel_pos_type == "bias":
            return RelativePositionBias(self.window, heads)
        if architecture.transformer_rel_pos_type == "bias_tf":
            return RelativePositionBiasTf(self.window, heads)
        start = transformer_start(architecture.weight_init, perceptron=True)
        hidden = architecture.transformer_rel_pos_dim
        return RelativePositionMlp(self.window, heads, hidden, start.kernel, start.bias)

    def biases(self, train: bool) -> Bias:
        """Of the scores, float32."""
        if isinstance(self.rel_pos, RelativePositionMlp):
            return self.rel_pos(train)
        return self.rel_pos()

    def __call__(self, inputs: Cells, train: bool) -> Float[Array, "*cells out_channels"]:
        """Mixes the cells of each image or window; inputs are [batch, ..., channels]."""
        head_first, head_width = self.convolves, self.architecture.transformer_dim_head
        projected = self.qkv(inputs)
        batch, heads = projected.shape[0], self.width // head_width
        if head_first or self.architecture.transformer_head_first:
            parts, axis = projected.reshape(batch, -1, heads, 3, head_width), 3
        else:
            parts, axis = projected.reshape(batch, -1, 3, heads, head_width), 2
        query, key, value = (parts.take(part, axis) for part in range(3))
        bias, thin = self.biases(train)[None], thinning(self.attn_drop, train)
        mixed = attend(query, key, value, thin, bias=bias).reshape(*inputs.shape[:-1], self.width)
        return self.proj_drop(self.proj(mixed), train)


def make_map_norm(architecture: MaxxVit, dtype: Any) -> BatchNorm | LayerNorm:
    """A norm of a `T` and before the head."""
    epsilon = architecture.transformer_norm_eps
    if architecture.transformer_norm_layer == "batchnorm2d":
        return BatchNorm(epsilon, dtype=dtype)
    return LayerNorm(epsilon)


class NormAndPool(nn.Module):
    """A norm `norm`, then the pool of a `T`."""

    architecture: MaxxVit
    channels: int
    dtype: Any = jnp.float32

    def setup(self):
        """The norm and the pool, which leaves the channels as they are."""
        pool_type, start = self.architecture.transformer_pool_type, TORCH
        self.norm = make_map_norm(self.architecture, self.dtype)
        self.down = Downsample(self.channels, self.channels, pool_type, True, start, self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """The smaller map."""
        return run([self.norm, self.down], inputs, train)


class AttentionBlock(nn.Module):
    """What attention blocks share: the residual branches around what mixes the cells."""

    architecture: MaxxVit
    place: Place
    dtype: Any = jnp.float32

    def make_attention(self, in_channels: int, out_channels: int, window: Pair, convolves: bool):
        """Attention over a map or window."""
        width = attention_width(self.architecture, self.place)
        return RelativeAttention(
            self.architecture, in_channels, width, out_channels, window, convolves, self.dtype
        )

    def make_branches(self, convolves: bool, norm: nn.Module):
        """The parts after the attention, names as in timm."""
        architecture, channels = self.architecture, self.place.out_channels
        scale, rate = architecture.transformer_init_values, self.place.drop_path
        self.ls1, self.ls2 = make_scale(scale, self.dtype), make_scale(scale, self.dtype)
        self.drop_path1, self.drop_path2 = DropPath(rate), DropPath(rate)
        self.norm2 = norm
        self.mlp = Perceptron(
            channels,
            int(channels * architecture.transformer_expand_ratio),
            architecture.transformer_act_layer,
            convolves,
            transformer_start(architecture.weight_init, perceptron=True),
            dropout=architecture.transformer_proj_drop,
            dtype=self.dtype,
        )

    def add_branches(self, shortcut: FeatureMap, mixed: FeatureMap, train: bool) -> FeatureMap:
        """The answer of the attention and that of the perceptron, added in turn."""
        features = shortcut + self.drop_path1(self.ls1(mixed), train)
        refined = self.mlp(run([self.norm2], features, train), train)
        return features + self.drop_path2(self.ls2(refined), train)


class TransformerBlock(AttentionBlock):
    """Attention among all cells of a map; may halve the map and widen it."""

    def setup(self):
        """Names as in timm."""
        architecture, place = self.architecture, self.place
        entering, leaving = place.in_channels, place.out_channels
        if place.stride > 1:
            start, bias = transformer_start(architecture.weight_init), architecture.transformer_shortcut_bias
            pool_type = architecture.transformer_pool_type
            self.shortcut = Downsample(entering, leaving, pool_type, bias, start, self.dtype)
            self.norm1 = NormAndPool(architecture, entering, self.dtype)
        else:
            self.shortcut = identity
            self.norm1 = make_map_norm(architecture, self.dtype)
        self.attn = self.make_attention(entering, leaving, place.size, True)
        self.make_branches(True, make_map_norm(architecture, self.dtype))

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Mixes the cells."""
        if isinstance(self.norm1, NormAndPool):
            normalized = self.norm1(inputs, train)
        else:
            normalized = run([self.norm1], inputs, train)
        return self.add_branches(self.shortcut(inputs), self.attn(normalized, train), train)


class PartitionAttention(AttentionBlock):
    """Attention within windows, or over a grid."""

    over_grid: bool = False

    def setup(self):
        """Names as in timm."""
        channels, epsilon = self.place.out_channels, self.architecture.transformer_norm_eps
        window = self.place.grid if self.over_grid else self.place.window
        self.norm1 = LayerNorm(epsilon)
        self.attn = self.make_attention(channels, channels, window, False)
        self.make_branches(False, LayerNorm(epsilon))

    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Mixes the cells of each part."""
        mixed = attend_in_parts(self.attn, self.norm1(inputs), self.over_grid, train)
        return self.add_branches(inputs, mixed, train)


def attend_in_parts(
    attention: RelativeAttention, features: FeatureMap, over_grid: bool, train: bool
) -> NewMap:
    """Lets the cells of each window, or of each part of a grid, attend to one another."""
    cut, join = (cut_grid, join_grid) if over_grid else (cut_windows, join_windows)
    mixed = attention(cut(features, attention.window), train)
    _, height, width, _ = features.shape
    return join(mixed, attention.window, (height, width))


class ParallelPartitionAttention(AttentionBlock):
    """Attention within windows and over a grid at once, each of which gives half of the channels."""

    def setup(self):
        """Names as in timm."""
        channels, epsilon = self.place.out_channels, self.architecture.transformer_norm_eps
        self.norm1 = LayerNorm(epsilon)
        self.attn_block = self.make_attention(channels, channels // 2, self.place.window, False)
        self.attn_grid = self.make_attention(channels, channels // 2, self.place.grid, False)
        self.make_branches(False, LayerNorm(epsilon))

    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Mixes the cells of each part."""
        normalized = self.norm1(inputs)
        halves = [
            attend_in_parts(attention, normalized, over_grid, train)
            for attention, over_grid in ((self.attn_block, False), (self.attn_grid, True))
        ]
        return self.add_branches(inputs, jnp.concatenate(halves, -1), train)


class MaxVitBlock(nn.Module):
    """A convolutional block, then attention within windows, where it is asked for, then over a grid."""

    architecture: MaxxVit
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        arguments = (self.architecture, self.place, self.dtype)
        self.conv = CONV_BLOCKS[self.architecture.conv_block_type](*arguments)
        if not self.architecture.transformer_no_block_attn:
            self.attn_block = PartitionAttention(*arguments)
        self.attn_grid = PartitionAttention(*arguments, over_grid=True)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and mixes."""
        features = self.conv(inputs, train)
        if not self.architecture.transformer_no_block_attn:
            features = self.attn_block(features, train)
        return self.attn_grid(features, train)


class ParallelMaxVitBlock(nn.Module):
    """Two convolutional blocks, then attention within windows and over a grid at once."""

    architecture: MaxxVit
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        place, kind = self.place, CONV_BLOCKS[self.architecture.conv_block_type]
        second = dataclasses.replace(place, in_channels=place.out_channels, stride=1)
        self.conv = [kind(self.architecture, part, self.dtype) for part in (place, second)]
        self.attn = ParallelPartitionAttention(self.architecture, place, self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """Convolves and mixes."""
        features = inputs
        for part in [*self.conv, self.attn]:
            features = part(features, train)
        return features


def block_type(architecture: MaxxVit, place: Place) -> type[nn.Module]:
    """The kind of block that stands at a place."""
    attending = {"T": TransformerBlock, "M": MaxVitBlock, "PM": ParallelMaxVitBlock}
    return attending.get(place.kind, CONV_BLOCKS[architecture.conv_block_type])
