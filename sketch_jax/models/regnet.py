"""RegNet X, Y, Z, and V, whose norms come first.

References:
    Designing Network Design Spaces (arXiv:2003.13678); Fast and Accurate Model Scaling (arXiv:2103.06877);
    SEER (arXiv:2103.01988); SWAG (arXiv:2201.08371); timm/models/regnet.py.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, identity
from sketch_jax.models.classifier_heads import ClassifierHead
from sketch_jax.models.convolutional import Conv, ConvNormAct, choose, run
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, pooled_width
from sketch_jax.models.regnet_blocks import Stage, make_conv_norm_act
from sketch_jax.models.regnet_plan import plan_stages
from sketch_jax.models.regnet_table import ARCHITECTURES, IMAGE_SIZES, RegNet

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "RegNet", "create"]


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: RegNet
    class_count: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Stem, stages, final convolution, head."""
        architecture = self.architecture
        self.stem = self._stem()
        stages = plan_stages(architecture, self.drop_path)
        self.stages = [
            Stage(architecture, tuple(stage), self.dtype, self.remat, name=f"s{number}")
            for number, stage in enumerate(stages, 1)
        ]
        self.final_conv = self._final_conv()
        self.classifier_head = ClassifierHead(
            pooled_width(feature_channels(architecture), architecture.global_pool),
            self.class_count,
            architecture.global_pool,
            self.dropout,
            nn.initializers.normal(0.01),
            nn.initializers.zeros,
            name="head",
        )

    def _stem(self) -> Conv | ConvNormAct:
        """A strided convolution; where norms come first, its norm is that of the first block."""
        width = self.architecture.stem_width
        if self.architecture.preact:
            return Conv(width, 3, 2, dtype=self.dtype)
        return make_conv_norm_act(self.architecture, width, 3, 2, dtype=self.dtype)

    def _final_conv(self) -> Any:
        """A convolution, or the activation that the last block lacks, or nothing."""
        architecture = self.architecture
        if architecture.num_features:
            return make_conv_norm_act(architecture, architecture.num_features, dtype=self.dtype)
        if architecture.linear_out or architecture.preact:
            return choose(ACTIVATIONS, architecture.act_layer, "act_layer")
        return identity

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage, after the final convolution."""
        features = run([self.stem], images.astype(self.dtype), train)
        for stage in self.stages:
            features = stage(features, train)
        return run([self.final_conv], features, train)

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features."""
        return self.classifier_head.pool(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32; without a classifier the pooled features."""
        return self.classifier_head(features, train)

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def feature_channels(architecture: RegNet) -> int:
    """Channels of the unpooled features."""
    return architecture.num_features or plan_stages(architecture, 0.0)[-1][-1].out_channels


def create(architecture: RegNet, request: Request) -> Model:
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
        filter_checkpoint=filter_checkpoint,
    )


_BLOCK = re.compile(r"(?:trunk_output\.block|_feature_blocks\.res)\d\.block(\d)-(\d+)\.(.+)")
_RENAMED = {
    "stem.0.": "stem.conv.",
    "stem.1.": "stem.bn.",
    "_feature_blocks.conv1.stem.0.": "stem.conv.",
    "_feature_blocks.conv1.stem.1.": "stem.bn.",
    "fc.": "head.fc.",
    "0.clf.0.": "head.fc.",
}
_RENAMED_IN_BLOCKS = {
    "f.a.0.": "conv1.conv.",
    "f.a.1.": "conv1.bn.",
    "f.b.0.": "conv2.conv.",
    "f.b.1.": "conv2.bn.",
    "f.se.excitation.0.": "se.fc1.",
    "f.se.excitation.2.": "se.fc2.",
    "f.se.": "se.",
    "f.c.0.": "conv3.conv.",
    "f.c.1.": "conv3.bn.",
    "f.c.": "conv3.conv.",
    "f.final_bn.": "conv3.bn.",
    "proj.0.": "downsample.conv.",
    "proj.1.": "downsample.bn.",
    "proj.": "downsample.conv.",
    "bn.": "downsample.bn.",
}
"""Beginnings of names, torchvision's and classy vision's, and timm's; the first that fits counts."""

_OF_PRETRAINING = ("projection_head", "prototypes")


def filter_checkpoint(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Renames the tensors of torchvision's checkpoints, SWAG among them, and of classy vision's (SEER).

    Args:
        tensors: by timm's names or by theirs; those of classy vision's trunk and heads together.

    References:
        `_filter_fn` of timm/models/regnet.py.
    """
    if not {"stem.0.weight", "_feature_blocks.conv1.stem.0.weight"} & tensors.keys():
        return tensors
    return {
        _renamed(name): tensor
        for name, tensor in tensors.items()
        if not any(part in name for part in _OF_PRETRAINING)
    }


def _renamed(name: str) -> str:
    """timm's name.

    >>> _renamed("trunk_output.block2.block2-0.proj.1.bias")
    's2.b1.downsample.bn.bias'
    >>> _renamed("_feature_blocks.res3.block2-0.bn.bias")
    's2.b1.downsample.bn.bias'
    """
    block = _BLOCK.fullmatch(name)
    if block is None:
        return _with_other_beginning(name, _RENAMED)
    stage, index, rest = block.groups()
    return f"s{stage}.b{int(index) + 1}.{_with_other_beginning(rest, _RENAMED_IN_BLOCKS)}"


def _with_other_beginning(name: str, beginnings: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
