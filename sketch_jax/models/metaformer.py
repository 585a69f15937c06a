"""The MetaFormer family: PoolFormer, PoolFormer v2, ConvFormer, CAFormer.

References:
    MetaFormer Is Actually What You Need for Vision (arXiv:2111.11418); MetaFormer Baselines for Vision
    (arXiv:2210.13452); timm/models/metaformer.py.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import InputError
from sketch_jax.models.activations import identity
from sketch_jax.models.classifier_heads import NormMlpClassifierHead, Pooled
from sketch_jax.models.convolutional import Conv, run
from sketch_jax.models.layers import NORMAL, Dropout, Linear, Norm
from sketch_jax.models.linen import as_model
from sketch_jax.models.metaformer_blocks import (
    HEAD_WIDTH,
    MLP_RATIO,
    MetaFormerStage,
    make_norm,
    of_stage,
    plan_stages,
    squared_relu,
)
from sketch_jax.models.metaformer_table import ARCHITECTURES, IMAGE_SIZES, MetaFormer
from sketch_jax.models.model import Model, Request
from sketch_jax.models.pooling import FeatureMap, NewMap

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "MetaFormer", "create"]

OUTPUT_NORM = Norm(epsilon=1e-6)


class Stem(nn.Module):
    """A 7×7 convolution of stride 4, and a norm, if any."""

    width: int
    norm_layer: str | None
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.conv = Conv(self.width, 7, 4, use_bias=True, kernel_init=NORMAL, dtype=self.dtype, padding=2)
        self.norm = identity if self.norm_layer is None else make_norm(self.norm_layer, self.dtype)

    def __call__(self, images: FeatureMap, train: bool) -> NewMap:
        """The first map."""
        return run([self.conv, self.norm], images, train)


class PerceptronClassifier(nn.Module):
    """A hidden map with the square of ReLU, a norm, and the map to classes; float32."""

    hidden_features: int
    class_count: int

    def setup(self):
        """Names as in timm."""
        self.fc1 = Linear(self.hidden_features)
        self.norm = OUTPUT_NORM.create()
        self.fc2 = Linear(self.class_count)

    def __call__(self, pooled: Pooled) -> Float[Array, "batch classes"]:
        """The logits."""
        return self.fc2(self.norm(squared_relu(self.fc1(pooled))))


class PerceptronHead(NormMlpClassifierHead):
    """Pooling, a norm, and a perceptron as the classifier `fc`."""

    def finish_setup(self, width: int):
        """Dropout and the classifier."""
        self.drop = Dropout(self.dropout)
        self.fc = PerceptronClassifier(MLP_RATIO * width, self.class_count)


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: MetaFormer
    request: Request

    def setup(self):
        """Stem, stages, head."""
        architecture, request = self.architecture, self.request
        dims, stages = architecture.dims, plan_stages(architecture, request.drop_path)
        self.stem = Stem(dims[0], architecture.downsample_norm, dtype=request.dtype)
        self.stages = [
            MetaFormerStage(architecture, tuple(places), in_channels, request.dtype, request.remat)
            for places, in_channels in zip(stages, (dims[0], *dims[:-1]), strict=True)
        ]
        kind = PerceptronHead if architecture.use_mlp_head else NormMlpClassifierHead
        self.classifier_head = kind(
            architecture.dims[-1],
            request.class_count,
            architecture.global_pool,
            request.dropout,
            kernel_init=NORMAL,
            bias_init=nn.initializers.zeros,
            norm_layer=OUTPUT_NORM,
            name="head",
        )

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage."""
        features = self.stem(images.astype(self.request.dtype), train)
        for stage in self.stages:
            features = stage(features, train)
        return features

    def pool(self, features: FeatureMap) -> Pooled:
        """The pooled features, normalised."""
        return self.classifier_head.pool(features)

    def head(self, features: FeatureMap, train: bool) -> Float[Array, "batch classes"]:
        """The logits, float32; without a classifier the pooled features."""
        return self.classifier_head(features, train)

    def __call__(self, images: jax.Array, train: bool) -> Float[Array, "batch classes"]:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def attends(architecture: MetaFormer, stage: int) -> bool:
    """Whether the blocks of a stage mix places by attention."""
    return of_stage(architecture.token_mixers, stage) == "Attention"


RENAMINGS = (
    (r"^network\.([135])\.", lambda match: f"stages.{(int(match[1]) + 1) // 2}.downsample."),
    (r"^network\.([0246])\.", lambda match: f"stages.{int(match[1]) // 2}."),
    (r"\.layer_scale_([12])$", r".layer_scale\1.scale"),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"^(?:stages\.0\.downsample|patch_embed)\.", "stem."),
    (r"^(stem|stages\.\d+\.downsample)\.proj\.", r"\1.conv."),
    (r"^(stem|stages\.\d+\.downsample)\.(?:pre|post)_norm\.", r"\1.norm."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^head\.", "head.fc."),
    (r"^norm\.", "head.norm."),
)
"""From the names of both papers' repositories to timm's, each after the ones before."""

_MAPS = re.compile(r"^stages\.(\d+)\..*(?:mlp\.fc\d|token_mixer\.pwconv\d)\.weight$")


def filter_checkpoint(tensors: Mapping[str, Any], *, architecture: MetaFormer) -> Mapping[str, Any]:
    """Gives tensors of the papers' repositories timm's names; their linear maps become 1×1 convolutions.

    Args:
        tensors: by their names there, or by timm's, which are left as they are.
        architecture: which of the stages convolve.

    References:
        `checkpoint_filter_fn` of timm/models/metaformer.py.
    """
    if "stem.conv.weight" in tensors:
        return tensors
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    return {name: reshape(name, tensor, architecture) for name, tensor in renamed.items()}


def rename(name: str) -> str:
    """timm's current name.

    >>> rename("network.2.11.layer_scale_1"), rename("downsample_layers.0.post_norm.weight")
    ('stages.1.blocks.11.layer_scale1.scale', 'stem.norm.weight')
    """
    for pattern, replacement in RENAMINGS:
        name = re.sub(pattern, replacement, name)
    return name


def reshape(name: str, tensor: Any, architecture: MetaFormer) -> Any:
    """A map of channels as its stage has it: with the two axes of a 1×1 kernel, or without."""
    match = _MAPS.match(name)
    if match is None:
        return tensor
    kernel_axes = () if attends(architecture, int(match[1])) else (1, 1)
    return tensor.reshape(*tensor.shape[:2], *kernel_axes)


def refuse_partial_heads(name: str, architecture: MetaFormer) -> None:
    """Refuses widths that heads of attention do not fill.

    Raises:
        InputError: names the first such width.
    """
    for stage, width in enumerate(architecture.dims):
        if attends(architecture, stage) and width % HEAD_WIDTH:
            raise InputError(
                f"model argument dims of {name}: {width} is not a multiple of {HEAD_WIDTH}, the channels of "
                f"an attention head; take {-(-width // HEAD_WIDTH) * HEAD_WIDTH}"
            )


def create(architecture: MetaFormer, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of any size.

    Raises:
        InputError: a model argument does not fit.
    """
    refuse_partial_heads(request.name, architecture)
    keeps_hidden_map = architecture.use_mlp_head and request.class_count
    return as_model(
        Network(architecture, request),
        request,
        feature_width=architecture.dims[-1],
        classifier="head/fc/fc2" if keeps_hidden_map else "head/fc",
        head_place="head/fc",
        filter_checkpoint=functools.partial(filter_checkpoint, architecture=architecture),
    )
