"""The network of both Swin generations, parameters named as in timm; they differ in blocks and merging.

References:
    timm/models/swin_transformer.py, timm/models/swin_transformer_v2.py.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.classifier_heads import ClassifierHead, Pooled
from sketch_jax.models.layers import NORMAL, DropPath, Mlp, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.patches import PatchEmbed
from sketch_jax.models.pooling import NewMap, pooled_width
from sketch_jax.models.shifted_windows import mix_in_windows
from sketch_jax.models.swin_record import Stage, Swin, plan_stages
from sketch_jax.models.tokens import refuse_image_size
from sketch_jax.models.windows import FeatureMap
from sketch_jax.trees import Tree

Images = Float[Array, "batch height width 3"]

FIRST_MERGING = "layers.0.downsample.reduction.weight"
"""In older checkpoints alone, whose stages end by merging squares; stages start by that now."""


class SwinBlock(nn.Module):
    """Attention within windows, then a perceptron; a generation says in which order they and norms come."""

    attention: ClassVar[Callable[..., nn.Module]]
    """(architecture, stage, dtype) -> a module: (cells, mask, train) -> mixed cells."""
    norm_start: ClassVar[float] = 1.0
    """Start of the scales of the norms."""

    architecture: Swin
    stage: Stage
    depth: int
    """Index in the stage, from 0; windows of odd ones lie shifted."""
    dtype: Any = jnp.float32

    def setup(self):
        """Two branches."""
        stage, norm, dropout = self.stage, self.architecture.norm_layer, self.architecture.proj_drop_rate
        self.attn = self.attention(self.architecture, stage, self.dtype)
        start = nn.initializers.constant(self.norm_start)
        self.norm1, self.norm2 = norm.create(start), norm.create(start)
        hidden = int(stage.width * stage.mlp_ratio)
        self.mlp = Mlp(hidden, stage.width, self.act_layer(), dropout=dropout, dtype=self.dtype)
        rate = stage.drop_paths[self.depth]
        self.drop_path1, self.drop_path2 = DropPath(rate), DropPath(rate)

    def act_layer(self) -> str:
        """The perceptron's activation."""
        return "gelu"

    def mix(self, features: FeatureMap, train: bool) -> FeatureMap:
        """Mixes the cells of each window."""
        shift = self.stage.shift if self.depth % 2 else (0, 0)
        return mix_in_windows(
            features, self.stage.window, shift, lambda cells, mask: self.attn(cells, mask, train)
        )


class SwinStage(nn.Module):
    """Merged squares of cells in all but the first stage, then blocks."""

    architecture: Swin
    stage: Stage
    block: Callable[..., nn.Module]
    merging: Callable[..., nn.Module]
    dtype: Any = jnp.float32

    def setup(self):
        """Merging and blocks."""
        stage, dtype = self.stage, self.dtype
        if stage.index:
            self.downsample = self.merging(stage.width, self.architecture.norm_layer, dtype)
        count = len(stage.drop_paths)
        self.blocks = [self.block(self.architecture, stage, depth, dtype) for depth in range(count)]

    def __call__(self, features: FeatureMap, train: bool) -> NewMap:
        """The stage's own map."""
        outputs = self.downsample(features) if self.stage.index else features
        for block in self.blocks:
            outputs = block(outputs, train)
        return outputs


class SwinNetwork(nn.Module):
    """The whole network.

    Attributes:
        architecture: its record, at the image size and for the classes that are asked for.
        block: kind of the blocks: (architecture, stage, depth, dtype) -> a module.
        merging: what starts all stages but the first: (width, norm, dtype) -> a module.
        dtype: of the computation.
        remat: whether blocks are computed again in the backward pass.
    """

    architecture: Swin
    block: Callable[..., nn.Module]
    merging: Callable[..., nn.Module]
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Embedding, stages, norm, head."""
        architecture, norm = self.architecture, self.architecture.norm_layer
        self.patch_embed = PatchEmbed(
            architecture.patch_size, architecture.embed_dim, norm_layer=norm, dtype=self.dtype
        )
        block = recomputed(self.block, self.remat, (2,))
        self.layers = [
            SwinStage(architecture, stage, block, self.merging, self.dtype)
            for stage in plan_stages(architecture)
        ]
        self.norm = norm.create()
        self.classifier = ClassifierHead(
            last_width(architecture),
            architecture.num_classes,
            architecture.global_pool,
            architecture.drop_rate,
            NORMAL,
            nn.initializers.zeros,
            name="head",
        )

    def features(self, images: Images, train: bool) -> NewMap:
        """The map of the last stage, normalised."""
        grid = self.architecture.img_size // self.architecture.patch_size
        tokens = self.patch_embed(images)
        features = tokens.reshape(tokens.shape[0], grid, grid, -1)
        for stage in self.layers:
            features = stage(features, train)
        return self.norm(features)

    def pool(self, features: FeatureMap) -> Pooled:
        """The pooled features."""
        return self.classifier.pool(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32; without a classifier the pooled features."""
        return self.classifier(features, train)

    def __call__(self, images: Images, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def last_width(architecture: Swin) -> int:
    """Channels of the pooled features."""
    channels = architecture.embed_dim * 2 ** (len(architecture.depths) - 1)
    return pooled_width(channels, architecture.global_pool)


def fit_to_request(architecture: Swin, request: Request) -> Any:
    """The record with what is asked of it.

    Raises:
        InputError: the image size or the windows do not fit.
    """
    refuse_image_size(request, architecture.img_size, architecture.patch_size)
    built = dataclasses.replace(
        architecture,
        img_size=request.image_size,
        num_classes=request.class_count,
        drop_rate=request.dropout,
        drop_path_rate=request.drop_path,
    )
    plan_stages(built)
    return built


def create_swin(
    architecture: Swin,
    request: Request,
    *,
    block: Callable[..., nn.Module],
    merging: Callable[..., nn.Module],
    filter_checkpoint: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    adapt: Callable[[Tree], Tree],
) -> Model:
    """The model of a record that `fit_to_request` gave.

    Args:
        architecture: the record.
        request: what is asked of it.
        block: as `SwinNetwork` has it.
        merging: as `SwinNetwork` has it.
        filter_checkpoint: as `Model` has it.
        adapt: as `Model` has it.
    """
    return as_model(
        SwinNetwork(architecture, block, merging, request.dtype, request.remat),
        request,
        feature_width=last_width(architecture),
        classifier="head/fc",
        filter_checkpoint=filter_checkpoint,
        adapt=adapt,
    )


def filter_swin_checkpoint(tensors: Mapping[str, Any], buffers: Sequence[str]) -> dict[str, Any]:
    """Gives tensors of older checkpoints their current names, and leaves out buffers.

    Args:
        tensors: by timm's names.
        buffers: parts of the names of what is no parameter.

    References:
        `checkpoint_filter_fn` of timm/models/swin_transformer.py and of swin_transformer_v2.py.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not any(part in name for part in buffers)}
    if FIRST_MERGING not in tensors:
        return kept
    return {_current_name(name): tensor for name, tensor in kept.items()}


def _current_name(name: str) -> str:
    moved = re.sub(r"layers.(\d+).downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", name)
    return moved.replace("head.", "head.fc.")
