"""Swin Transformer: attention within shifted windows, with a bias for each distance.

References:
    Swin Transformer (arXiv:2103.14030); AutoFormerV2 (arXiv:2111.14725) for S3;
    timm/models/swin_transformer.py.
"""

import functools
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.attention import attend, merge_heads, split_heads, thinning
from sketch_jax.models.layers import Dropout, Linear, Norm
from sketch_jax.models.model import Model, Request
from sketch_jax.models.pooling import NewMap
from sketch_jax.models.relative_positions import create_bias_table, look_up_bias, resize_bias_tables
from sketch_jax.models.shifted_windows import Mask, gather_squares
from sketch_jax.models.swin_network import SwinBlock, create_swin, filter_swin_checkpoint, fit_to_request
from sketch_jax.models.swin_record import Stage, of_stage, plan_stages
from sketch_jax.models.swin_transformer_table import ARCHITECTURES, SwinTransformer
from sketch_jax.models.tokens import fit_embeddings
from sketch_jax.models.windows import Cells, FeatureMap
from sketch_jax.trees import Tree

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "SwinTransformer", "create"]

IMAGE_SIZES = {name: record.img_size for name, record in ARCHITECTURES.items()}

BUFFERS = ("relative_position_index", "attn_mask")


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learnt bias for each distance."""

    architecture: SwinTransformer
    stage: Stage
    dtype: Any = jnp.float32

    def setup(self):
        """Projections and the table of biases."""
        architecture, stage = self.architecture, self.stage
        heads = stage.num_heads
        head_width = of_stage(architecture.head_dim, stage.index) or stage.width // heads
        self.table = create_bias_table(self, stage.window, heads)
        self.qkv = Linear(3 * heads * head_width, architecture.qkv_bias, dtype=self.dtype)
        self.attn_drop = Dropout(architecture.attn_drop_rate)
        self.proj = Linear(stage.width, dtype=self.dtype)
        self.proj_drop = Dropout(architecture.proj_drop_rate)

    def __call__(self, cells: Cells, mask: Mask | None, train: bool) -> Cells:
        """Mixes the cells of each window."""
        parts = jnp.split(self.qkv(cells), 3, axis=-1)
        query, key, value = (split_heads(part, self.stage.num_heads) for part in parts)
        bias = look_up_bias(self.table, self.stage.window)[None]
        mixed = attend(
            query,
            key,
            value,
            thinning(self.attn_drop, train),
            bias=bias if mask is None else bias + mask,
        )
        return self.proj_drop(self.proj(merge_heads(mixed)), train)


class PreNormBlock(SwinBlock):
    """A block whose branches start with a norm."""

    attention = WindowAttention

    def __call__(self, features: FeatureMap, train: bool) -> FeatureMap:
        """Adds both branches in turn."""
        features = features + self.drop_path1(self.mix(self.norm1(features), train), train)
        return features + self.drop_path2(self.mlp(self.norm2(features), train), train)


class PreNormMerging(nn.Module):
    """Squares of cells normalised, then mapped to the channels of the stage."""

    width: int
    norm_layer: Norm
    dtype: Any = jnp.float32

    def setup(self):
        """The norm and the map."""
        self.norm = self.norm_layer.create()
        self.reduction = Linear(self.width, use_bias=False, dtype=self.dtype)

    def __call__(self, features: FeatureMap) -> NewMap:
        """A map of half the height and width, rounded up."""
        return self.reduction(self.norm(gather_squares(features)))


def create(architecture: SwinTransformer, request: Request) -> Model:
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
        block=PreNormBlock,
        merging=PreNormMerging,
        filter_checkpoint=filter_checkpoint,
        adapt=functools.partial(adapt, architecture=built),
    )


def filter_checkpoint(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """As `filter_swin_checkpoint`."""
    return filter_swin_checkpoint(tensors, BUFFERS)


def adapt(params: Tree, *, architecture: SwinTransformer) -> Tree:
    """Fits pretrained parameters to other windows and to another patch size.

    Args:
        params: of the same architecture, with any square windows and at any patch size.
        architecture: what they are fitted to.

    Raises:
        InputError: the weights' windows are neither square nor those of the architecture.
    """
    fitted = fit_embeddings(params, grid_size=None, patch_size=architecture.patch_size, prefix_tokens=0)
    windows = {f"layers_{stage.index}": stage.window for stage in plan_stages(architecture)}
    return resize_bias_tables(fitted, windows)
