"""The blocks of the EVA family, parameters named as in timm.

References:
    timm/models/eva.py; timm/layers/attention.py, `AttentionRope`.
"""

from typing import Any

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.attention import (
    KeptTokens,
    Tokens,
    attend,
    create_query_value_bias,
    merge_heads,
    optional_norm,
    project_kept,
    split_heads,
    thinning,
)
from sketch_jax.models.eva_record import Eva
from sketch_jax.models.half_precision import scale_channels
from sketch_jax.models.layers import (
    Dropout,
    DropPath,
    Linear,
    Mlp,
    PackedSwiGlu,
    SwiGlu,
    last_kernel_init,
)
from sketch_jax.models.rotary import Turns, first_turns, turn

Asked = Float[Array, "batch tokens asked"]
"""Keys or values of all tokens, as many channels as their heads have."""


def kv_heads(architecture: Eva, depth: int) -> int:
    """Heads of keys and values in a block."""
    stated = architecture.num_kv_heads
    heads = stated[depth] if isinstance(stated, tuple) else stated
    return heads or architecture.num_heads


def splits_bias(architecture: Eva) -> bool:
    """Whether queries and values have a bias each beside one projection of queries, keys and values."""
    return architecture.qkv_fused and architecture.qkv_bias and architecture.attn_type == "eva"


class RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are turned by their place; keys may go without a bias.

    Where fewer heads have keys and values of their own than ask, several ask the same.
    """

    architecture: Eva
    depth: int
    """Index of the block, from 0."""
    dtype: Any = jnp.float32

    def setup(self):
        """Projections, biases of their own, norms."""
        architecture = self.architecture
        width, bias = architecture.embed_dim, architecture.qkv_bias
        norm, key_bias = architecture.norm_layer, bias and architecture.attn_type == "rope"
        if architecture.qkv_fused:
            self.qkv = Linear(3 * width, key_bias, dtype=self.dtype)
            self.bias = create_query_value_bias(self, width) if splits_bias(architecture) else None
        else:
            asked = width // architecture.num_heads * kv_heads(architecture, self.depth)
            self.q_proj = Linear(width, bias, dtype=self.dtype)
            self.k_proj = Linear(asked, key_bias, dtype=self.dtype)
            self.v_proj = Linear(asked, bias, dtype=self.dtype)
        self.q_norm = optional_norm(norm if architecture.qk_norm else None)
        self.k_norm = optional_norm(norm if architecture.qk_norm else None)
        self.attn_drop = Dropout(architecture.attn_drop_rate)
        self.norm = optional_norm(norm if architecture.scale_attn_inner else None)
        self.proj = Linear(width, kernel_init=last_kernel_init(self.depth), dtype=self.dtype)
        self.proj_drop = Dropout(architecture.proj_drop_rate)

    def project(self, tokens: Tokens, kept: int | None) -> tuple[KeptTokens, Asked, Asked]:
        """Queries of the first `kept` tokens, or of all, and keys and values of all."""
        architecture = self.architecture
        if not architecture.qkv_fused:
            return self.q_proj(tokens[:, :kept]), self.k_proj(tokens), self.v_proj(tokens)
        query, others = project_kept(self.qkv, tokens, kept, architecture.embed_dim, self.bias)
        key, value = jnp.split(others, 2, axis=-1)
        return query, key, value

    def __call__(
        self, tokens: Tokens, turns: Turns | None, train: bool, kept: int | None = None
    ) -> KeptTokens:
        """What the first `kept` tokens of each image, or all, take from all its tokens."""
        architecture, (query, key, value) = self.architecture, self.project(tokens, kept)
        asking, asked = architecture.num_heads, kv_heads(architecture, self.depth)
        queries, keys = self.q_norm(split_heads(query, asking)), self.k_norm(split_heads(key, asked))
        if turns is not None:
            half = architecture.rope_rotate_half
            queries, keys = turn(queries, first_turns(turns, kept), half), turn(keys, turns, half)
        keys, values = (
            jnp.repeat(heads, asking // asked, 2) if asking > asked else heads
            for heads in (keys, split_heads(value, asked))
        )
        mixed = attend(queries, keys, values, thinning(self.attn_drop, train))
        return self.proj_drop(self.proj(self.norm(merge_heads(mixed))), train)


def create_mlp(architecture: Eva, depth: int, dtype: Any) -> Mlp:
    """The perceptron of a block, with gates or without."""
    hidden = int(architecture.embed_dim * architecture.mlp_ratio)
    aligned = 0 if architecture.use_post_norm and not architecture.scale_mlp else architecture.swiglu_align_to
    options: dict[str, Any] = {
        "out_features": architecture.embed_dim,
        "norm_layer": architecture.norm_layer if architecture.scale_mlp else None,
        "dropout": architecture.proj_drop_rate,
        "last_init": last_kernel_init(depth),
        "dtype": dtype,
    }
    if not architecture.swiglu_mlp:
        return Mlp(hidden, **options)
    gated = {**options, "act_layer": "silu", "gates_start_open": False}
    if architecture.scale_mlp or aligned:
        return SwiGlu(hidden + (-hidden % aligned if aligned else 0), **gated)
    return PackedSwiGlu(2 * hidden, **gated)


class EvaBlock(nn.Module):
    """Attention, then a perceptron; what enters each is normalised, or its answer."""

    architecture: Eva
    depth: int
    """Index of the block, from 0."""
    drop_path: float | Array
    """Probability that a residual branch is left out for an image; traced where blocks run as a loop."""
    dtype: Any = jnp.float32

    def setup(self):
        """Two branches."""
        architecture = self.architecture
        start = None if architecture.use_post_norm else architecture.init_values
        self.norm1, self.norm2 = (optional_norm(architecture.norm_layer) for _ in range(2))
        self.attn = RotaryAttention(architecture, self.depth, self.dtype)
        self.mlp = create_mlp(architecture, self.depth, self.dtype)
        self.gamma_1 = self._create_gamma("gamma_1", start)
        self.gamma_2 = self._create_gamma("gamma_2", None if architecture.attn_only_layer_scale else start)
        self.drop_path1, self.drop_path2 = DropPath(self.drop_path), DropPath(self.drop_path)

    def _create_gamma(self, name: str, start: float | None) -> Array | None:
        if start is None:
            return None
        init = nn.initializers.constant(start)
        return self.param(name, init, (self.architecture.embed_dim,), jnp.float32)

    def __call__(
        self, tokens: Tokens, turns: Turns | None, train: bool, kept: int | None = None
    ) -> KeptTokens:
        """Adds both branches in turn; to the first `kept` tokens alone, where a number is given."""
        if self.architecture.use_post_norm:
            mixed = self.norm1(self.attn(tokens, turns, train, kept))
            tokens = tokens[:, :kept] + self.drop_path1(mixed, train)
            return tokens + self.drop_path2(self.norm2(self.mlp(tokens, train)), train)
        mixed = self._scale(self.attn(self.norm1(tokens), turns, train, kept), self.gamma_1)
        tokens = tokens[:, :kept] + self.drop_path1(mixed, train)
        refined = self._scale(self.mlp(self.norm2(tokens), train), self.gamma_2)
        return tokens + self.drop_path2(refined, train)

    def _scale(self, branch: Tokens, gamma: Array | None) -> Tokens:
        return branch if gamma is None else scale_channels(branch, gamma)
