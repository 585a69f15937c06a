"""Low-rank changes of kernels: `kernel + alpha / rank · down · up`, whose two narrow factors are trained.

The factors of `blocks_3/attn/qkv/kernel` lie beside it, as `blocks_3/attn/qkv/lora_down` and `…/lora_up`. All
axes of a kernel but the last count as its input, so a 1x1 convolution is a linear map.

References:
    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv:2106.09685), section 4.1.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Key

from sketch_jax.trees import Tree, flatten, own_dimensions, unflatten

DOWN, UP = "lora_down", "lora_up"


def create_factors(
    kernels: Mapping[str, Any], rank: int, key: Key[Array, ""]
) -> dict[str, Float[Array, "*axes in out"]]:
    """New factors by path: `down` uniform as torch's linear maps are, `up` zero, so that nothing changes yet.

    Args:
        kernels: arrays or shapes by path; of stacked blocks they have one axis more, as the factors do.
        rank: width of the factors.
        key: of the random numbers; each kernel has a stream of its own, named by its path.
    """
    factors: dict[str, Array] = {}
    for path, kernel in kernels.items():
        stacked, inputs, outputs = _shape(path, kernel)
        bound = 1.0 / math.sqrt(inputs)
        own = jax.random.fold_in(key, zlib.crc32(path.encode()))
        down = jax.random.uniform(own, (*stacked, inputs, rank), jnp.float32, -bound, bound)
        factors[_beside(path, DOWN)] = down
        factors[_beside(path, UP)] = jnp.zeros((*stacked, rank, outputs), jnp.float32)
    return factors


def merge_factors(params: Mapping[str, Any], alpha: float) -> Tree:
    """The parameters with all factors multiplied and added to their kernels.

    Args:
        params: with factors beside kernels.
        alpha: the product is multiplied by this over its rank.
    """
    leaves = flatten(params)
    downs = [path for path in leaves if path.endswith(f"/{DOWN}")]
    for place in (path.removesuffix(DOWN) for path in downs):
        down, up, kernel = leaves.pop(f"{place}{DOWN}"), leaves.pop(f"{place}{UP}"), leaves[f"{place}kernel"]
        change = (alpha / down.shape[-1]) * (down @ up)
        leaves[f"{place}kernel"] = kernel.astype(jnp.float32) + change.reshape(kernel.shape)
    return unflatten(leaves)


def factor_paths(kernels: Iterable[str]) -> frozenset[str]:
    """Where the factors of kernels lie."""
    return frozenset(_beside(path, name) for path in kernels for name in (DOWN, UP))


def _beside(path: str, name: str) -> str:
    return f"{path.removesuffix('kernel')}{name}"


def _shape(path: str, kernel: Any) -> tuple[tuple[int, ...], int, int]:
    """The axis of stacked blocks, the input's width and the output's."""
    own = own_dimensions(path, kernel)
    stacked = kernel.shape[: kernel.ndim - own]
    return stacked, math.prod(kernel.shape[kernel.ndim - own : -1]), kernel.shape[-1]
