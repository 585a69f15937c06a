"""What a checkpoint says of its model."""

from collections.abc import Mapping
from typing import Any

from sketch_jax.run.setting import Setting
from sketch_jax.serialization import to_json


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
