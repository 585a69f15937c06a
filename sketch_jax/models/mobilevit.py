"""The MobileViT family: MobileViT and MobileViT v2.

References:
    MobileViT (arXiv:2110.02178); Separable Self-attention for Mobile Vision Transformers (arXiv:2206.02680);
    timm/models/mobilevit.py, which builds on timm/models/byobnet.py.
"""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from sketch_jax.models.classifier_heads import ClassifierHead, Pooled
from sketch_jax.models.layers import recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.mobilevit_blocks import LINEAR_INIT, Place, block_kind, make_conv, plan_stages
from sketch_jax.models.mobilevit_table import ARCHITECTURES, IMAGE_SIZES, MobileVit
from sketch_jax.models.model import Model, Request
from sketch_jax.models.pooling import FeatureMap, pooled_width

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "MobileVit", "create"]


def feature_width(architecture: MobileVit) -> int:
    """Channels of the pooled features."""
    return pooled_width(architecture.num_features or architecture.channels[-1], architecture.global_pool)


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: MobileVit
    request: Request

    def setup(self):
        """Stem, stages, the last convolution, head."""
        architecture, request = self.architecture, self.request
        self.stem = make_conv(architecture.stem_chs, 3, 2, dtype=request.dtype)
        self.stages = [
            [self._block(place) for place in stage] for stage in plan_stages(architecture, request.drop_path)
        ]
        if architecture.num_features:
            self.final_conv = make_conv(architecture.num_features, dtype=request.dtype)
        self.classifier_head = ClassifierHead(
            feature_width(architecture),
            request.class_count,
            architecture.global_pool,
            request.dropout,
            LINEAR_INIT,
            nn.initializers.zeros,
            name="head",
        )

    def _block(self, place: Place) -> nn.Module:
        block = block_kind(self.architecture, place)
        kind = recomputed(block, self.request.remat, (2,))
        return kind(self.architecture, place, dtype=self.request.dtype)

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage, or of the last convolution."""
        features = self.stem(images.astype(self.request.dtype), train)
        for stage in self.stages:
            for block in stage:
                features = block(features, train)
        return self.final_conv(features, train) if self.architecture.num_features else features

    def pool(self, features: FeatureMap) -> Pooled:
        """The pooled features."""
        return self.classifier_head.pool(features)

    def head(self, features: FeatureMap, train: bool) -> Float[Array, "batch classes"]:
        """The logits, float32; without a classifier the pooled features."""
        return self.classifier_head(features, train)

    def __call__(self, images: jax.Array, train: bool) -> Float[Array, "batch classes"]:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def create(architecture: MobileVit, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of any size.
    """
    return as_model(
        Network(architecture, request),
        request,
        feature_width=feature_width(architecture),
        classifier="head/fc",
    )
