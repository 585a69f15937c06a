"""CoAtNet, CoAtNeXt, MaxViT and MaxxViT: convolutions, then attention over maps, windows and grids.

References:
    CoAtNet (arXiv:2106.04803); MaxViT (arXiv:2204.01697); timm/models/maxxvit.py.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.classifier_heads import ClassifierHead, NormMlpClassifierHead
from sketch_jax.models.convolutional import run
from sketch_jax.models.layers import Norm, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.maxxvit_blocks import block_type, make_map_norm
from sketch_jax.models.maxxvit_convolutions import Stem
from sketch_jax.models.maxxvit_plan import Place, check_arguments, check_image_size, plan_stages
from sketch_jax.models.maxxvit_record import MaxxVit, Pair
from sketch_jax.models.maxxvit_table import ARCHITECTURES, IMAGE_SIZES
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, NewMap, pooled_width
from sketch_jax.models.relative_position_kinds import resize_square_table
from sketch_jax.models.relative_positions import TABLE, resize_bias_table
from sketch_jax.trees import Tree, map_with_path

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "MaxxVit", "create"]

_OF_WINDOWS = re.compile(r"\.attn_(block|grid)\.|\.attn\.mlp\.|\.rel_pos\.|^head\.")
_DENSE = re.compile(r"\.(qkv|proj|fc1|fc2|expand|conv\d_1x1)\.weight$")


class Stage(nn.Module):
    """Blocks in turn; the first halves the map."""

    architecture: MaxxVit
    places: list[Place]
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """The blocks."""
        self.blocks = [self._block(place) for place in self.places]

    def _block(self, place: Place) -> nn.Module:
        block = block_type(self.architecture, place)
        kind = recomputed(block, self.remat, (2,))
        return kind(self.architecture, place, self.dtype)

    def __call__(self, features: FeatureMap, train: bool) -> NewMap:
        """The map that leaves the last block."""
        for block in self.blocks:
            features = block(features, train)
        return features


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: MaxxVit
    request: Request

    def setup(self):
        """Stem, stages, a norm where the head has none, head."""
        architecture, request = self.architecture, self.request
        dtype = request.dtype
        self.stem = Stem(architecture, dtype)
        stages = plan_stages(architecture, request.image_size, request.drop_path)
        self.stages = [Stage(architecture, places, dtype, request.remat) for places in stages]
        if not architecture.head_hidden_size:
            self.norm = make_map_norm(architecture, dtype)
        self.heads = [create_head(architecture, request)]

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage, normalised unless the head does so."""
        features = self.stem(images.astype(self.request.dtype), train)
        for stage in self.stages:
            features = stage(features, train)
        return features if self.architecture.head_hidden_size else run([self.norm], features, train)

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features."""
        return self.heads[0].pool(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32; without a classifier the pooled features."""
        return self.heads[0](features, train)

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def feature_width(architecture: MaxxVit) -> int:
    """Channels of the pooled features."""
    pooled = pooled_width(architecture.embed_dim[-1], architecture.global_pool)
    return architecture.head_hidden_size or pooled


def create_head(architecture: MaxxVit, request: Request) -> ClassifierHead:
    """The head `head`, with a norm and a hidden map where the architecture has one."""
    options: dict[str, Any] = {
        "global_pool": architecture.global_pool,
        "dropout": request.dropout,
        "name": "head",
    }
    if not architecture.head_hidden_size:
        return ClassifierHead(feature_width(architecture), request.class_count, **options)
    return NormMlpClassifierHead(
        architecture.embed_dim[-1],
        request.class_count,
        norm_layer=Norm(epsilon=architecture.transformer_norm_eps),
        hidden_size=architecture.head_hidden_size,
        dtype=request.dtype,
        **options,
    )


def create(architecture: MaxxVit, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; the image size is a multiple of that by which the map is reduced, 32.

    Raises:
        InputError: the image size or the model arguments do not fit.
    """
    check_arguments(request.name, architecture)
    check_image_size(request.name, architecture, request.image_size)
    return as_model(
        Network(architecture, request),
        request,
        feature_width=feature_width(architecture),
        classifier="head/fc",
        filter_checkpoint=filter_checkpoint,
        adapt=functools.partial(adapt, architecture=architecture, image_size=request.image_size),
    )


def filter_checkpoint(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gives linear maps and 1×1 convolutions the layout of the architectures here.

    Args:
        tensors: by timm's names. Checkpoints may have convolutions in windows and grids, or linear maps in
            blocks of kind `T`.

    References:
        `checkpoint_filter_fn` of timm/models/maxxvit.py, which also fits tables: that is `adapt` here.
    """
    return {name: _in_layout(name, tensor) for name, tensor in tensors.items()}


def _in_layout(name: str, tensor: Any) -> Any:
    linear = _OF_WINDOWS.search(name) is not None
    if linear and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor.reshape(tensor.shape[:2])
    if not linear and tensor.ndim == 2 and _DENSE.search(name):
        return tensor.reshape(*tensor.shape, 1, 1)
    return tensor


def adapt(params: Tree, *, architecture: MaxxVit, image_size: int) -> Tree:
    """Fits tables of relative positions to the maps, windows and grids of another image size.

    Args:
        params: of the same architecture, at any image size.
        architecture: what they are fitted to.
        image_size: in pixels.
    """
    stages = plan_stages(architecture, image_size, 0.0)

    def fit(path: str, leaf: Any) -> Any:
        *parts, name = path.split("/")
        if name != TABLE:
            return leaf
        stage, block = (int(part.rpartition("_")[2]) for part in parts[:2])
        window = attended(stages[stage][block], parts)
        return (resize_square_table if leaf.ndim == 3 else resize_bias_table)(leaf, window)

    return map_with_path(fit, params)


def attended(place: Place, parts: Sequence[str]) -> Pair:
    """Height and width of what an attention looks at.

    Args:
        place: of the block.
        parts: of the path of a parameter.
    """
    if place.kind == "T":
        return place.size
    return place.grid if "attn_grid" in parts else place.window
