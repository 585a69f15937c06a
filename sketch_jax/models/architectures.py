"""All architectures: one visible table, and the way from a name to a model."""

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from jax import numpy as jnp

from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.models import (
    beit,
    convnext,
    efficientnet,
    eva,
    maxxvit,
    metaformer,
    mobilevit,
    nfnet,
    regnet,
    resnet,
    swin_transformer,
    swin_transformer_v2,
    vgg,
    vision_transformer,
)
from sketch_jax.models.image_sizes import DEFAULT_IMAGE_SIZE
from sketch_jax.models.model import Model, Request
from sketch_jax.models.model_options import Remat
from sketch_jax.serialization import from_json


@typing.runtime_checkable
class Family(Protocol):
    """A module that builds architectures."""

    __name__: str

    @property
    def ARCHITECTURES(self) -> Mapping[str, Any]:  # noqa: N802  (a constant of the module)
        """Records by timm's names."""
        ...

    @property
    def IMAGE_SIZES(self) -> Mapping[str, int]:  # noqa: N802
        """Height and width in pixels of the images that one is made for, where they are not 224."""
        ...

    def create(self, architecture: Any, request: Request, /) -> Model:
        """Builds the model of a record."""
        ...


FAMILIES: tuple[Family, ...] = (
    vision_transformer,
    eva,
    beit,
    resnet,
    efficientnet,
    convnext,
    swin_transformer,
    swin_transformer_v2,
    regnet,
    vgg,
    nfnet,
    metaformer,
    mobilevit,
    maxxvit,
)

BUILT_FOR_A_SIZE = (vision_transformer, eva, beit, swin_transformer, swin_transformer_v2, maxxvit)
"""Families with position embeddings, or windows, of one image size."""

OF_THE_RUN = ("num_classes", "img_size", "strict_img_size", "dynamic_img_size", "drop_rate", "drop_path_rate")
"""timm's arguments that the caller decides, whatever the weights' config says."""

NONE: Mapping[str, Any] = MappingProxyType({})


def create_model(
    name: str,
    *,
    arguments: Mapping[str, Any] = NONE,
    class_count: int,
    image_size: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    dtype: Any = jnp.float32,
    remat: Remat = "none",
) -> Model:
    """Builds a model; no parameter is made yet.

    Args:
        name: timm's name of the architecture; a tag after a dot and a leading `timm/` are left out.
        arguments: timm's model arguments, as a hub `config.json` has them in `model_args`. Those that the
            caller decides (classes, image size, dropout, drop path) are left out.
        class_count: classes of the head.
        image_size: height and width of the images, in pixels.
        dropout: probability that a pooled feature is left out before the classifier.
        drop_path: probability that a residual branch of the last block is left out for an image.
        dtype: of the computation; parameters, statistics and logits are float32.
        remat: what of each block the backward pass computes again, to save memory: none, all, or all but
            products of matrices (dots).

    Raises:
        InputError: no such architecture or argument, or they do not fit together.
    """
    name = bare_name(name)
    family = _find_family(name)
    request = Request(
        name=name,
        class_count=class_count,
        image_size=image_size,
        dropout=dropout,
        drop_path=drop_path,
        dtype=dtype,
        remat=remat,
    )
    return family.create(_change(name, family.ARCHITECTURES[name], arguments), request)


def architecture_names() -> list[str]:
    """timm's names of all architectures, sorted."""
    return sorted(name for family in FAMILIES for name in family.ARCHITECTURES)


def is_built_for_a_size(name: str) -> bool:
    """Whether parameters or windows depend on the image size: timm's `fixed_input_size`.

    Args:
        name: as for `create_model`.

    Raises:
        InputError: no such architecture.

    >>> is_built_for_a_size("swinv2_tiny_window8_256"), is_built_for_a_size("resnet18")
    (True, False)
    """
    return _find_family(bare_name(name)) in BUILT_FOR_A_SIZE


def default_image_size(name: str) -> int:
    """Height and width of the images that an architecture is made for, in pixels.

    Args:
        name: as for `create_model`.

    Raises:
        InputError: no such architecture.

    >>> default_image_size("vit_base_patch14_dinov2.lvd142m")
    518
    """
    name = bare_name(name)
    return _find_family(name).IMAGE_SIZES.get(name, DEFAULT_IMAGE_SIZE)


def bare_name(name: str) -> str:
    """The name of an architecture, without the hub's organisation and the tag of the weights.

    >>> bare_name("timm/vit_small_patch16_224.augreg_in21k")
    'vit_small_patch16_224'
    """
    return name.removeprefix("timm/").partition(".")[0]


def family_name(name: str) -> str:
    """The module that builds an architecture.

    Args:
        name: as for `create_model`.

    Raises:
        InputError: no such architecture.

    >>> family_name("deit3_base_patch16_224")
    'vision_transformer'
    """
    return _find_family(bare_name(name)).__name__.rpartition(".")[2]


def refuse_unknown_hub_name(source: str) -> None:
    """Refuses weights of timm on the hub whose name is of no architecture here, before anything is loaded.

    Args:
        source: of weights, as for `open_weights`; all but `timm/ARCHITECTURE.TAG` may be anything.

    Raises:
        InputError: no such architecture.
    """
    name = source.removeprefix("hf-hub:")
    if name.startswith("timm/") and not name.endswith(".safetensors") and not Path(source).exists():
        try:
            family_name(name.partition("@")[0])
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def _find_family(name: str) -> Family:
    for family in FAMILIES:
        if name in family.ARCHITECTURES:
            return family
    hint = suggestion(name, architecture_names())
    raise InputError(
        f"model {name!r}: no such architecture{hint}; `python -m convert list` prints all of them"
    )


def _change(name: str, record: Any, arguments: Mapping[str, Any]) -> Any:
    """The record with arguments replaced, their types checked."""
    stated = {key: value for key, value in arguments.items() if key not in OF_THE_RUN}
    if stated.pop("in_chans", 3) != 3:
        raise InputError(
            f"model argument in_chans {arguments['in_chans']} of {name}: images have 3 channels; "
            "leave it out, weights of images of other channels are fitted when they are loaded"
        )
    hints = typing.get_type_hints(type(record))
    offered = [key for key in hints if key not in OF_THE_RUN]
    unknown = [
        f"{key}={value!r}{suggestion(key, offered)}" for key, value in stated.items() if key not in hints
    ]
    remedy = f"leave them out, or take weights of another architecture; it has {', '.join(offered)}"
    refuse_faults(f"model arguments that {name} does not have here", unknown, remedy)
    parsed = {key: _parse(hints[key], value, f"model argument {key}") for key, value in stated.items()}
    default = {key for key, value in parsed.items() if value is None and not _optional(hints[key])}
    return dataclasses.replace(record, **{key: parsed[key] for key in parsed if key not in default})


def _parse(expected: Any, value: Any, place: str) -> Any:
    """A value from JSON as its field has it; other values are taken as they are."""
    return from_json(expected, value, place) if isinstance(value, str | int | float | list) else value


def _optional(hint: Any) -> bool:
    """Whether None means something to a field; elsewhere timm takes it for the default."""
    return type(None) in typing.get_args(hint)
