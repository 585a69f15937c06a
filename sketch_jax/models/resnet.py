"""ResNet and its relatives: ResNeXt, wide, SE, ECA, anti-aliased, RS.

References:
    Deep Residual Learning (arXiv:1512.03385); Bag of Tricks (arXiv:1812.01187); ResNet strikes back
    (arXiv:2110.00476); timm/models/resnet.py.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.convolutional import Conv, choose, run, symmetric_uniform
from sketch_jax.models.layers import Dropout, Linear, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.max_pooling import max_pool
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import (
    ANTI_ALIASING,
    GLOBAL_POOLS,
    FeatureMap,
    NewMap,
    pooled_width,
)
from sketch_jax.models.resnet_blocks import BLOCKS, Place, plan_stages, stem_channels
from sketch_jax.models.resnet_table import ARCHITECTURES, IMAGE_SIZES, ResNet

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "ResNet", "create"]


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: ResNet
    class_count: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Stem, four stages, classifier."""
        stages = plan_stages(self.architecture, self.drop_path)
        self.act = choose(ACTIVATIONS, self.architecture.act_layer, "act_layer")
        self.conv1 = self._stem()
        self.bn1 = self._norm()
        self.maxpool = self._stem_pool()
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            [self._block(place) for place in stage] for stage in stages
        )
        width = pooled_width(stages[-1][-1].out_channels, self.architecture.global_pool)
        bound = symmetric_uniform(width**-0.5)
        self.fc = Linear(self.class_count, kernel_init=bound, bias_init=bound, dtype=jnp.float32)
        self.head_dropout = Dropout(self.dropout)

    def _norm(self) -> nn.Module:
        return self.architecture.norm_layer(dtype=self.dtype)

    def _conv(self, features: int, stride: int = 1, kernel_size: int = 3) -> Conv:
        return Conv(features, kernel_size, stride, dtype=self.dtype)

    def _stem(self) -> Conv | list[Callable[..., NewMap]]:
        """One convolution, or three with norms and activations between them; `bn1` and `act` follow."""
        channels, width = stem_channels(self.architecture), self.architecture.stem_width
        if not self.architecture.stem_type:
            return self._conv(channels, 2, 7)
        first = 3 * (width // 4) if self.architecture.stem_type == "deep_tiered" else width
        return [
            *(self._conv(first, 2), self._norm(), self.act),
            *(self._conv(width), self._norm(), self.act),
            self._conv(channels),
        ]

    def _stem_pool(self) -> list[Callable[..., NewMap]]:
        """Halves the map: by max-pool, by anti-aliasing, or by a convolution of its own."""
        name = self.architecture.aa_layer
        smaller = (
            [] if name is None else [functools.partial(choose(ANTI_ALIASING, name, "aa_layer"), stride=2)]
        )
        stride = 2 if name is None else 1
        if self.architecture.replace_stem_pool:
            conv = self._conv(stem_channels(self.architecture), stride)
            return [conv, *smaller, self._norm(), self.act]
        if name == "avg":
            return smaller
        return [functools.partial(max_pool, window=3, stride=stride, padding=1), *smaller]

    def _block(self, place: Place) -> nn.Module:
        block = BLOCKS[place.block]
        kind = recomputed(block, self.remat, (2,))
        return kind(self.architecture, place, dtype=self.dtype)

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage."""
        stem = [self.conv1] if isinstance(self.conv1, Conv) else self.conv1
        features = run([*stem, self.bn1, self.act, *self.maxpool], images.astype(self.dtype), train)
        for block in [*self.layer1, *self.layer2, *self.layer3, *self.layer4]:
            features = block(features, train)
        return features

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features."""
        return choose(GLOBAL_POOLS, self.architecture.global_pool, "global_pool")(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32."""
        return self.fc(self.head_dropout(self.pool(features), train))

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def check_image_size(name: str, architecture: ResNet, image_size: int) -> None:
    """Refuses sizes at which averaging in pairs, which drops an odd last row, and the shortcut disagree.

    Raises:
        InputError: names the nearest size that fits.
    """
    entering = -(-image_size // 2) // 2
    if architecture.aa_layer == "avg" and entering % 8:
        nearest = max(32, round(image_size / 32) * 32)
        raise InputError(
            f"image size {image_size}: {name} averages cells in pairs wherever it strides, so the size must "
            f"be a multiple of 32; the nearest is {nearest}"
        )


def create(architecture: ResNet, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of any size, but for the architectures of `check_image_size`.

    Raises:
        InputError: the image size or a model argument does not fit.
    """
    check_image_size(request.name, architecture, request.image_size)
    channels = plan_stages(architecture, request.drop_path)[-1][-1].out_channels
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
        classifier="fc",
    )
