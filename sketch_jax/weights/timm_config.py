"""timm's `config.json`: what it says of the architecture and of the images, and how it is written."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from sketch_jax.errors import refuse_faults
from sketch_jax.preprocessing import CropMode, Interpolation, Preprocessing
from sketch_jax.weights.names import timm_name

DEFAULT_IMAGE_SIZE = 224

TIMM_DEFAULTS: dict[str, Any] = {
    "input_size": (3, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}
"""What timm assumes where a `pretrained_cfg` is silent."""


def architecture_from(config: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Name in timm of the architecture, and model arguments; None and nothing where the config is silent.

    The channels of the images are no argument here: see `image_channels`.

    >>> architecture_from({"architecture": "resnet18", "model_args": {"act_layer": "gelu"}})
    ('resnet18', {'act_layer': 'gelu'})
    """
    stated = config.get("model_args") or {}
    return config.get("architecture"), {key: value for key, value in stated.items() if key != "in_chans"}


def image_channels(config: Mapping[str, Any]) -> int:
    """Channels of the images that the weights were trained on.

    >>> image_channels({"pretrained_cfg": {"input_size": [1, 28, 28]}}), image_channels({})
    (1, 3)
    """
    stated = (config.get("model_args") or {}).get("in_chans")
    size = pretrained_config(config).get("input_size") or TIMM_DEFAULTS["input_size"]
    return size[0] if stated is None else stated


def preprocessing_from(config: Mapping[str, Any], image_size: int | None = None) -> Preprocessing:
    """How the weights want their images.

    Args:
        config: timm's `config.json`. Where its `pretrained_cfg` is silent, timm's own defaults hold; an empty
            config asks for nothing, and the defaults of `Preprocessing` hold. Images have 3 channels in any
            case; one mean or deviation holds for all.
        image_size: in pixels; None: what the weights were trained at.

    Raises:
        InputError: the weights want images that are not square, a mean or deviation of neither one nor 3
            channels, or a resize that is not offered.

    References:
        timm/data/config.py, `resolve_data_config`; timm/models/_hub.py, `_parse_model_cfg`.
    """
    if not config:
        return Preprocessing(image_size=image_size or DEFAULT_IMAGE_SIZE)
    stated = pretrained_config(config)
    wanted = {name: stated.get(name) or default for name, default in TIMM_DEFAULTS.items()}
    built_for = _built_for(config.get("model_args") or {}, stated)
    if built_for is not None:
        wanted["input_size"] = (wanted["input_size"][0], *built_for)
    wanted |= {name: 3 * list(wanted[name]) for name in ("mean", "std") if len(wanted[name]) == 1}
    refuse_faults(
        "the weights' config.json asks for images that are not supported",
        _faults(wanted),
        "change pretrained_cfg in config.json to what is supported",
    )
    mean, std = (tuple(map(float, wanted[name])) for name in ("mean", "std"))
    return Preprocessing(
        image_size=image_size or int(wanted["input_size"][1]),
        mean=typing.cast(tuple[float, float, float], mean),
        std=typing.cast(tuple[float, float, float], std),
        interpolation=wanted["interpolation"],
        crop_fraction=float(wanted["crop_pct"]),
        crop_mode=wanted["crop_mode"],
    )


def _built_for(arguments: Mapping[str, Any], stated: Mapping[str, Any]) -> Sequence[int] | None:
    """Height and width that the weights' model was built for, where its arguments say so."""
    flexible = arguments.get("dynamic_img_size") or arguments.get("strict_img_size") is False
    size = arguments.get("img_size")
    if size is None or flexible or not stated.get("fixed_input_size"):
        return None
    return (size, size) if isinstance(size, int) else size


def pretrained_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of timm's config that describes the weights; old files have it at the top."""
    return config.get("pretrained_cfg", config)


def timm_config(
    *,
    architecture: str,
    model_arguments: Mapping[str, Any],
    class_count: int,
    class_names: Sequence[str],
    classifiers: Sequence[str],
    feature_width: int,
    preprocessing: Preprocessing,
    fixed_image_size: bool,
) -> dict[str, Any]:
    """The `config.json` with which timm rebuilds a model and its preprocessing.

    Args:
        architecture: timm's name.
        model_arguments: of timm's model function, beyond class count and image size.
        class_count: classes of the classifier; 0: it has none.
        class_names: name of each class index; empty: unknown.
        classifiers: our paths of the classifiers' parameters.
        feature_width: channels of the pooled features.
        preprocessing: of the images.
        fixed_image_size: the model is built for one image size (position embeddings, windows), so that timm
            must build it for that of the preprocessing.
    """
    size = preprocessing.image_size
    of_size = {"img_size": size} if fixed_image_size else {}  # some of timm's functions state their own
    names = [timm_name(path) for path in classifiers]
    pretrained_cfg = {
        "tag": "sketch_jax",
        "custom_load": False,
        "input_size": [3, size, size],
        "fixed_input_size": fixed_image_size,
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_fraction,
        "crop_mode": preprocessing.crop_mode,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "num_classes": class_count,
        "first_conv": None,
        "classifier": names[0] if len(names) == 1 else names,
    }
    return {
        "architecture": architecture,
        "num_classes": class_count,
        "num_features": feature_width,
        **({"label_names": list(class_names)} if class_names else {}),
        "model_args": {**model_arguments, **of_size},
        "pretrained_cfg": pretrained_cfg,
    }


def _faults(wanted: Mapping[str, Any]) -> list[str]:
    _, height, width = wanted["input_size"]
    checks = {
        f"input_size {list(wanted['input_size'])}: must be [channels, side, side]": height == width,
        f"mean {wanted['mean']}: must be 3 numbers, or one for all": len(wanted["mean"]) == 3,
        f"std {wanted['std']}: must be 3 numbers, or one for all": len(wanted["std"]) == 3,
    }
    faults = [fault for fault, holds in checks.items() if not holds]
    for name, choices in (("interpolation", Interpolation), ("crop_mode", CropMode)):
        offered = typing.get_args(choices)
        if wanted[name] not in offered:
            faults.append(f"{name} {wanted[name]!r}: must be one of {', '.join(offered)}")
    return faults
