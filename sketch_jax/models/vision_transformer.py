"""Vision transformers: ViT, DeiT, DeiT3, CLIP, SigLIP, DINOv2, AIMv2, BEiT3, RADIO and relatives.

References:
    An Image is Worth 16x16 Words (arXiv:2010.11929); DeiT (arXiv:2012.12877); DeiT III (arXiv:2204.07118);
    timm/models/vision_transformer.py, timm/models/deit.py.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import refuse_faults, suggestion
from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.attention import AttentionPoolLatent, KeptTokens, Tokens, optional_norm, refine
from sketch_jax.models.layers import INITIAL_DEVIATION, NEAR_ZERO, NORMS, Dropout, Linear, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.patches import PatchDropout, PatchEmbed
from sketch_jax.models.positions import CUBIC, Resampling
from sketch_jax.models.stacked_blocks import COLLECTION, run_blocks
from sketch_jax.models.tokens import (
    REDUCTIONS,
    fit_embeddings,
    pool_tokens,
    put_before,
    refuse_image_size,
)
from sketch_jax.models.vision_transformer_blocks import BLOCKS, find_norm
from sketch_jax.models.vision_transformer_checkpoints import filter_checkpoint
from sketch_jax.models.vision_transformer_record import VisionTransformer
from sketch_jax.models.vision_transformer_table import ARCHITECTURES
from sketch_jax.trees import STACKED, Tree

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "VisionTransformer", "create"]

IMAGE_SIZES = {name: record.img_size for name, record in ARCHITECTURES.items()}

Images = Float[Array, "batch height width 3"]
Pooled = Float[Array, "batch *unpooled embedding"]

LINEAR = Resampling(kernel="linear", antialias=False)
LINEAR_CORNERS = dataclasses.replace(LINEAR, align_corners=True)
RESAMPLINGS: dict[str, Resampling] = {
    "flexivit_small": LINEAR,
    "flexivit_base": LINEAR,
    "flexivit_large": LINEAR,
    "vit_base_patch16_radio_v3": LINEAR_CORNERS,
    "vit_large_patch16_radio_v3": LINEAR,
    "vit_huge_patch16_radio_v3": LINEAR_CORNERS,
    "vit_giant_patch16_radio_v3": LINEAR,
    "vit_so400m_patch16_radio_v4": LINEAR,
    "vit_huge_patch16_radio_v4": LINEAR,
}
"""How the weights of an architecture are fitted to another image size, where that is not cubic."""


def count_prefix_tokens(architecture: VisionTransformer) -> int:
    """Tokens before the patches."""
    return architecture.class_token + architecture.distilled + architecture.reg_tokens


def count_embedded_prefix_tokens(architecture: VisionTransformer) -> int:
    """Tokens before the patches that have position embeddings."""
    return 0 if architecture.no_embed_class else count_prefix_tokens(architecture)


def count_read_tokens(architecture: VisionTransformer) -> int | None:
    """How many of the first tokens the head reads; None: all."""
    if architecture.distilled:
        return 2
    return 1 if architecture.global_pool == "token" else None


def grid_size(architecture: VisionTransformer) -> int:
    """Patches in a row and in a column."""
    return architecture.img_size // architecture.patch_size


def norms_after_pooling(architecture: VisionTransformer) -> bool:
    """Whether the final norm comes after pooling."""
    stated = architecture.fc_norm
    return architecture.global_pool in REDUCTIONS if stated is None else stated


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: VisionTransformer
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Embeddings, blocks, norms, head."""
        architecture = self.architecture
        self._set_up_embeddings()
        rates = np.linspace(0.0, architecture.drop_path_rate, architecture.depth).tolist()
        block = BLOCKS[architecture.block_fn]
        kind = recomputed(block, self.remat, (2, 3))
        self.blocks = [kind(architecture, depth, rate, self.dtype) for depth, rate in enumerate(rates)]
        final = find_norm(architecture.norm_layer) if architecture.final_norm else None
        late = norms_after_pooling(architecture)
        self.norm = optional_norm(None if late else final)
        self.fc_norm = optional_norm(final if late else None)
        self._set_up_head()

    def _set_up_embeddings(self) -> None:
        architecture = self.architecture
        embed_norm, norm = architecture.embed_norm_layer, find_norm(architecture.norm_layer)
        self.patch_embed = PatchEmbed(
            architecture.patch_size,
            architecture.embed_dim,
            use_bias=not architecture.pre_norm,
            norm_layer=None if embed_norm is None else find_norm(embed_norm),
            dtype=self.dtype,
        )
        self.prefix = self._create_prefix()
        if architecture.pos_embed == "learn":
            count = count_embedded_prefix_tokens(architecture) + grid_size(architecture) ** 2
            self.pos_embed = self._create_tokens("pos_embed", count, INITIAL_DEVIATION)
        self.pos_drop = Dropout(architecture.pos_drop_rate)
        self.patch_drop = PatchDropout(architecture.patch_drop_rate, count_prefix_tokens(architecture))
        self.norm_pre = optional_norm(norm if architecture.pre_norm else None)

    def _create_prefix(self) -> list[Float[Array, "1 tokens embedding"]]:
        architecture, prefix = self.architecture, []
        if architecture.class_token:
            prefix.append(self._create_tokens("cls_token", 1, NEAR_ZERO))
        if architecture.distilled:
            prefix.append(self._create_tokens("dist_token", 1, INITIAL_DEVIATION))
        if architecture.reg_tokens:
            prefix.append(self._create_tokens("reg_token", architecture.reg_tokens, NEAR_ZERO))
        return prefix

    def _create_tokens(self, name: str, count: int, deviation: float) -> Float[Array, "1 tokens embedding"]:
        init, shape = nn.initializers.normal(deviation), (1, count, self.architecture.embed_dim)
        return self.param(name, init, shape, jnp.float32)

    def _set_up_head(self) -> None:
        architecture = self.architecture
        if architecture.global_pool == "map":
            self.attn_pool = AttentionPoolLatent(
                architecture.embed_dim,
                architecture.num_heads,
                architecture.mlp_ratio,
                find_norm(architecture.norm_layer),
                architecture.act_layer,
                dtype=self.dtype,
            )
        self.head_drop = Dropout(architecture.drop_rate)
        names = ("head", "head_dist") if architecture.distilled else ("head",)
        count = architecture.num_classes
        self.classifiers = [Linear(count, name=name) for name in names if count]

    def features(self, images: Images, train: bool, kept: int | None = None) -> KeptTokens:
        """The tokens after the last block, or the first `kept`, normalised where pooled ones are not."""
        positions = self.pos_embed if self.architecture.pos_embed == "learn" else None
        tokens = put_before(
            self.prefix,
            self.patch_embed(images),
            positions,
            embeds_prefix=not self.architecture.no_embed_class,
        )
        if positions is not None:
            tokens = self.pos_drop(tokens, train)
        tokens = self.norm_pre(self.patch_drop(tokens, train))
        given: list[tuple[()]] = [()] * len(self.blocks)
        stacked = self.get_variable(COLLECTION, STACKED)
        return self.norm(run_blocks(self.blocks, tokens, train, given=given, stacked=stacked, kept=kept))

    def pool(self, features: Tokens) -> Pooled:
        """The pooled features; of a distilled model the mean of its two tokens."""
        if self.architecture.distilled:
            return features[:, :2].mean(axis=1)
        return self.fc_norm(self._reduce(features))

    def _reduce(self, features: Tokens) -> Pooled:
        architecture = self.architecture
        pooling, token = architecture.global_pool, architecture.class_token
        if pooling == "prr":
            refined = refine(features, architecture.num_heads)
            return refined[:, 0] if token else refined.mean(axis=1)
        skipped = 0 if architecture.pool_include_prefix else count_prefix_tokens(architecture)
        if pooling == "map":
            return self.attn_pool(features[:, skipped:])
        return pool_tokens(features, pooling, skipped)

    def head(self, features: Tokens, train: bool) -> Float[Array, "batch *unpooled classes"]:
        """The logits, float32; without a classifier the pooled features."""
        if not (self.architecture.distilled and self.classifiers):
            pooled = self.head_drop(self.pool(features), train).astype(jnp.float32)
            return self.classifiers[0](pooled) if self.classifiers else pooled
        answers = [
            classifier(self.head_drop(features[:, place], train).astype(jnp.float32))
            for place, classifier in enumerate(self.classifiers)
        ]
        return (answers[0] + answers[1]) / 2

    def __call__(self, images: Images, train: bool) -> Float[Array, "batch *unpooled classes"]:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def create(architecture: VisionTransformer, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; the image size is a multiple of the patch size, or the architecture's
            own, where timm cuts off the rest at the right and the bottom.

    Raises:
        InputError: the image size or the arguments do not fit together.
    """
    refuse_image_size(request, architecture.img_size, architecture.patch_size)
    built = dataclasses.replace(
        architecture,
        img_size=request.image_size,
        num_classes=request.class_count,
        drop_rate=request.dropout,
        drop_path_rate=request.drop_path,
    )
    refuse_unbuildable(request.name, built)
    return as_model(
        Network(built, request.dtype, request.remat),
        request,
        read_tokens=count_read_tokens(built),
        feature_width=built.embed_dim,
        classifier="head",
        has_equal_blocks=built.attn_layer != "diff" and "Diff" not in built.block_fn,
        further_classifiers=("head_dist",) if built.distilled else (),
        filter_checkpoint=filter_checkpoint,
        adapt=functools.partial(adapt, architecture=built, resampling=RESAMPLINGS.get(request.name, CUBIC)),
    )


def adapt(params: Tree, *, architecture: VisionTransformer, resampling: Resampling) -> Tree:
    """Fits pretrained parameters to another image or patch size, and leaves a pooling out that is not used.

    Args:
        params: of the same architecture, at any image and patch size; without some of them, too.
        architecture: what they are fitted to.
        resampling: of position embeddings and patch kernels.

    References:
        `checkpoint_filter_fn` of timm/models/vision_transformer.py.
    """
    fitted = fit_embeddings(
        params,
        grid_size=grid_size(architecture) if architecture.pos_embed == "learn" else None,
        patch_size=architecture.patch_size,
        prefix_tokens=count_embedded_prefix_tokens(architecture),
        resampling=resampling,
    )
    if architecture.global_pool != "map":
        fitted.pop("attn_pool", None)
    return fitted


def refuse_unbuildable(name: str, architecture: VisionTransformer) -> None:
    """Refuses arguments that do not fit together.

    Raises:
        InputError: lists all of them.
    """
    act_layer, pooling = architecture.act_layer, architecture.global_pool
    norms = (architecture.norm_layer, architecture.embed_norm_layer)
    scale_norms = architecture.scale_attn_norm or architecture.scale_mlp_norm
    faults = [
        f"norm {norm!r} is not offered{suggestion(norm, NORMS)}; norms are {', '.join(NORMS)}"
        for norm in norms
        if isinstance(norm, str) and norm not in NORMS
    ]
    if act_layer not in ACTIVATIONS:
        hint = suggestion(act_layer, ACTIVATIONS)
        faults.append(f"act_layer {act_layer!r} is not offered{hint}; it can be {', '.join(ACTIVATIONS)}")
    if architecture.embed_dim % architecture.num_heads:
        faults.append(
            f"embed_dim {architecture.embed_dim} is not a multiple of {architecture.num_heads} heads"
        )
    if pooling == "token" and not architecture.class_token:
        faults.append("global_pool 'token' needs class_token")
    if architecture.distilled and pooling != "token":
        faults.append(f"global_pool {pooling!r}: a distilled model answers by its two tokens, 'token'")
    if scale_norms and "Parallel" in architecture.block_fn and "Scaling" in architecture.block_fn:
        faults.append(f"scale_attn_norm and scale_mlp_norm do not go with block_fn {architecture.block_fn!r}")
    refuse_faults(f"model arguments do not fit {name}", faults, "change them, or leave them out")
