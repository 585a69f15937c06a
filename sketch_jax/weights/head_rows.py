"""A classifier that starts from rows of the pretrained one: classes that were learnt under other numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sketch_jax.errors import InputError, refuse_faults

Rows = Sequence[int | None]
"""The row of each class in the pretrained classifier; None: it has none and starts new."""


class RowsOfFile(NamedTuple):
    """What a file says of the rows of classes."""

    rows: tuple[int | None, ...]
    """Of each class."""
    other_names: tuple[str, ...]
    """Names in the file that are of no class, which may be misspelt."""


def read_rows(path: Path, class_names: Sequence[str]) -> RowsOfFile:
    """The rows of a JSON file from class names to row numbers.

    Args:
        path: of the file; names of other classes are left out.
        class_names: in the order of the new classifier.

    Raises:
        InputError: the file cannot be read, is no such object, or names none of the classes.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"--model.head.rows {path}: not a readable JSON file ({error}); write an object such as "
            '{"ant": 310, "bee": 309}'
        ) from error
    if not isinstance(rows, dict):
        raise InputError(
            f"--model.head.rows {path}: must hold an object from class names to rows, "
            f"not {type(rows).__name__}"
        )
    faults = [
        f"{name}: {row!r} is no row number, an integer from 0"
        for name, row in rows.items()
        if type(row) is not int or row < 0
    ]
    refuse_faults(f"rows in {path}", faults, "rows are counted from 0, as the classes of the weights are")
    if rows.keys().isdisjoint(class_names):
        first = class_names[0]
        raise InputError(
            f"--model.head.rows {path}: names none of the {len(class_names)} classes, of which the first is "
            f"{first!r}, but {', '.join(map(repr, list(rows)[:3]))}; write the classes' names as the data "
            "has them"
        )
    known = frozenset(class_names)
    return RowsOfFile(
        tuple(rows.get(name) for name in class_names), tuple(name for name in rows if name not in known)
    )


def rows_by_name(config: Mapping[str, Any], class_names: Sequence[str]) -> Rows | None:
    """The rows of classes by name, None for those the weights lack; None where the classifier fits as it is.

    It does where its classes have no names, or those of the data in their order.

    Args:
        config: timm's `config.json` of the weights; `label_names` are the classes of its classifier.
        class_names: in the order of the new classifier.

    >>> config = {"num_classes": 2, "label_names": ["cat", "dog"]}
    >>> rows_by_name(config, ["dog", "cow"]), rows_by_name(config, ["cat", "dog"]), rows_by_name({}, ["cat"])
    ((1, None), None, None)
    """
    names = config.get("label_names")
    if not isinstance(names, list) or len(names) != config.get("num_classes") or names == list(class_names):
        return None
    place = {name: row for row, name in enumerate(names)}
    return tuple(place.get(name) for name in class_names)


def choose_rows(
    pretrained: Mapping[str, Any], fresh: Mapping[str, Any], rows: Rows, origin: str
) -> dict[str, np.ndarray]:
    """A classifier's parameters, by path: of each class those of its row, or new ones.

    Args:
        pretrained: parameters of the pretrained classifier; classes are the last axis.
        fresh: newly made parameters of as many classes as there are rows.
        rows: of each class.
        origin: of the weights, for messages.

    Raises:
        InputError: the weights have no classifier, one of another form, or fewer rows.
    """
    if pretrained.keys() != fresh.keys() or any(
        pretrained[path].shape[:-1] != fresh[path].shape[:-1] for path in fresh
    ):
        raise InputError(
            f"{origin}: has no classifier whose rows a new one could start from, as --model.head.rows or "
            "classes of the same names ask; take weights that were trained to classify, or none of their rows"
        )
    count = min(leaf.shape[-1] for leaf in pretrained.values())
    beyond = sorted({row for row in rows if row is not None and row >= count})
    if beyond:
        raise InputError(
            f"{origin}: its classifier has the rows 0 to {count - 1}, and --model.head.rows asks for "
            f"{', '.join(map(str, beyond))}; rows are counted from 0"
        )
    known = np.array([row is not None for row in rows])
    places = np.array([row or 0 for row in rows])
    return {
        path: np.where(known, np.asarray(pretrained[path])[..., places], np.asarray(leaf))
        for path, leaf in fresh.items()
    }
