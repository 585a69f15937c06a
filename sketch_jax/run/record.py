"""What a checkpoint says of its model, and what earlier versions of this code said."""

from collections.abc import Mapping
from typing import Any

from sketch_jax.config import Config
from sketch_jax.errors import InputError
from sketch_jax.losses.options import Loss
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.run.setting import Setting
from sketch_jax.serialization import from_json, to_json


def model_record(setting: Setting) -> Mapping[str, Any]:
    """What a checkpoint needs beside its arrays to be used alone, and what it must not go on without."""
    start = setting.start
    return {
        "model": {
            "name": start.model.name,
            "arguments": dict(start.arguments),
            "classifier": start.model.classifier,
            "feature_width": start.model.feature_width,
            "head": to_json(setting.config.model.head),
            "heads": dict(setting.objective.heads),
            "ordinal_heads": list(setting.objective.ordinal_heads),
            "loss": to_json(setting.config.loss),
            "tasks": to_json(setting.data.dataset.tasks),
        },
        "class_names": list(setting.data.dataset.train.class_names),
        "preprocessing": to_json(start.preprocessing),
        "start": start.fingerprint,
        "data_fingerprint": setting.data.fingerprint,
    }


def complete_record(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A checkpoint's record with the options that have come since it was written, at their defaults."""
    model = dict(stored.get("model", {}))
    for name, kind in (("head", HeadOptions), ("loss", Loss)):
        if name in model:
            model[name] = _complete(kind, model[name])
    return {**stored, "model": model}


def complete_config(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's configuration with the fields that have come since it was written, at their defaults."""
    return _complete(Config, stored)


def _complete(kind: Any, stored: Any) -> Any:
    """The same where it does not fit: what differs is then told by whoever compares."""
    try:
        return to_json(from_json(kind, stored))
    except InputError:
        return stored
