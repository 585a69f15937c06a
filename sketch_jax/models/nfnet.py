"""Networks without norms: NFNet, NF-ResNet, NF-RegNet.

References:
    Characterizing signal propagation (arXiv:2101.08692); High-Performance Large-Scale Image Recognition
    Without Normalization (arXiv:2102.06171); timm/models/nfnet.py.
"""

from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.classifier_heads import ClassifierHead
from sketch_jax.models.layers import recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.nfnet_blocks import (
    NormFreeBlock,
    Place,
    Stem,
    conv_maker,
    make_activation,
    plan_stages,
    scale_width,
)
from sketch_jax.models.nfnet_table import ARCHITECTURES, IMAGE_SIZES, NfNet
from sketch_jax.models.pooling import FeatureMap, pooled_width

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "NfNet", "create"]


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: NfNet
    class_count: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Stem, stages, final convolution, head."""
        architecture = self.architecture
        self.stem = Stem(architecture, self.dtype)
        stages = plan_stages(architecture, self.drop_path)
        self.stages = [[self._block(place) for place in stage] for stage in stages]
        if architecture.num_features:
            self.final_conv = conv_maker(architecture, self.dtype)(feature_channels(architecture))
        self.final_act = make_activation(architecture)
        zeros = nn.initializers.zeros
        self.classifier_head = ClassifierHead(
            pooled_width(feature_channels(architecture), architecture.global_pool),
            self.class_count,
            architecture.global_pool,
            self.dropout,
            zeros if architecture.zero_init_fc else nn.initializers.normal(0.01),
            zeros,
            name="head",
        )

    def _block(self, place: Place) -> nn.Module:
        kind = recomputed(NormFreeBlock, self.remat, (2,))
        return kind(self.architecture, place, self.dtype)

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The activated map of the final convolution, or of the last block where there is none."""
        features = self.stem(images.astype(self.dtype))
        for stage in self.stages:
            for block in stage:
                features = block(features, train)
        if self.architecture.num_features:
            features = self.final_conv(features)
        return self.final_act(features)

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features."""
        return self.classifier_head.pool(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32; without a classifier the pooled features."""
        return self.classifier_head(features, train)

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def feature_channels(architecture: NfNet) -> int:
    """Channels of the unpooled features."""
    return scale_width(architecture, architecture.num_features or architecture.channels[-1])


def create(architecture: NfNet, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of any size.
    """
    return as_model(
        Network(
            architecture,
            request.class_count,
            request.dropout,
            request.drop_path,
            request.dtype,
            request.remat,
        ),
        request,
        feature_width=pooled_width(feature_channels(architecture), architecture.global_pool),
        classifier="head/fc",
    )
