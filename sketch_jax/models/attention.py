"""Attention: the plain function, and the modules of vision transformers that use it."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import identity
from sketch_jax.models.half_precision import add_to_channels
from sketch_jax.models.layers import NORMAL, Dropout, Initializer, Linear, Mlp, Norm, RmsNorm

Tokens = Float[Array, "batch tokens embedding"]
KeptTokens = Float[Array, "batch kept_tokens kept_embedding"]
"""The tokens that go on after a block: all, or so many from the first."""
Heads = Float[Array, "batch tokens heads head_width"]
KeptHeads = Float[Array, "batch kept_tokens kept_heads kept_head_width"]
Thin = Callable[[Array], Array]
"""Dropout of attention weights."""

AMPERE = 8
"""Compute capability from which cuDNN has flash attention."""
WIDEST_HEAD = 128
"""Channels of a head up to which cuDNN's flash attention trains on every such GPU."""
HEAD_MULTIPLE = 8
"""Of channels of a head that cuDNN's flash attention takes."""


def flash_attention_runs(dtype: Any, head_width: int) -> bool:
    """Whether cuDNN's flash attention can take over on this machine.

    Args:
        dtype: of the computation.
        head_width: channels of a head.
    """
    if jax.default_backend() != "gpu" or dtype not in (jnp.bfloat16, jnp.float16):
        return False
    major = str(getattr(jax.devices()[0], "compute_capability", "")).partition(".")[0]
    return major.isdecimal() and int(major) >= AMPERE and head_width <= WIDEST_HEAD


def attend(
    query: Float[Array, "batch asking heads head_width"],
    key: Float[Array, "batch asked heads head_width"],
    value: Float[Array, "batch asked heads value_width"],
    thin: Thin | None = None,
    *,
    bias: Float[Array, "kinds heads asking asked"] | None = None,
    scale: float | None = None,
) -> Float[Array, "batch asking heads value_width"]:
    """Scaled dot-product attention; the softmax is float32.

    Args:
        query: of the tokens that ask.
        key: of the tokens that are asked.
        value: what is averaged.
        thin: dropout of the attention weights; None: none, which is what flash attention needs.
        bias: added to the scores, float32; where windows have biases of their own, there are several, which
            the batch repeats in turn.
        scale: of the scores; None: head_width**-0.5.
    """
    alike = query.shape == key.shape and query.shape[:-1] == value.shape[:-1]
    widest = max(query.shape[-1], value.shape[-1])
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    if thin is None and bias is None and alike and flash_attention_runs(query.dtype, widest):
        evened = [widen_heads(part, widest + -widest % HEAD_MULTIPLE) for part in (query, key, value)]
        widened: Any = attend_in_pieces(*evened, factor, "cudnn")
        return widened[..., : value.shape[-1]]
    if jax.default_backend() == "cpu":
        return _attend_on_cpu(query * factor, key, value, thin, bias)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query * factor, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(_biased(scores, bias), axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights if thin is None else thin(weights), value)


def widen_heads(heads: Heads, width: int) -> Float[Array, "batch tokens heads wider"]:
    """Heads with channels of zeros up to a width: they change neither scores nor the other channels."""
    return jnp.pad(heads, ((0, 0), (0, 0), (0, 0), (0, width - heads.shape[-1])))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def attend_in_pieces(
    query: Heads, key: Heads, value: Heads, scale: float, implementation: Literal["cudnn", "xla"]
) -> Heads:
    """Flash attention by `jax.nn.dot_product_attention`: cuDNN's never holds all scores.

    JAX refuses to differentiate cuDNN's for an odd number of tokens, which most vision transformers have. So
    where gradients are wanted there is one more then, which no other is shown.

    Args:
        query: of each token.
        key: of each token.
        value: of each token.
        scale: of the scores.
        implementation: of `jax.nn.dot_product_attention`; "xla" gives the same where there is no cuDNN.
    """
    return jax.nn.dot_product_attention(query, key, value, scale=scale, implementation=implementation)


def _attend_in_pieces_forward(
    query: Heads, key: Heads, value: Heads, scale: float, implementation: Literal["cudnn", "xla"]
) -> tuple[Heads, Any]:
    batch, tokens = query.shape[:2]
    odd = tokens % 2
    lengths = jnp.full(batch, tokens, jnp.int32) if odd else None

    def attend_evened(*parts: Heads) -> Heads:
        evened = [jnp.pad(part, ((0, 0), (0, odd), (0, 0), (0, 0))) for part in parts]
        heads = jax.nn.dot_product_attention(
            *evened, scale=scale, key_value_seq_lengths=lengths, implementation=implementation
        )
        return heads[:, :tokens]

    return jax.vjp(attend_evened, query, key, value)


def _attend_in_pieces_backward(scale: float, implementation: str, pull: Any, cotangent: Heads) -> Any:
    del scale, implementation
    return pull(cotangent)


attend_in_pieces.defvjp(_attend_in_pieces_forward, _attend_in_pieces_backward)


def _biased(scores: Array, bias: Array | None) -> Array:
    return scores if bias is None else (scores.reshape(-1, *bias.shape) + bias[None]).reshape(scores.shape)


def _attend_on_cpu(
    query: Array, key: Array, value: Array, thin: Thin | None, bias: Array | None
) -> Float[Array, "batch asking heads value_width"]:
    """The same with each head in one piece, and weights that sum to one only after the product.

    XLA's products on the CPU read heads that lie apart more slowly; dividing the few results instead of the
    many weights saves passes over these (docs/log.md).
    """
    by_head, columns, values = query.swapaxes(1, 2), key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
    single = {"preferred_element_type": jnp.float32}
    scores = _biased(jnp.einsum("bhqd,bhdk->bhqk", by_head, columns, **single), bias)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    thinned = weights.astype(value.dtype) if thin is None else thin(weights.astype(value.dtype))
    sums = jnp.einsum("bhqk,bhkd->bhqd", thinned, values, **single)
    return (sums / weights.sum(axis=-1, keepdims=True)).astype(value.dtype).swapaxes(1, 2)


def split_heads(tokens: Tokens, heads: int) -> Heads:
    """The channels of each token as heads."""
    return tokens.reshape(*tokens.shape[:2], heads, -1)


def merge_heads(heads: Heads) -> Tokens:
    """The inverse of `split_heads`."""
    return heads.reshape(*heads.shape[:2], -1)


def thinning(dropout: Dropout, train: bool) -> Thin | None:
    """Dropout as `attend` takes it: None where it would do nothing."""
    return (lambda weights: dropout(weights, True)) if train and dropout.thins else None


def optional_norm(norm: Norm | None) -> Callable[[Array], Array]:
    """A norm with parameters of its own, or the identity."""
    return identity if norm is None else norm.create()


def create_query_value_bias(module: nn.Module, width: int) -> Float[Array, " queries_keys_values"]:
    """Makes, in a module, the parameters `q_bias` and `v_bias`; returns them with zeros for keys between.

    Args:
        module: what the parameters belong to.
        width: channels of the queries, and of the values.
    """
    zeros = nn.initializers.zeros
    query, value = (module.param(name, zeros, (width,), jnp.float32) for name in ("q_bias", "v_bias"))
    return jnp.concatenate([query, jnp.zeros_like(query), value])


def add_bias(projected: Tokens, bias: Float[Array, " embedding"] | None) -> Tokens:
    """Adds a bias to every token, in the type of the tokens; None: the tokens stay as they are."""
    return projected if bias is None else add_to_channels(projected, bias)


def project_kept(
    linear: Linear,
    tokens: Tokens,
    kept: int | None,
    width: int,
    bias: Float[Array, " projected"] | None = None,
) -> tuple[KeptTokens, Float[Array, "batch tokens others"]]:
    """The first features of the tokens that go on, and the other features of all tokens.

    Args:
        linear: the projection to all features.
        tokens: of each image.
        kept: how many tokens go on, from the first; None: all, by one product.
        width: how many features are the first.
        bias: of all features, beside that of the projection.
    """
    if kept is None:
        first, others = jnp.split(add_bias(linear(tokens), bias), (width,), axis=-1)
        return first, others
    parts = (tokens[:, :kept], slice(None, width)), (tokens, slice(width, None))
    first, others = (
        add_bias(linear(part, columns), None if bias is None else bias[columns]) for part, columns in parts
    )
    return first, others


def create_lambdas(module: nn.Module, head_width: int) -> dict[str, Array]:
    """Makes, in a module, the parameters from which `attend_differentially` has its factor."""
    init = nn.initializers.normal(0.1)
    names = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
    return {name: module.param(name, init, (head_width,), jnp.float32) for name in names}


def attend_differentially(
    query: Float[Array, "batch asking twice_heads head_width"],
    key: Float[Array, "batch asked twice_heads head_width"],
    value: Float[Array, "batch asked heads value_width"],
    *,
    lambdas: Mapping[str, Float[Array, " head_width"]],
    depth: int,
    sub_norm: RmsNorm,
    thin: Thin | None = None,
) -> Float[Array, "batch asking heads value_width"]:
    """The difference of two attentions: each head has two queries and two keys, and one value.

    Args:
        query: of the tokens that ask; the two of a head lie side by side.
        key: as `query`.
        value: what is averaged.
        lambdas: parameters, from `create_lambdas`.
        depth: index of the block, from 0.
        sub_norm: of each head's answer.
        thin: dropout of the attention weights; None: none.

    References:
        Differential Transformer (arXiv:2410.05258).
    """
    initial = 0.8 - 0.6 * math.exp(-0.3 * depth)
    first, second = ((lambdas[f"lambda_q{part}"] * lambdas[f"lambda_k{part}"]).sum() for part in (1, 2))
    factor = jnp.exp(first) - jnp.exp(second) + initial
    kept, taken = (attend(query[:, :, part::2], key[:, :, part::2], value, thin) for part in (0, 1))
    return sub_norm(kept - factor.astype(value.dtype) * taken) * (1.0 - initial)


class Attention(nn.Module):
    """Self-attention with one projection to queries, keys and values.

    References:
        timm/layers/attention.py.
    """

    width: int
    num_heads: int
    qkv_bias: bool = False
    qk_norm: Norm | None = None
    """Of the queries and keys of each head."""
    scale_norm: Norm | None = None
    """Of what attention gives, before its projection."""
    proj_bias: bool = True
    attention_dropout: float = 0.0
    dropout: float = 0.0
    depth: int = 0
    """Index of the block, from 0; differential attention starts by it."""
    dtype: Any = jnp.float32
    kernel_init: Initializer = NORMAL

    def setup(self):
        """Projections and norms."""
        self.qkv = Linear(3 * self.width, self.qkv_bias, self.kernel_init, dtype=self.dtype)
        self.q_norm = optional_norm(self.qk_norm)
        self.k_norm = optional_norm(self.qk_norm)
        self.attn_drop = Dropout(self.attention_dropout)
        self.norm = optional_norm(self.scale_norm)
        self.proj = Linear(self.width, self.proj_bias, self.kernel_init, dtype=self.dtype)
        self.proj_drop = Dropout(self.dropout)

    def attend(self, query: KeptTokens, key: Tokens, value: Tokens, train: bool) -> KeptHeads:
        """What each query takes from all tokens, by heads."""
        heads, thin = self.num_heads, thinning(self.attn_drop, train)
        query_heads, key_heads = self.q_norm(split_heads(query, heads)), self.k_norm(split_heads(key, heads))
        return attend(query_heads, key_heads, split_heads(value, heads), thin)

    def __call__(self, tokens: Tokens, train: bool, kept: int | None = None) -> KeptTokens:
        """What the first `kept` tokens of each image, or all, take from all its tokens."""
        query, others = project_kept(self.qkv, tokens, kept, self.width)
        key, value = jnp.split(others, 2, axis=-1)
        mixed = self.norm(merge_heads(self.attend(query, key, value, train)))
        return self.proj_drop(self.proj(mixed), train)


class DifferentialAttention(Attention):
    """Self-attention by the difference of two attentions.

    References:
        timm/layers/diff_attention.py.
    """

    def setup(self):
        """The parts of attention, the factor and the norm of each head."""
        super().setup()
        self.lambdas = create_lambdas(self, self.width // self.num_heads // 2)
        self.sub_norm = RmsNorm(epsilon=1e-5)

    def attend(self, query: KeptTokens, key: Tokens, value: Tokens, train: bool) -> KeptHeads:
        """What each query takes from all tokens, by heads."""
        twice = 2 * self.num_heads
        return attend_differentially(
            self.q_norm(split_heads(query, twice)),
            self.k_norm(split_heads(key, twice)),
            split_heads(value, self.num_heads),
            lambdas=self.lambdas,
            depth=self.depth,
            sub_norm=self.sub_norm,
            thin=thinning(self.attn_drop, train),
        )


ATTENTIONS: dict[str, type[Attention]] = {"": Attention, "attn": Attention, "diff": DifferentialAttention}
"""Attentions by timm's names."""


class AttentionPoolLatent(nn.Module):
    """Pools tokens by one learnt query, then refines the answer by a perceptron.

    References:
        timm/layers/attention_pool.py.
    """

    width: int
    num_heads: int
    mlp_ratio: float
    norm_layer: Norm
    act_layer: str
    dtype: Any = jnp.float32

    def setup(self):
        """The query, projections and the perceptron."""
        deviation = self.width**-0.5
        init = nn.initializers.truncated_normal(deviation)
        self.latent = self.param("latent", init, (1, 1, self.width), jnp.float32)
        self.q = Linear(self.width, dtype=self.dtype)
        self.kv = Linear(2 * self.width, dtype=self.dtype)
        self.proj = Linear(self.width, dtype=self.dtype)
        self.norm = self.norm_layer.create()
        hidden = int(self.width * self.mlp_ratio)
        self.mlp = Mlp(hidden, self.width, self.act_layer, dtype=self.dtype)

    def __call__(self, tokens: Tokens) -> Float[Array, "batch embedding"]:
        """The pooled features of each image."""
        query = split_heads(self.q(self.latent.astype(self.dtype)), self.num_heads)
        query = jnp.broadcast_to(query, (tokens.shape[0], *query.shape[1:]))
        key, value = (split_heads(part, self.num_heads) for part in jnp.split(self.kv(tokens), 2, axis=-1))
        pooled = self.proj(merge_heads(attend(query, key, value)))
        return (pooled + self.mlp(self.norm(pooled), False))[:, 0]


def refine(tokens: Tokens, num_heads: int) -> Tokens:
    """Lets tokens attend to one another without any parameter.

    References:
        Locality-Attending Vision Transformer; timm/layers/attention_pool.py, `AttentionPoolPrr`.
    """
    heads = split_heads(tokens, num_heads)
    return merge_heads(attend(heads, heads, heads))
