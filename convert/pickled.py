"""Pickled checkpoints of torch, read without running what they may contain."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convert.extra import require
from sketch_jax.errors import InputError
from sketch_jax.weights.sources import CONFIG_FILE, Weights, read_json

STATE_KEYS = (
    *("state_dict_ema", "model_ema", "state_dict", "model", "classy_state_dict", "base_model"),
    *("module", "encoder"),
)
"""Where training scripts keep the state dict inside a checkpoint; averaged weights first, as timm does."""

PARTS = ("trunk", "heads")
"""Of a state dict, where it is kept in parts, as classy vision does."""

PREFIXES = ("module.", "_orig_mod.")
"""What data-parallel and compiled models put before every name."""


HUB_NAMES = ("pytorch_model.bin", "model.pth")
"""Of files whose config.json lies beside them; beside others may lie that of other weights."""


def open_pickle(path: Path) -> Weights:
    """The tensors of a pickled checkpoint, with the config.json beside it where it has a hub's name.

    Raises:
        InputError: torch is absent, the file is damaged, holds more than tensors, or holds no state dict.
    """
    state = find_state(_load(path))
    if not state:
        raise InputError(f"{path}: holds no state dict of tensors; save model.state_dict() with torch.save")
    tensors = {name: _to_numpy(tensor) for name, tensor in state.items()}
    config = path.parent / CONFIG_FILE
    return Weights(
        tensors=tensors,
        config=read_json(config) if path.name in HUB_NAMES and config.is_file() else {},
        fingerprint="",
        origin=str(path),
    )


def find_state(checkpoint: Any) -> dict[str, Any]:
    """The tensors of a checkpoint by timm's names; empty when it has none.

    >>> find_state({"epoch": 3, "state_dict": {"module.fc.bias": np.zeros(1)}})
    {'fc.bias': array([0.])}
    >>> find_state({"model": {"trunk": {"stem.bias": np.zeros(1)}, "heads": {"fc.bias": np.ones(1)}}})
    {'stem.bias': array([0.]), 'fc.bias': array([1.])}
    """
    if not isinstance(checkpoint, Mapping):
        return {}
    for key in STATE_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            return find_state(checkpoint[key])
    parts = [checkpoint[part] for part in PARTS if isinstance(checkpoint.get(part), Mapping)]
    if parts:
        return {name: value for part in parts for name, value in find_state(part).items()}
    return {_bare(name): value for name, value in checkpoint.items() if hasattr(value, "shape")}


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _load(path: Path) -> Any:
    torch = require("torch", f"{path}: reading a pickled checkpoint")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch warns of pickles that are not its own before it refuses them
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, so it is not read; save model.state_dict() alone"
        ) from error
    except Exception as error:  # what an unpickler raises at bytes that are no pickle is any of a dozen
        raise InputError(
            f"{path}: not a whole checkpoint of torch ({type(error).__name__}: {error}); download or copy it "
            "again"
        ) from error


def _to_numpy(tensor: Any) -> np.ndarray:
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
