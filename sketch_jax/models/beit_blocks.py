"""The blocks of BEiT, parameters named as in timm.

References:
    timm/models/beit.py.
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
    project_kept,
    split_heads,
    thinning,
)
from sketch_jax.models.beit_table import Beit
from sketch_jax.models.half_precision import scale_channels
from sketch_jax.models.layers import (
    Dropout,
    DropPath,
    Linear,
    Mlp,
    SwiGlu,
    last_kernel_init,
)
from sketch_jax.models.relative_positions import Bias, create_bias_table, look_up_bias
from sketch_jax.models.windows import Pair


def grid_size(architecture: Beit) -> Pair:
    """Patches in a column and in a row."""
    count = architecture.img_size // architecture.patch_size
    return count, count


class BiasedAttention(nn.Module):
    """Self-attention with biases for the distances of patches, its own, shared ones or both; no key bias."""

    architecture: Beit
    depth: int
    """Index of the block, from 0."""
    dtype: Any = jnp.float32

    def setup(self):
        """Projections, biases."""
        architecture, width = self.architecture, self.architecture.embed_dim
        self.qkv = Linear(3 * width, use_bias=False, dtype=self.dtype)
        self.bias = create_query_value_bias(self, width) if architecture.qkv_bias else None
        if architecture.use_rel_pos_bias:
            heads, zeros = architecture.num_heads, nn.initializers.zeros
            self.table = create_bias_table(self, grid_size(architecture), heads, True, zeros)
        self.attn_drop = Dropout(architecture.attn_drop_rate)
        self.proj = Linear(width, kernel_init=last_kernel_init(self.depth), dtype=self.dtype)
        self.proj_drop = Dropout(architecture.proj_drop_rate)

    def position_bias(self, shared: Bias | None) -> Bias | None:
        """The sum of shared biases and those of this block; None: there are none."""
        if not self.architecture.use_rel_pos_bias:
            return shared
        own = look_up_bias(self.table, grid_size(self.architecture), True)
        return own if shared is None else own + shared

    def __call__(
        self, tokens: Tokens, shared: Bias | None, train: bool, kept: int | None = None
    ) -> KeptTokens:
        """What the first `kept` tokens of each image, or all, take from all its tokens."""
        asking, others = project_kept(self.qkv, tokens, kept, self.architecture.embed_dim, self.bias)
        parts = asking, *jnp.split(others, 2, axis=-1)
        query, key, value = (split_heads(part, self.architecture.num_heads) for part in parts)
        bias = self.position_bias(shared)
        thin = thinning(self.attn_drop, train)
        mixed = attend(query, key, value, thin, bias=None if bias is None else bias[None, :, :kept])
        return self.proj_drop(self.proj(merge_heads(mixed)), train)


def create_mlp(architecture: Beit, depth: int, dtype: Any) -> Mlp:
    """The perceptron of a block, with gates or without."""
    hidden = int(architecture.embed_dim * architecture.mlp_ratio)
    options: dict[str, Any] = {
        "out_features": architecture.embed_dim,
        "norm_layer": architecture.norm_layer if architecture.scale_mlp else None,
        "dropout": architecture.proj_drop_rate,
        "last_init": last_kernel_init(depth),
        "dtype": dtype,
    }
    if not architecture.swiglu_mlp:
        return Mlp(hidden, **options)
    return SwiGlu(hidden, act_layer="silu", gates_start_open=False, **options)


class BeitBlock(nn.Module):
    """Attention, then a perceptron, each normalised before and perhaps scaled after."""

    architecture: Beit
    depth: int
    """Index of the block, from 0."""
    drop_path: float | Array
    """Probability that a residual branch is left out for an image; traced where blocks run as a loop."""
    dtype: Any = jnp.float32

    def setup(self):
        """Two branches."""
        norm = self.architecture.norm_layer
        self.norm1, self.norm2 = norm.create(), norm.create()
        self.attn = BiasedAttention(self.architecture, self.depth, self.dtype)
        self.mlp = create_mlp(self.architecture, self.depth, self.dtype)
        self.gamma_1, self.gamma_2 = self._create_gamma("gamma_1"), self._create_gamma("gamma_2")
        self.drop_path1, self.drop_path2 = DropPath(self.drop_path), DropPath(self.drop_path)

    def _create_gamma(self, name: str) -> Float[Array, " embedding"] | None:
        start, width = self.architecture.init_values, self.architecture.embed_dim
        return self.param(name, nn.initializers.constant(start), (width,), jnp.float32) if start else None

    def __call__(
        self, tokens: Tokens, shared: Bias | None, train: bool, kept: int | None = None
    ) -> KeptTokens:
        """Adds both branches in turn; to the first `kept` tokens alone, where a number is given."""
        mixed = self._scale(self.attn(self.norm1(tokens), shared, train, kept), self.gamma_1)
        tokens = tokens[:, :kept] + self.drop_path1(mixed, train)
        refined = self._scale(self.mlp(self.norm2(tokens), train), self.gamma_2)
        return tokens + self.drop_path2(refined, train)

    def _scale(self, branch: Tokens, gamma: Array | None) -> Tokens:
        return branch if gamma is None else scale_channels(branch, gamma)
