"""The timm side of a comparison: building the model, loading weights the way timm does, running it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from timm.models import PretrainedCfg

from convert.randomize import randomize, randomize_classifier
from sketch_jax.models.architectures import OF_THE_RUN, bare_name, default_image_size
from sketch_jax.weights.names import STATISTICS
from sketch_jax.weights.sources import Weights
from sketch_jax.weights.timm_config import image_channels, pretrained_config

NEW_CLASSES = 10
"""Classes of a classifier that is made because the weights have none."""


WITH_WEIGHTS: Mapping[str, Mapping[str, Any]] = {"fbnetc_100": {"bn_eps": 1e-3}}
"""Arguments that timm's functions give where they load weights, and only there."""


class Inputs(NamedTuple):
    """What both sides are given."""

    images: np.ndarray
    """[batch, height, width, 3], normalised, float32."""
    cotangents: np.ndarray
    """Weights of the logits in the sum that is differentiated, [batch, classes]."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What both sides are compared by."""

    features: np.ndarray
    """Unpooled: [batch, tokens, width] or [batch, height, width, channels]."""
    logits: np.ndarray
    gradients: Mapping[str, np.ndarray]
    """Of the weighted sum of the logits, by timm's names and in its layout; `images` is the input's."""
    statistics: Mapping[str, np.ndarray]
    """Running statistics after the step, by timm's names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides are built with."""

    name: str
    arguments: Mapping[str, Any]
    """timm's model arguments, but for those that the caller of `create_model` decides."""
    class_count: int
    image_size: int


def choose_setting(
    name: str, arguments: Mapping[str, Any], config: Mapping[str, Any], image_size: int | None
) -> Setting:
    """The class count and image size of the weights, or those that timm has for this architecture.

    Args:
        name: of the architecture in timm.
        arguments: the weights' model arguments.
        config: the weights' config.json; empty for random values.
        image_size: in pixels; None: that of the weights.

    Raises:
        InputError: the architecture is not supported.
    """
    name = bare_name(name)
    default_size = default_image_size(name)
    stated_size = pretrained_config(config).get("input_size", (3, default_size))[1]
    return Setting(
        name=name,
        arguments={key: value for key, value in arguments.items() if key not in OF_THE_RUN},
        class_count=class_count_of(config, _registered(name).get("num_classes", 0)) or NEW_CLASSES,
        image_size=image_size or stated_size,
    )


def class_count_of(config: Mapping[str, Any], otherwise: int) -> int:
    """Classes of the weights' classifier, 0 when they have none; `otherwise` when the config is silent."""
    return config.get("num_classes", pretrained_config(config).get("num_classes", otherwise))


def build(setting: Setting, weights: Weights | None, images: np.ndarray, seed: int) -> torch.nn.Module:
    """The model in timm, in evaluation mode.

    Args:
        setting: what to build.
        weights: loaded and adapted by timm itself; a classifier they lack is random. None: all values are.
        images: by which random values are scaled.
        seed: of random values.
    """
    generator = torch.Generator().manual_seed(seed)
    if weights is None:
        model = _create(setting)
        randomize(model, _to_torch(images), generator)
        return model
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.tensors.items()}
    class_count = class_count_of(weights.config, setting.class_count)
    overlay = {
        "state_dict": tensors,
        "num_classes": class_count,
        "label_offset": None,
        "input_size": (image_channels(weights.config), setting.image_size, setting.image_size),
    }
    model = _create(setting, in_chans=3, pretrained=True, pretrained_cfg_overlay=overlay)
    if class_count != setting.class_count:
        randomize_classifier(model, _to_torch(images), generator)
    return model


def state_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Copies of all tensors of a model, by timm's names."""
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def run_timm(model: Any, inputs: Inputs, train: bool) -> Outputs:
    """Runs timm's model forward and backward; in training mode its running statistics move on.

    Args:
        model: of timm, without dropout.
        inputs: images, and weights of the logits.
        train: batch statistics instead of running ones.
    """
    model.train(train)
    images = _to_torch(inputs.images).requires_grad_()
    features = model.forward_features(images)
    logits = model.forward_head(features)
    total = (logits * torch.from_numpy(inputs.cotangents)).sum()
    sources = {"images": images} | {n: value for n, value in model.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(total, list(sources.values()), materialize_grads=True)
    named = {name: gradient.numpy() for name, gradient in zip(sources, gradients, strict=True)}
    if features.ndim == 4 and getattr(model, "output_fmt", "NCHW") == "NCHW":
        features = features.permute(0, 2, 3, 1)
    return Outputs(
        features=features.detach().numpy(),
        logits=logits.detach().numpy(),
        gradients=named | {"images": named["images"].transpose(0, 2, 3, 1)},
        statistics={
            name: value for name, value in state_of(model).items() if name.endswith(tuple(STATISTICS))
        },
    )


def has_fixed_size(name: str) -> bool:
    """Whether a model of timm's is built for one image size."""
    return _registered(name)["fixed_input_size"]


def is_random_in_training(model: Any) -> bool:
    """Whether a model has dropout of its own, as the position perceptrons of some MaxViTs."""
    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())


def _create(setting: Setting, **arguments: Any) -> torch.nn.Module:
    size = {"img_size": setting.image_size} if has_fixed_size(setting.name) else {}
    arguments = {**WITH_WEIGHTS.get(setting.name, {}), **size, **setting.arguments, **arguments}
    return timm.create_model(setting.name, num_classes=setting.class_count, **arguments).eval()


def _registered(name: str) -> dict[str, Any]:
    return (timm.get_pretrained_cfg(name) or PretrainedCfg()).to_dict()


def _to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
