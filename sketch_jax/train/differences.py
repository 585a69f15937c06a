"""Where two nested JSON values differ."""

import json
from collections.abc import Mapping
from typing import Any

ABSENT = "(absent)"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Fields of two JSON objects that differ: dotted path to `old → new`, both as JSON.

    >>> differences({"model": {"name": "a"}, "seed": 0}, {"model": {"name": "b"}, "seed": 0})
    {'model.name': '"a" → "b"'}
    """
    before, after = _flatten(old), _flatten(new)
    paths = [*before, *(path for path in after if path not in before)]
    return {
        path: f"{before.get(path, ABSENT)} → {after.get(path, ABSENT)}"
        for path in paths
        if before.get(path) != after.get(path)
    }


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    leaves: dict[str, str] = {}
    for name, item in value.items():
        path = f"{prefix}{name}"
        if isinstance(item, Mapping) and item:
            leaves |= _flatten(item, f"{path}.")
        else:
            leaves[path] = json.dumps(item, sort_keys=True, ensure_ascii=False)
    return leaves
