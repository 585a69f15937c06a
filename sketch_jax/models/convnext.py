"""The ConvNeXt family: ConvNeXt, ConvNeXt V2, and their CLIP and DINOv3 towers.

References:
    A ConvNet for the 2020s (arXiv:2201.03545); ConvNeXt V2 (arXiv:2301.00808); DINOv3 (arXiv:2508.10104);
    timm/models/convnext.py.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.models.activations import ACTIVATIONS, identity
from sketch_jax.models.classifier_heads import ClassifierHead, NormMlpClassifierHead
from sketch_jax.models.convnext_blocks import Stage, norm_of, plan_stages
from sketch_jax.models.convnext_table import ARCHITECTURES, IMAGE_SIZES, ConvNeXt
from sketch_jax.models.convolutional import Conv, choose, make_divisible
from sketch_jax.models.layers import INITIAL_DEVIATION, NORMAL
from sketch_jax.models.linen import as_model
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, pooled_width
from sketch_jax.trees import Tree

__all__ = ["ARCHITECTURES", "IMAGE_SIZES", "ConvNeXt", "create"]

CLIP_PREFIX = "visual.trunk."
"""Before every name of the network in a checkpoint of OpenCLIP."""

NOT_OF_THE_NETWORK = ("projectors.", "norms.")
"""What distillation leaves in checkpoints: projections to teachers, and norms of stages."""

RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"dwconv", "conv_dw"),
        (r"pwconv", "mlp.fc"),
        (r"\.grn\.beta$", ".mlp.grn.bias"),
        (r"\.grn\.gamma$", ".mlp.grn.weight"),
        (r"^head\.", "head.fc."),
        (r"^norm\.", "head.norm."),
    )
]
"""Names of the authors' own checkpoints, in turn."""


class Network(nn.Module):
    """The whole network; parameters named as in timm."""

    architecture: ConvNeXt
    class_count: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Stem, four stages, head."""
        architecture = self.architecture
        self.stem = self._create_stem()
        self.stages = [
            Stage(architecture, place, self.dtype, self.remat)
            for place in plan_stages(architecture, self.drop_path)
        ]
        self.norm_pre = norm_of(architecture).create() if architecture.head_norm_first else identity
        self.classifier_head = self._create_head()

    def _create_stem(self) -> list[Callable[..., jax.Array]]:
        architecture, (width, *_) = self.architecture, self.architecture.dims
        norm = norm_of(architecture).create()
        if architecture.stem_type == "patch":
            size = architecture.patch_size
            return [self._create_conv(width, size, size, "valid"), norm]
        tiered, with_act = (architecture.stem_type == f"overlap_{kind}" for kind in ("tiered", "act"))
        first = self._create_conv(make_divisible(float(width // 2)) if tiered else width, 3, 2)
        act = [choose(ACTIVATIONS, architecture.act_layer, "act_layer")] if with_act else []
        return [first, *act, self._create_conv(width, 3, 2), norm]

    def _create_conv(self, features: int, kernel_size: int, stride: int, pad_type: str = "") -> Conv:
        return Conv(
            features,
            kernel_size,
            stride,
            pad_type,
            use_bias=self.architecture.conv_bias,
            kernel_init=NORMAL,
            dtype=self.dtype,
        )

    def _create_head(self) -> ClassifierHead:
        architecture = self.architecture
        options: dict[str, Any] = {
            "class_count": self.class_count,
            "global_pool": architecture.global_pool,
            "dropout": self.dropout,
            "kernel_init": nn.initializers.normal(INITIAL_DEVIATION * architecture.head_init_scale),
            "bias_init": nn.initializers.zeros,
            "name": "head",
        }
        width = architecture.dims[-1]
        if architecture.head_norm_first:
            return ClassifierHead(pooled_width(width, architecture.global_pool), **options)
        return NormMlpClassifierHead(
            width,
            norm_layer=norm_of(architecture),
            hidden_size=architecture.head_hidden_size,
            act_layer="gelu",
            dtype=self.dtype,
            **options,
        )

    def features(self, images: jax.Array, train: bool) -> FeatureMap:
        """The map of the last stage, normalised where the architecture says."""
        features = images.astype(self.dtype)
        for part in self.stem:
            features = part(features)
        for stage in self.stages:
            features = stage(features, train)
        return self.norm_pre(features)

    def pool(self, features: FeatureMap) -> jax.Array:
        """What the classifier reads."""
        return self.classifier_head.pool(features)

    def head(self, features: FeatureMap, train: bool) -> jax.Array:
        """The logits, float32; without a classifier what it would read."""
        return self.classifier_head(features, train)

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """The logits of images."""
        return self.head(self.features(images, train), train)


def create(architecture: ConvNeXt, request: Request) -> Model:
    """The model of an architecture.

    Args:
        architecture: its record, with any model arguments of the weights applied.
        request: what is asked of it; images have at least 32 pixels a side, 29 where the stem overlaps.

    Raises:
        InputError: the image size is too small, or model arguments do not fit together.
    """
    refuse_unbuildable(request.name, architecture)
    refuse_small_images(request, architecture)
    network = Network(
        architecture,
        request.class_count,
        request.dropout,
        request.drop_path,
        request.dtype,
        request.remat,
    )
    return as_model(
        network,
        request,
        feature_width=architecture.head_hidden_size
        or pooled_width(architecture.dims[-1], architecture.global_pool),
        classifier="head/fc",
        filter_checkpoint=functools.partial(filter_checkpoint, architecture=architecture),
        adapt=functools.partial(adapt, architecture=architecture),
    )


def refuse_unbuildable(name: str, architecture: ConvNeXt) -> None:
    """Refuses arguments that do not fit together.

    Raises:
        InputError: lists all of them.
    """
    sizes = architecture.kernel_sizes
    stated = {"depths": architecture.depths, "dims": architecture.dims}
    stated |= {"kernel_sizes": sizes} if isinstance(sizes, tuple) else {}
    faults = [
        f"{key} {list(values)}: must have 4 entries, one for each stage"
        for key, values in stated.items()
        if len(values) != 4
    ]
    if architecture.head_norm_first and architecture.head_hidden_size:
        faults.append(
            f"head_hidden_size {architecture.head_hidden_size}: does not go with head_norm_first; "
            "one of them must be left out"
        )
    if architecture.global_pool == "catavgmax" and not architecture.head_norm_first:
        faults.append("global_pool 'catavgmax': goes with head_norm_first alone")
    refuse_faults(f"model arguments do not fit {name}", faults, "change them, or leave them out")


def refuse_small_images(request: Request, architecture: ConvNeXt) -> None:
    """Refuses images of which nothing would be left after five halvings.

    Each halving drops an odd last row; those of a stem that overlaps keep it.

    Raises:
        InputError: names the least size.
    """
    least = 32 if architecture.stem_type == "patch" else 29
    if request.image_size < least:
        raise InputError(
            f"image size {request.image_size}: {request.name} halves images five times, so they must have at "
            f"least {least} pixels; take {least} or more"
        )


def filter_checkpoint(tensors: Mapping[str, Any], *, architecture: ConvNeXt) -> Mapping[str, Any]:
    """Checkpoints of the authors, of DINOv3 and of OpenCLIP by timm's names, in its layout.

    Args:
        tensors: by their own names; those that have timm's norm of the head are returned as they are.
        architecture: what they are for.

    References:
        `checkpoint_filter_fn` of timm/models/convnext.py.
    """
    if "head.norm.weight" in tensors or "norm_pre.weight" in tensors:
        return tensors
    if f"{CLIP_PREFIX}stem.0.weight" in tensors:
        return _from_open_clip(tensors)
    return dict(
        _rename(name, tensor, architecture.conv_mlp)
        for name, tensor in tensors.items()
        if not name.startswith(NOT_OF_THE_NETWORK)
    )


def _rename(name: str, tensor: Any, conv_mlp: bool) -> tuple[str, Any]:
    """The current name; norms of responses become vectors, maps 1×1 convolutions where `conv_mlp`."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    if ".grn." in name:
        return name, tensor.reshape(-1)
    if conv_mlp and tensor.ndim == 2 and not name.startswith("head."):
        return name, tensor.reshape(*tensor.shape, 1, 1)
    return name, tensor


def _from_open_clip(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The image tower, with the projection to CLIP's space as its classifier, which has no bias there."""
    found = {
        name.removeprefix(CLIP_PREFIX): tensors[name] for name in tensors if name.startswith(CLIP_PREFIX)
    }
    last = "visual.head.proj.weight"
    if "visual.head.mlp.fc1.weight" in tensors and last not in tensors:
        found["head.pre_logits.fc.weight"] = tensors["visual.head.mlp.fc1.weight"]
        found["head.pre_logits.fc.bias"] = tensors["visual.head.mlp.fc1.bias"]
        last = "visual.head.mlp.fc2.weight"
    if last in tensors:
        found["head.fc.weight"] = tensors[last]
        found["head.fc.bias"] = np.zeros(found["head.fc.weight"].shape[0], np.float32)
    return found


def adapt(params: Tree, *, architecture: ConvNeXt) -> Tree:
    """Gives weights of a masked autoencoder, which end before the head, a new norm to start it.

    Args:
        params: of the same architecture.
        architecture: what they are fitted to; the second version alone was pretrained so.

    References:
        `_create_convnext` of timm/models/convnext.py, which loads the tags `fcmae` so.
    """
    if "head" in params or not architecture.use_grn or architecture.head_norm_first:
        return params
    width = architecture.dims[-1]
    norm = {"scale": np.ones(width, np.float32)}
    if norm_of(architecture).kind == "layer":
        norm["bias"] = np.zeros(width, np.float32)
    return {**params, "head": {"norm": norm}}
