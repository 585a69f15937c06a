"""Swin Transformer V2: shifted windows, cosine attention, biases from distances by a small network.

References:
    Swin Transformer V2 (arXiv:2111.09883); timm/models/swin_transformer_v2.py.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Float

from sketch_jax.models.attention import (
    Heads,
    add_bias,
    attend,
    create_query_value_bias,
    merge_heads,
    split_heads,
    thinning,
)
from sketch_jax.models.layers import Dropout, Linear, Norm
from sketch_jax.models.model import Model, Request
from sketch_jax.models.pooling import NewMap
from sketch_jax.models.relative_positions import Bias, look_up_bias
from sketch_jax.models.shifted_windows import Mask, gather_squares
from sketch_jax.models.swin_network import SwinBlock, create_swin, filter_swin_checkpoint, fit_to_request
from sketch_jax.models.swin_record import Stage, pair
from sketch_jax.models.swin_transformer_v2_table import ARCHITECTURES, SwinTransformerV2
from sketch_jax.models.tokens import fit_embeddings
from sketch_jax.models.windows import Cells, FeatureMap, Pair

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "SwinTransformerV2", "create"]

IMAGE_SIZES = {name: record.img_size for name, record in ARCHITECTURES.items()}

LARGEST_SCALE = 100.0
"""Of the cosines, whatever is learnt."""
LARGEST_BIAS = 16.0
SHORTEST = 1e-12
"""Length below which a vector is not made longer."""
HIDDEN = 512
"""Channels of the network that makes biases from distances."""
LOG_BASE, FARTHEST = 8.0, 8.0
BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")


def log_distances(window: Pair, reference: Pair) -> Float[np.ndarray, "distances 2"]:
    """Distances down and right of two cells, the larger the denser; in the order of a bias table.

    Args:
        window: height and width in cells.
        reference: the window whose largest distances count as `FARTHEST`, before the logarithm.

    >>> log_distances((2, 1), (2, 1)).astype(float).round(3).tolist()
    [[-1.057, 0.0], [0.0, 0.0], [1.057, 0.0]]
    """
    axes = [
        np.arange(1 - side, side, dtype=np.float32) * np.float32(FARTHEST / max(own - 1, 1))
        for side, own in zip(window, reference, strict=True)
    ]
    distances = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    logarithms = np.log2(np.abs(distances) + 1.0) / math.log2(LOG_BASE)
    return np.asarray(np.sign(distances) * logarithms, np.float32)


def of_unit_length(heads: Heads) -> Heads:
    """Vectors divided by their length, float32; shorter ones than `SHORTEST` by that."""
    wide = heads.astype(jnp.float32)
    squares = (wide * wide).sum(-1, keepdims=True)
    return wide * lax.rsqrt(jnp.maximum(squares, SHORTEST**2))


class CosineAttention(nn.Module):
    """Self-attention within windows by cosines; keys go without a bias."""

    architecture: SwinTransformerV2
    stage: Stage
    dtype: Any = jnp.float32

    def setup(self):
        """Projections, the scale of each head, the network that makes biases from distances."""
        architecture, width, heads = self.architecture, self.stage.width, self.stage.num_heads
        start = nn.initializers.constant(math.log(10.0))
        self.logit_scale = self.param("logit_scale", start, (heads, 1, 1), jnp.float32)
        self.cpb_mlp = [Linear(HIDDEN), jax.nn.relu, Linear(heads, use_bias=False)]
        self.qkv = Linear(3 * width, use_bias=False, dtype=self.dtype)
        self.bias = create_query_value_bias(self, width) if architecture.qkv_bias else None
        self.attn_drop = Dropout(architecture.attn_drop_rate)
        self.proj = Linear(width, dtype=self.dtype)
        self.proj_drop = Dropout(architecture.proj_drop_rate)

    def position_bias(self) -> Bias:
        """The bias of each pair of cells, from 0 to `LARGEST_BIAS`."""
        window = self.stage.window
        stated = pair(self.architecture.pretrained_window_sizes[self.stage.index])
        table: Any = jnp.asarray(log_distances(window, stated if stated[0] > 0 else window))
        for part in self.cpb_mlp:
            table = part(table)
        return look_up_bias(LARGEST_BIAS * jax.nn.sigmoid(table), window)

    def __call__(self, cells: Cells, mask: Mask | None, train: bool) -> Cells:
        """Mixes the cells of each window."""
        projected = add_bias(self.qkv(cells), self.bias)
        query, key, value = (split_heads(part, self.stage.num_heads) for part in jnp.split(projected, 3, -1))
        scale = jnp.exp(jnp.minimum(self.logit_scale, math.log(LARGEST_SCALE))).reshape(1, 1, -1, 1)
        bias = self.position_bias()[None]
        mixed = attend(
            (of_unit_length(query) * scale).astype(self.dtype),
            of_unit_length(key).astype(self.dtype),
            value,
            thinning(self.attn_drop, train),
            bias=bias if mask is None else bias + mask,
            scale=1.0,
        )
        return self.proj_drop(self.proj(merge_heads(mixed)), train)


class PostNormBlock(SwinBlock):
    """A block whose branches end with a norm, which starts at zero."""

    attention = CosineAttention
    norm_start = 0.0

    architecture: SwinTransformerV2

    def act_layer(self) -> str:
        """The perceptron's activation."""
        return self.architecture.act_layer

    def __call__(self, features: FeatureMap, train: bool) -> FeatureMap:
        """Adds both branches in turn."""
        features = features + self.drop_path1(self.norm1(self.mix(features, train)), train)
        return features + self.drop_path2(self.norm2(self.mlp(features, train)), train)


class PostNormMerging(nn.Module):
    """Squares of cells mapped to the channels of the stage, then normalised."""

    width: int
    norm_layer: Norm
    dtype: Any = jnp.float32

    def setup(self):
        """The map and its norm."""
        self.reduction = Linear(self.width, use_bias=False, dtype=self.dtype)
        self.norm = self.norm_layer.create()

    def __call__(self, features: FeatureMap) -> NewMap:
        """A map of half the height and width, rounded up."""
        return self.norm(self.reduction(gather_squares(features)))


def create(architecture: SwinTransformerV2, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; the image size is a multiple of the patch size, or the architecture's
            own.

    Raises:
        InputError: the image size or the windows do not fit.
    """
    built = fit_to_request(architecture, request)
    return create_swin(
        built,
        request,
        block=PostNormBlock,
        merging=PostNormMerging,
        filter_checkpoint=filter_checkpoint,
        adapt=functools.partial(fit_embeddings, grid_size=None, patch_size=built.patch_size, prefix_tokens=0),
    )


def filter_checkpoint(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """As `filter_swin_checkpoint`."""
    return filter_swin_checkpoint(tensors, BUFFERS)
