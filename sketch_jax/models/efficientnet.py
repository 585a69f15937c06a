"""EfficientNet and its relatives: MobileNet v1 and v2, MnasNet, MixNet, TinyNet, EdgeTPU, EfficientNetV2.

References:
    timm/models/efficientnet.py; the papers are listed in `efficientnet_stages`.
"""

from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.convolutional import Conv, choose, fan_out_normal, run, symmetric_uniform
from sketch_jax.models.efficientnet_blocks import BLOCKS, make_activation, make_norm
from sketch_jax.models.efficientnet_plan import Place, plan_stages, stem_channels
from sketch_jax.models.efficientnet_table import ARCHITECTURES, IMAGE_SIZES, EfficientNet
from sketch_jax.models.layers import Dropout, Linear, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import GLOBAL_POOLS, FeatureMap, pooled_width

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "EfficientNet", "create"]


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: EfficientNet
    class_count: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Stem, stages of blocks, head convolution, classifier."""
        architecture = self.architecture
        self.act = make_activation(architecture, architecture.act_layer)
        self.conv_stem = self._conv(stem_channels(architecture), architecture.stem_kernel_size, 2)
        self.bn1 = make_norm(architecture, self.dtype)
        stages = plan_stages(architecture, self.drop_path)
        self.blocks = [[self._block(place) for place in stage] for stage in stages]
        if architecture.num_features:
            self.conv_head = self._conv(architecture.num_features, 1, 1)
            self.bn2 = make_norm(architecture, self.dtype)
        init = symmetric_uniform(max(self.class_count, 1) ** -0.5)
        self.classifier = Linear(self.class_count, kernel_init=init, dtype=jnp.float32)
        self.head_dropout = Dropout(self.dropout)

    def _conv(self, features: int, kernel_size: int, stride: int) -> Conv:
        pad_type, init = self.architecture.pad_type, fan_out_normal(1)
        return Conv(features, kernel_size, stride, pad_type, kernel_init=init, dtype=self.dtype)

    def _block(self, place: Place) -> nn.Module:
        block = BLOCKS[place.row.block]
        kind = recomputed(block, self.remat, (2,))
        return kind(self.architecture, place, dtype=self.dtype)

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the head convolution, or of the last block where there is none."""
        features = run([self.conv_stem, self.bn1, self.act], images.astype(self.dtype), train)
        for stage in self.blocks:
            for block in stage:
                features = block(features, train)
        if not self.architecture.num_features:
            return features
        return run([self.conv_head, self.bn2, self.act], features, train)

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features."""
        return choose(GLOBAL_POOLS, self.architecture.global_pool, "global_pool")(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32."""
        return self.classifier(self.head_dropout(self.pool(features), train))

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def create(architecture: EfficientNet, request: Request) -> Model:
    """The model of an architecture; of n blocks the i-th, from 0, is left out with i / n of drop path.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of any size.
    """
    channels = architecture.num_features or plan_stages(architecture, request.drop_path)[-1][-1].out_channels
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
        feature_width=pooled_width(channels, architecture.global_pool),
        classifier="classifier",
    )
