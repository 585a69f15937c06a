"""The blocks of vision transformers, parameters named as in timm.

References:
    timm/models/vision_transformer.py.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, identity
from sketch_jax.models.attention import (
    ATTENTIONS,
    Attention,
    KeptHeads,
    KeptTokens,
    Tokens,
    attend,
    attend_differentially,
    create_lambdas,
    merge_heads,
    optional_norm,
    project_kept,
    split_heads,
    thinning,
)
from sketch_jax.models.half_precision import add_to_channels
from sketch_jax.models.layers import (
    MLPS,
    NORMS,
    Dropout,
    DropPath,
    Initializer,
    LayerNorm,
    LayerScale,
    Linear,
    Mlp,
    Norm,
    RmsNorm,
)
from sketch_jax.models.vision_transformer_record import VisionTransformer


def find_norm(layer: Norm | str) -> Norm:
    """A norm of a record, where it may stand by its name."""
    return NORMS[layer] if isinstance(layer, str) else layer


def hidden_width(architecture: VisionTransformer) -> int:
    """Channels inside a perceptron."""
    return int(architecture.embed_dim * architecture.mlp_ratio)


class BaseBlock(nn.Module):
    """What all kinds of block are made of; called for the first `kept` tokens, they answer for no others."""

    architecture: VisionTransformer
    depth: int
    """Index of the block, from 0."""
    drop_path: float | jax.Array
    """Probability that a residual branch is left out for an image; traced where blocks run as a loop."""
    dtype: Any = jnp.float32

    def make_norm(self, scale_init: Initializer = nn.initializers.ones) -> LayerNorm | RmsNorm:
        """A norm of the tokens."""
        return find_norm(self.architecture.norm_layer).create(scale_init)

    def make_attention(self) -> Attention:
        """An attention with its projections."""
        architecture = self.architecture
        norm = find_norm(architecture.norm_layer)
        return ATTENTIONS[architecture.attn_layer](
            architecture.embed_dim,
            architecture.num_heads,
            qkv_bias=architecture.qkv_bias,
            qk_norm=norm if architecture.qk_norm else None,
            scale_norm=norm if architecture.scale_attn_norm else None,
            proj_bias=architecture.proj_bias,
            attention_dropout=architecture.attn_drop_rate,
            dropout=architecture.proj_drop_rate,
            depth=self.depth,
            dtype=self.dtype,
        )

    def make_mlp(self) -> Mlp:
        """A perceptron."""
        architecture = self.architecture
        return MLPS[architecture.mlp_layer](
            hidden_width(architecture),
            architecture.embed_dim,
            act_layer=architecture.act_layer,
            norm_layer=find_norm(architecture.norm_layer) if architecture.scale_mlp_norm else None,
            use_bias=architecture.proj_bias,
            dropout=architecture.proj_drop_rate,
            dtype=self.dtype,
        )

    def make_layer_scale(self) -> Callable[[jax.Array], jax.Array]:
        """A layer scale, or the identity where the architecture has none."""
        start = self.architecture.init_values
        return LayerScale(start, dtype=self.dtype) if start else identity


class Block(BaseBlock):
    """Attention, then a perceptron, each on normalised tokens."""

    def setup(self):
        """Two branches."""
        self.norm1 = self.make_norm()
        self.attn = self.make_attention()
        self.ls1 = self.make_layer_scale()
        self.drop_path1 = DropPath(self.drop_path)
        self.norm2 = self.make_norm()
        self.mlp = self.make_mlp()
        self.ls2 = self.make_layer_scale()
        self.drop_path2 = DropPath(self.drop_path)

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """Adds both branches in turn."""
        mixed = self.ls1(self.attn(self.norm1(tokens), train, kept))
        tokens = tokens[:, :kept] + self.drop_path1(mixed, train)
        return tokens + self.drop_path2(self.ls2(self.mlp(self.norm2(tokens), train)), train)


class ResPostBlock(BaseBlock):
    """Attention, then a perceptron; the answer of each is normalised."""

    def setup(self):
        """Two branches, whose norms start at the value of layer scales."""
        start = self.architecture.init_values
        scale_init = nn.initializers.ones if start is None else nn.initializers.constant(start)
        self.attn = self.make_attention()
        self.norm1 = self.make_norm(scale_init)
        self.drop_path1 = DropPath(self.drop_path)
        self.mlp = self.make_mlp()
        self.norm2 = self.make_norm(scale_init)
        self.drop_path2 = DropPath(self.drop_path)

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """Adds both branches in turn."""
        mixed = self.norm1(self.attn(tokens, train, kept))
        tokens = tokens[:, :kept] + self.drop_path1(mixed, train)
        return tokens + self.drop_path2(self.norm2(self.mlp(tokens, train)), train)


class ParallelScalingBlock(BaseBlock):
    """Attention and a perceptron side by side, on one projection of the normalised tokens.

    References:
        Scaling Vision Transformers to 22 Billion Parameters (arXiv:2302.05442).
    """

    fuse_out_proj: bool = False
    """Whether one projection joins the two answers, not one each."""

    def setup(self):
        """Projections and norms."""
        architecture = self.architecture
        width, hidden = architecture.embed_dim, hidden_width(architecture)
        head_norm = find_norm(architecture.norm_layer) if architecture.qk_norm else None
        self.in_norm = self.make_norm()
        self.in_proj = Linear(hidden + 3 * width, architecture.qkv_bias, dtype=self.dtype)
        if not architecture.qkv_bias:
            self.mlp_bias = self.param("mlp_bias", nn.initializers.zeros, (hidden,), jnp.float32)
        self.q_norm, self.k_norm = optional_norm(head_norm), optional_norm(head_norm)
        self.attn_drop = Dropout(architecture.attn_drop_rate)
        self.mlp_drop = Dropout(architecture.proj_drop_rate)
        if self.fuse_out_proj:
            self.out_proj = Linear(width, architecture.proj_bias, dtype=self.dtype)
        else:
            self.attn_out_proj = Linear(width, architecture.proj_bias, dtype=self.dtype)
            self.mlp_out_proj = Linear(width, architecture.proj_bias, dtype=self.dtype)
        self.ls = self.make_layer_scale()
        self.branch_drop = DropPath(self.drop_path)

    def attend(self, query: KeptTokens, key: Tokens, value: Tokens, train: bool) -> KeptHeads:
        """What each query takes from all tokens, by heads."""
        heads, thin = self.architecture.num_heads, thinning(self.attn_drop, train)
        query_heads, key_heads = self.q_norm(split_heads(query, heads)), self.k_norm(split_heads(key, heads))
        return attend(query_heads, key_heads, split_heads(value, heads), thin)

    def activate(self, hidden: Tokens, train: bool) -> Tokens:
        """The perceptron's hidden features."""
        if not self.architecture.qkv_bias:
            hidden = add_to_channels(hidden, self.mlp_bias)
        return self.mlp_drop(ACTIVATIONS[self.architecture.act_layer](hidden), train)

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """Adds both answers at once."""
        width, hidden_end = self.architecture.embed_dim, hidden_width(self.architecture)
        first, others = project_kept(self.in_proj, self.in_norm(tokens), kept, hidden_end + width)
        hidden, query = jnp.split(first, (hidden_end,), axis=-1)
        key, value = jnp.split(others, 2, axis=-1)
        mixed, hidden = merge_heads(self.attend(query, key, value, train)), self.activate(hidden, train)
        if self.fuse_out_proj:
            answer = self.out_proj(jnp.concatenate([mixed, hidden], axis=-1))
        else:
            answer = self.attn_out_proj(mixed) + self.mlp_out_proj(hidden)
        return tokens[:, :kept] + self.branch_drop(self.ls(answer), train)


class DiffParallelScalingBlock(ParallelScalingBlock):
    """Differential attention and a perceptron side by side."""

    fuse_out_proj: bool = True

    def setup(self):
        """The parts of the parallel block, the factor and the norm of each head."""
        super().setup()
        architecture = self.architecture
        self.lambdas = create_lambdas(self, architecture.embed_dim // architecture.num_heads // 2)
        self.sub_norm = RmsNorm(epsilon=1e-5)

    def attend(self, query: KeptTokens, key: Tokens, value: Tokens, train: bool) -> KeptHeads:
        """What each query takes from all tokens, by heads."""
        heads = self.architecture.num_heads
        return attend_differentially(
            self.q_norm(split_heads(query, 2 * heads)),
            self.k_norm(split_heads(key, 2 * heads)),
            split_heads(value, heads),
            lambdas=self.lambdas,
            depth=self.depth,
            sub_norm=self.sub_norm,
            thin=thinning(self.attn_drop, train),
        )


class Branch(BaseBlock):
    """One of several branches side by side: attention, or a perceptron, on normalised tokens."""

    part: str = "attn"
    """`attn` or `mlp`."""

    def setup(self):
        """The branch."""
        self.norm = self.make_norm()
        if self.part == "attn":
            self.attn = self.make_attention()
        else:
            self.mlp = self.make_mlp()
        self.ls = self.make_layer_scale()
        self.branch_drop = DropPath(self.drop_path)

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """What the branch adds."""
        if self.part == "attn":
            answer = self.attn(self.norm(tokens), train, kept)
        else:
            answer = self.mlp(self.norm(tokens[:, :kept]), train)
        return self.branch_drop(self.ls(answer), train)


class ParallelThingsBlock(BaseBlock):
    """Two attentions side by side, then two perceptrons side by side.

    References:
        Three things everyone should know about Vision Transformers (arXiv:2203.09795).
    """

    def setup(self):
        """Two branches of each kind."""
        settings = (self.architecture, self.depth, self.drop_path, self.dtype)
        self.attns = [Branch(*settings, part="attn") for _ in range(2)]
        self.ffns = [Branch(*settings, part="mlp") for _ in range(2)]

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """Adds the attentions, then the perceptrons."""
        first, second = (attention(tokens, train, kept) for attention in self.attns)
        tokens = tokens[:, :kept] + first + second
        return tokens + self.ffns[0](tokens, train) + self.ffns[1](tokens, train)


BLOCKS: dict[str, type[BaseBlock]] = {
    "Block": Block,
    "ResPostBlock": ResPostBlock,
    "ParallelScalingBlock": ParallelScalingBlock,
    "DiffParallelScalingBlock": DiffParallelScalingBlock,
    "ParallelThingsBlock": ParallelThingsBlock,
}
"""Blocks by timm's names."""
