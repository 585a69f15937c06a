"""VGG, with and without batch normalization.

References:
    Very Deep Convolutional Networks (arXiv:1409.1556); timm/models/vgg.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import InputError
from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.classifier_heads import ClassifierHead
from sketch_jax.models.convolutional import Conv, choose, run
from sketch_jax.models.layers import Dropout, recomputed
from sketch_jax.models.linen import as_model
from sketch_jax.models.max_pooling import max_pool
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, NewMap, adaptive_average_pool, pooled_width
from sketch_jax.models.vgg_table import ARCHITECTURES, IMAGE_SIZES, Vgg

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "Vgg", "create"]

HEAD_WIDTH = 4096
"""Channels that the classifier reads."""

HEAD_CELLS = 7
"""Height and width of the kernel that the head begins with; smaller maps are stretched to it."""


class ConvMlp(nn.Module):
    """The perceptron before the classifier, as convolutions: images may have any size."""

    architecture: Vgg
    dropout: float
    dtype: Any = jnp.float32

    def setup(self):
        """Two convolutions, the first over the whole map of an image of 224 pixels."""
        hidden = int(HEAD_WIDTH * self.architecture.mlp_ratio)
        self.act = choose(ACTIVATIONS, self.architecture.act_layer, "act_layer")
        self.fc1 = Conv(hidden, HEAD_CELLS, pad_type="valid", use_bias=True, dtype=self.dtype)
        self.drop = Dropout(self.dropout)
        self.fc2 = Conv(HEAD_WIDTH, use_bias=True, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """The hidden features of each place where the kernel fits."""
        height, width = (max(HEAD_CELLS, size) for size in inputs.shape[1:3])
        if inputs.shape[1:3] != (height, width):
            inputs = adaptive_average_pool(inputs, height, width)
        return self.act(self.fc2(self.drop(self.act(self.fc1(inputs)), train)))


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: Vgg
    class_count: int
    dropout: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Layers in a row, the perceptron, the classifier."""
        architecture = self.architecture
        self.stages = self._stages()
        self.pre_logits = ConvMlp(architecture, self.dropout, self.dtype)
        self.classifier_head = ClassifierHead(
            pooled_width(HEAD_WIDTH, architecture.global_pool),
            self.class_count,
            architecture.global_pool,
            self.dropout,
            nn.initializers.normal(0.01),
            nn.initializers.zeros,
            name="head",
        )

    def _stages(self) -> list[list[Callable[..., NewMap]]]:
        """All layers, named by their place in the row; a stage ends with its max-pool."""
        norm_layer = self.architecture.norm_layer
        act = choose(ACTIVATIONS, self.architecture.act_layer, "act_layer")
        stages: list[list[Callable[..., NewMap]]] = [[]]
        place = 0
        for entry in self.architecture.cfg:
            if entry == "M":
                stages[-1].append(halve)
                stages.append([])
                place += 1
                continue
            conv = Conv(entry, 3, use_bias=True, dtype=self.dtype, name=f"features_{place}")
            norms = [norm_layer(dtype=self.dtype, name=f"features_{place + 1}")] if norm_layer else []
            stages[-1] += [conv, *norms, act]
            place += 2 + len(norms)
        return stages

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last layer."""
        apply_stage = recomputed(Network.apply_stage, self.remat, (1, 3))
        features = images.astype(self.dtype)
        for index in range(len(self.stages)):
            features = apply_stage(self, index, features, train)
        return features

    def apply_stage(self, index: int, inputs: FeatureMap, train: bool) -> NewMap:
        """The map after a stage."""
        return run(self.stages[index], inputs, train)

    def pool(self, features: FeatureMap) -> Float[Array, "batch hidden"]:
        """The hidden features, pooled."""
        return self.classifier_head.pool(self.pre_logits(features, False))

    def head(self, features: FeatureMap, train: bool) -> Float[Array, "batch classes"]:
        """The logits, float32; without a classifier the pooled hidden features."""
        return self.classifier_head(self.pre_logits(features, train), train)

    def __call__(self, images: jax.Array, train: bool) -> Float[Array, "batch classes"]:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def halve(inputs: FeatureMap) -> NewMap:
    """Largest value of each 2×2 cells; an odd last row or column is left out."""
    return max_pool(inputs, 2, 2)


def check_image_size(request: Request, architecture: Vgg) -> None:
    """Refuses images of which nothing is left after the last max-pool.

    Raises:
        InputError: names the smallest size.
    """
    smallest = 2 ** architecture.cfg.count("M")
    if request.image_size < smallest:
        raise InputError(
            f"image size {request.image_size}: {request.name} halves images {architecture.cfg.count('M')} "
            f"times; take at least {smallest}"
        )


def create(architecture: Vgg, request: Request) -> Model:
    """The model of an architecture; it has no residual branches, so drop path makes no difference.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images of 32 pixels or more.

    Raises:
        InputError: the images are too small.
    """
    check_image_size(request, architecture)
    return as_model(
        Network(architecture, request.class_count, request.dropout, request.dtype, request.remat),
        request,
        feature_width=pooled_width(HEAD_WIDTH, architecture.global_pool),
        classifier="head/fc",
        filter_checkpoint=filter_checkpoint,
    )


_RENAMED = {
    "classifier.0.": "pre_logits.fc1.",
    "classifier.3.": "pre_logits.fc2.",
    "classifier.6.": "head.fc.",
}
"""Beginnings of torchvision's names, and timm's."""

_SHAPES = {"classifier.0.weight": (-1, 512, 7, 7), "classifier.3.weight": (-1, HEAD_WIDTH, 1, 1)}
"""Of torchvision's linear maps that are convolutions in timm."""


def filter_checkpoint(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Renames and reshapes the linear maps of torchvision's checkpoints.

    Args:
        tensors: by timm's names or by torchvision's.

    References:
        `_filter_fn` of timm/models/vgg.py.
    """
    if not any(name.startswith("classifier.") for name in tensors):
        return tensors
    return {_renamed(name): _reshaped(name, tensor) for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _reshaped(name: str, tensor: Any) -> Any:
    return tensor.reshape(_SHAPES[name]) if name in _SHAPES else tensor
