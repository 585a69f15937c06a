"""The EVA family: EVA, EVA02, their CLIP towers, DINOv3, Perception Encoder, rotary ViT, Sapiens2, LingBot.

References:
    EVA (arXiv:2211.07636); EVA-02 (arXiv:2303.11331); DINOv3 (arXiv:2508.10104); Perception Encoder
    (arXiv:2504.13181); timm/models/eva.py.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.attention import AttentionPoolLatent, KeptTokens, Tokens, optional_norm
from sketch_jax.models.eva_blocks import EvaBlock, splits_bias
from sketch_jax.models.eva_checkpoints import filter_checkpoint
from sketch_jax.models.eva_record import Eva
from sketch_jax.models.eva_table import ARCHITECTURES
from sketch_jax.models.layers import INITIAL_DEVIATION, Dropout, Linear, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.patches import PatchDropout, PatchEmbed
from sketch_jax.models.rotary import (
    Turns,
    axial_angles,
    centred_coordinates,
    create_turns,
    index_coordinates,
    inverse_powers,
    mixed_angles,
)
from sketch_jax.models.stacked_blocks import COLLECTION, run_blocks
from sketch_jax.models.tokens import fit_embeddings, pool_tokens, put_before, refuse_image_size
from sketch_jax.trees import STACKED, Tree

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "Eva", "create"]

IMAGE_SIZES = {name: record.img_size for name, record in ARCHITECTURES.items()}

Images = Float[Array, "batch height width 3"]
Pooled = Float[Array, "batch *unpooled embedding"]


def count_prefix_tokens(architecture: Eva) -> int:
    """Tokens before the patches."""
    return architecture.class_token + architecture.num_reg_tokens


def count_embedded_prefix_tokens(architecture: Eva) -> int:
    """Tokens before the patches that have learnt position embeddings."""
    return 0 if architecture.no_embed_class else count_prefix_tokens(architecture)


def grid_size(architecture: Eva) -> int:
    """Patches in a row and in a column."""
    return architecture.img_size // architecture.patch_size


def norms_after_pooling(architecture: Eva) -> bool:
    """Whether pooled features are normalised."""
    stated = architecture.use_fc_norm
    return architecture.global_pool == "avg" if stated is None else stated


def norms_after_blocks(architecture: Eva) -> bool:
    """Whether the tokens are normalised after the last block."""
    stated = architecture.use_post_transformer_norm
    return not norms_after_pooling(architecture) if stated is None else stated


class LearntFrequencies(nn.Module):
    """The frequencies of `mixed` rotary embeddings, of all blocks."""

    architecture: Eva

    @nn.compact
    def __call__(self) -> Float[Array, "2 depth heads half_head"]:
        """For the first and for the second coordinate."""
        architecture = self.architecture
        quarter = inverse_powers(
            architecture.embed_dim // architecture.num_heads, architecture.rope_temperature
        )

        def init(key: Any, shape: tuple[int, ...]) -> Array:
            angles = jax.random.uniform(key, shape[1:3], maxval=2 * np.pi)[..., None]
            directions = jnp.concatenate([angles, angles + np.pi / 2], -1)[..., None]
            lengths = jnp.asarray(quarter)[None, None, None]
            parts = [jnp.cos(directions) * lengths, jnp.sin(directions) * lengths]
            return jnp.stack(parts).reshape(shape)

        return self.param("freqs", init, (2, architecture.depth, architecture.num_heads, 2 * quarter.size))


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: Eva
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Embeddings, blocks, norms, head."""
        architecture = self.architecture
        norm = architecture.norm_layer
        self._set_up_embeddings()
        rates = np.linspace(0.0, architecture.drop_path_rate, architecture.depth).tolist()
        kind = recomputed(EvaBlock, self.remat, (3, 4))
        self.blocks = [kind(architecture, depth, rate, self.dtype) for depth, rate in enumerate(rates)]
        self.norm = optional_norm(norm if norms_after_blocks(architecture) else None)
        self.fc_norm = optional_norm(norm if norms_after_pooling(architecture) else None)
        if architecture.global_pool == "map":
            self.attn_pool = AttentionPoolLatent(
                architecture.embed_dim,
                architecture.attn_pool_num_heads or architecture.num_heads,
                architecture.attn_pool_mlp_ratio or architecture.mlp_ratio,
                norm,
                "gelu",
                dtype=self.dtype,
            )
        self.head_drop = Dropout(architecture.drop_rate)
        init = nn.initializers.normal(INITIAL_DEVIATION * architecture.head_init_scale)
        count = architecture.num_classes
        self.classifiers = [Linear(count, kernel_init=init, name="head")] if count else []

    def _set_up_embeddings(self) -> None:
        architecture = self.architecture
        self.patch_embed = PatchEmbed(
            architecture.patch_size,
            architecture.embed_dim,
            use_bias=not architecture.use_pre_transformer_norm,
            dtype=self.dtype,
        )
        counts = {"cls_token": int(architecture.class_token), "reg_token": architecture.num_reg_tokens}
        self.prefix = [self._create_tokens(name, count) for name, count in counts.items() if count]
        if architecture.use_abs_pos_emb:
            count = count_embedded_prefix_tokens(architecture) + grid_size(architecture) ** 2
            self.pos_embed = self._create_tokens("pos_embed", count)
        if architecture.use_rot_pos_emb and architecture.rope_type == "mixed":
            self.rope = LearntFrequencies(architecture)
        self.pos_drop = Dropout(architecture.pos_drop_rate)
        self.patch_drop = PatchDropout(architecture.patch_drop_rate, count_prefix_tokens(architecture))
        pre_norm = architecture.norm_layer if architecture.use_pre_transformer_norm else None
        self.norm_pre = optional_norm(pre_norm)

    def _create_tokens(self, name: str, count: int) -> Float[Array, "1 tokens embedding"]:
        init, shape = nn.initializers.normal(INITIAL_DEVIATION), (1, count, self.architecture.embed_dim)
        return self.param(name, init, shape, jnp.float32)

    def features(self, images: Images, train: bool, kept: int | None = None) -> KeptTokens:
        """The tokens after the last block, or the first `kept`, normalised where the architecture says."""
        architecture = self.architecture
        positions = self.pos_embed if architecture.use_abs_pos_emb else None
        tokens = put_before(
            self.prefix, self.patch_embed(images), positions, embeds_prefix=not architecture.no_embed_class
        )
        tokens, places = self.patch_drop.thin(self.pos_drop(tokens, train), train)
        tokens = self.norm_pre(tokens)
        given, stacked = self._turns(places, train), self.get_variable(COLLECTION, STACKED)
        return self.norm(run_blocks(self.blocks, tokens, train, given=given, stacked=stacked, kept=kept))

    def _turns(self, places: Array | None, train: bool) -> Sequence[tuple[Turns | None]]:
        """The turns of the tokens in each block; of each image's own tokens where not all were kept."""
        architecture = self.architecture
        if not architecture.use_rot_pos_emb:
            return [(None,)] * architecture.depth
        coordinates = jnp.asarray(patch_coordinates(architecture))
        if train and changes_coordinates(architecture):
            coordinates = change_coordinates(coordinates, architecture, self.make_rng("dropout"))
        if architecture.rope_type == "mixed":
            frequencies = self.rope()
            blocks = [mixed_angles(coordinates, frequencies[:, depth]) for depth in range(architecture.depth)]
        else:
            blocks = [axial_angles(coordinates, fixed_frequencies(architecture))]
        prefix, half = count_prefix_tokens(architecture), architecture.rope_rotate_half
        turns = [create_turns(angles, prefix, half) for angles in blocks]
        if places is not None:
            turns = [Turns(*(keep_tokens(values, places) for values in each)) for each in turns]
        return [(each,) for each in turns] * (architecture.depth // len(turns))

    def pool(self, features: Tokens) -> Pooled:
        """The pooled features, normalised where the architecture says."""
        architecture = self.architecture
        if architecture.global_pool == "map":
            return self.fc_norm(self.attn_pool(features))
        return self.fc_norm(
            pool_tokens(features, architecture.global_pool, count_prefix_tokens(architecture))
        )

    def head(self, features: Tokens, train: bool) -> Float[Array, "batch *unpooled classes"]:
        """The logits, float32; without a classifier the pooled features."""
        pooled = self.head_drop(self.pool(features), train).astype(jnp.float32)
        return self.classifiers[0](pooled) if self.classifiers else pooled

    def __call__(self, images: Images, train: bool) -> Float[Array, "batch *unpooled classes"]:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def patch_coordinates(architecture: Eva) -> Float[np.ndarray, "patches 2"]:
    """Places of the patches, from which angles follow."""
    grid, indexing = grid_size(architecture), architecture.rope_grid_indexing
    if architecture.rope_type == "dinov3":
        return centred_coordinates(grid, indexing, architecture.rope_grid_offset)
    if architecture.rope_type == "mixed":
        return index_coordinates(grid, indexing)
    return index_coordinates(grid, indexing, architecture.rope_grid_offset, architecture.ref_feat_shape)


def fixed_frequencies(architecture: Eva) -> Float[np.ndarray, " quarter_head"]:
    """What coordinates are multiplied by where that is not learnt."""
    head_width = architecture.embed_dim // architecture.num_heads
    frequencies = inverse_powers(head_width, architecture.rope_temperature)
    return np.float32(2 * np.pi) * frequencies if architecture.rope_type == "dinov3" else frequencies


def changes_coordinates(architecture: Eva) -> bool:
    """Whether training shifts or scales the places of the patches."""
    factors = architecture.rope_jitter_coords, architecture.rope_rescale_coords
    return any(amount is not None for amount in (architecture.rope_shift_coords, *factors))


def change_coordinates(
    coordinates: Float[Array, "patches 2"], architecture: Eva, key: Any
) -> Float[Array, "patches 2"]:
    """Shifts all patches alike, scales each axis, and scales both, by random amounts."""
    shift_key, jitter_key, rescale_key = jax.random.split(key, 3)

    def factors(key: Any, most: float | None, count: int) -> Float[Array, "1 _"]:
        reach = np.log(most or 1.0)
        return jnp.exp(jax.random.uniform(key, (1, count), minval=-reach, maxval=reach))

    reach = architecture.rope_shift_coords or 0.0
    shifted = coordinates + jax.random.uniform(shift_key, (1, 2), minval=-reach, maxval=reach)
    jittered = shifted * factors(jitter_key, architecture.rope_jitter_coords, 2)
    return jittered * factors(rescale_key, architecture.rope_rescale_coords, 1)


def keep_tokens(values: Array, kept: Int[Array, "batch kept_tokens"]) -> Array:
    """Values of the tokens that each image kept: [batch, kept_tokens, heads, width], of one head for all."""
    chosen = values[kept]
    return chosen if values.ndim == 3 else chosen[:, :, None]


def create(architecture: Eva, request: Request) -> Model:
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
        has_equal_blocks=not isinstance(built.num_kv_heads, tuple),
        filter_checkpoint=functools.partial(filter_checkpoint, splits_bias=splits_bias(built)),
        adapt=functools.partial(adapt, architecture=built),
    )


def adapt(params: Tree, *, architecture: Eva) -> Tree:
    """Fits pretrained parameters to another image or patch size.

    Args:
        params: of the same architecture, at any image and patch size.
        architecture: what they are fitted to.

    References:
        `checkpoint_filter_fn` of timm/models/eva.py.
    """
    return fit_embeddings(
        params,
        grid_size=grid_size(architecture) if architecture.use_abs_pos_emb else None,
        patch_size=architecture.patch_size,
        prefix_tokens=count_embedded_prefix_tokens(architecture),
    )
