"""BEiT and BEiT v2: vision transformers with biases for the distances of patches.

References:
    BEiT (arXiv:2106.08254); BEiT v2 (arXiv:2208.06366); timm/models/beit.py.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.attention import KeptTokens, Tokens, optional_norm
from sketch_jax.models.beit_blocks import BeitBlock, grid_size
from sketch_jax.models.beit_table import ARCHITECTURES, Beit
from sketch_jax.models.layers import INITIAL_DEVIATION, NORMAL, Dropout, Linear, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.patches import PatchEmbed
from sketch_jax.models.relative_positions import RelativePositionBias, resize_bias_tables
from sketch_jax.models.stacked_blocks import COLLECTION, run_blocks
from sketch_jax.models.tokens import fit_embeddings, pool_tokens, put_before, refuse_image_size
from sketch_jax.trees import STACKED, Tree

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "Beit", "create"]

IMAGE_SIZES = {name: record.img_size for name, record in ARCHITECTURES.items()}

Images = Float[Array, "batch height width 3"]

PREFIX_TOKENS = 1
"""The class token."""
BUFFER = "relative_position_index"


def norms_after_pooling(architecture: Beit) -> bool:
    """Whether pooled features are normalised, not the tokens before."""
    stated = architecture.use_fc_norm
    return architecture.global_pool == "avg" if stated is None else stated


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: Beit
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Embeddings, blocks, norms, head."""
        architecture, norm = self.architecture, self.architecture.norm_layer
        width, grid, zeros = architecture.embed_dim, grid_size(architecture), nn.initializers.zeros
        self.patch_embed = PatchEmbed(architecture.patch_size, width, dtype=self.dtype)
        self.cls_token = self.param("cls_token", NORMAL, (1, PREFIX_TOKENS, width), jnp.float32)
        if architecture.use_abs_pos_emb:
            shape = (1, PREFIX_TOKENS + grid[0] * grid[1], width)
            self.pos_embed = self.param("pos_embed", NORMAL, shape, jnp.float32)
        self.pos_drop = Dropout(architecture.pos_drop_rate)
        if architecture.use_shared_rel_pos_bias:
            self.rel_pos_bias = RelativePositionBias(grid, architecture.num_heads, True, zeros)
        rates = np.linspace(0.0, architecture.drop_path_rate, architecture.depth).tolist()
        kind = recomputed(BeitBlock, self.remat, (3, 4))
        self.blocks = [kind(architecture, depth, rate, self.dtype) for depth, rate in enumerate(rates)]
        pooled = norms_after_pooling(architecture)
        self.norm, self.fc_norm = (
            optional_norm(None if pooled else norm),
            optional_norm(norm if pooled else None),
        )
        self.head_drop = Dropout(architecture.drop_rate)
        init = nn.initializers.normal(INITIAL_DEVIATION * (architecture.head_init_scale or 1.0))
        count = architecture.num_classes
        self.classifiers = [Linear(count, kernel_init=init, name="head")] if count else []

    def features(self, images: Images, train: bool, kept: int | None = None) -> KeptTokens:
        """The tokens after the last block, or the first `kept`, normalised where pooled ones are not."""
        architecture = self.architecture
        positions = self.pos_embed if architecture.use_abs_pos_emb else None
        tokens = put_before([self.cls_token], self.patch_embed(images), positions, embeds_prefix=True)
        tokens = self.pos_drop(tokens, train)
        shared = self.rel_pos_bias() if architecture.use_shared_rel_pos_bias else None
        stacked = self.get_variable(COLLECTION, STACKED)
        given = [(shared,)] * architecture.depth
        return self.norm(run_blocks(self.blocks, tokens, train, given=given, stacked=stacked, kept=kept))

    def pool(self, features: Tokens) -> Float[Array, "batch *unpooled embedding"]:
        """The pooled features, normalised where the tokens were not."""
        return self.fc_norm(pool_tokens(features, self.architecture.global_pool, PREFIX_TOKENS))

    def head(self, features: Tokens, train: bool) -> jax.Array:
        """The logits, float32; without a classifier the pooled features."""
        pooled = self.head_drop(self.pool(features), train).astype(jnp.float32)
        return self.classifiers[0](pooled) if self.classifiers else pooled

    def __call__(self, images: Images, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def create(architecture: Beit, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; the image size is a multiple of the patch size, or the architecture's
            own, where timm cuts off the rest at the right and the bottom.

    Raises:
        InputError: the image size does not fit.
    """
    refuse_image_size(request, architecture.img_size, architecture.patch_size)
    built = dataclasses.replace(
        architecture,
        img_size=request.image_size,
        num_classes=request.class_count,
        drop_rate=request.dropout,
        drop_path_rate=request.drop_path,
    )
    return as_model(
        Network(built, request.dtype, request.remat),
        request,
        read_tokens=1 if built.global_pool == "token" else None,
        feature_width=built.embed_dim,
        classifier="head",
        has_equal_blocks=True,
        filter_checkpoint=filter_checkpoint,
        adapt=functools.partial(adapt, architecture=built),
    )


def filter_checkpoint(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out the indices that older checkpoints have beside the tables of biases.

    Args:
        tensors: by timm's names.

    References:
        `checkpoint_filter_fn` of timm/models/beit.py.
    """
    return {name: tensor for name, tensor in tensors.items() if BUFFER not in name}


def adapt(params: Tree, *, architecture: Beit) -> Tree:
    """Fits pretrained parameters to another image or patch size.

    Args:
        params: of the same architecture, at any image and patch size.
        architecture: what they are fitted to.

    References:
        `checkpoint_filter_fn` of timm/models/beit.py.
    """
    grid = grid_size(architecture)
    fitted = fit_embeddings(
        params,
        grid_size=grid[0] if architecture.use_abs_pos_emb else None,
        patch_size=architecture.patch_size,
        prefix_tokens=PREFIX_TOKENS,
    )
    owners = ["rel_pos_bias", *(f"blocks_{depth}" for depth in range(architecture.depth))]
    return resize_bias_tables(fitted, dict.fromkeys(owners, grid), prefix_token=True)
