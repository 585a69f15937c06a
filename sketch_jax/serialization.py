"""Frozen records as JSON and back: unions are tagged with the record's name, unknown fields are refused."""

import dataclasses
import types
import typing
from typing import Any

from sketch_jax.errors import InputError, suggestion

TAG = "type"


def to_json(value: Any) -> Any:
    """The value as JSON types; a record becomes a dictionary that names its type.

    >>> from sketch_jax.preprocessing import Preprocessing
    >>> to_json(Preprocessing(image_size=96))["image_size"]
    96
    """
    if dataclasses.is_dataclass(value):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {TAG: type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [to_json(part) for part in value]
    return value


def from_json(expected: Any, value: Any, place: str = "") -> Any:
    """The value of an annotated type, from what `to_json` made of it.

    Args:
        expected: the annotation: a record, a union, a tuple, a literal or a plain type.
        value: JSON types.
        place: where the value stands, for messages.

    Raises:
        InputError: the value does not fit the annotation, or a record has unknown fields.
    """
    if dataclasses.is_dataclass(expected) and isinstance(value, dict):
        return _record_from_json(expected, value, place)
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return _union_from_json(arguments, value, place)
    if origin is tuple and isinstance(value, list):
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        if not repeated and len(value) != len(arguments):
            raise InputError(f"{place or 'value'}: {value!r} must have {len(arguments)} parts")
        kinds = arguments[:1] * len(value) if repeated else arguments
        return tuple(from_json(kind, part, place) for kind, part in zip(kinds, value, strict=True))
    if origin is typing.Literal and value in arguments:
        return value
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(expected, type) and type(value) is expected:
        return value
    raise InputError(f"{place or 'value'}: {value!r} is not of type {expected}")


def _record_from_json(record: Any, value: dict[str, Any], place: str) -> Any:
    hints = typing.get_type_hints(record)
    given = {name: part for name, part in value.items() if name != TAG}
    for name in given:
        if name not in hints:
            raise InputError(f"{place}.{name}".lstrip(".") + f": no such field{suggestion(name, hints)}")
    for field in dataclasses.fields(record):
        if field.name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(
                f"{place}.{field.name}".lstrip(".") + f": is missing; a {record.__name__} needs it"
            )
    parts = {
        name: from_json(hints[name], part, f"{place}.{name}".lstrip(".")) for name, part in given.items()
    }
    return record(**parts)


def _union_from_json(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    if isinstance(value, dict) and TAG in value:
        for kind in kinds:
            if getattr(kind, "__name__", None) == value[TAG]:
                return from_json(kind, value, place)
    for kind in kinds:
        if kind is not type(None) and not dataclasses.is_dataclass(kind):
            try:
                return from_json(kind, value, place)
            except InputError:
                continue
    raise InputError(f"{place or 'value'}: {value!r} is none of {', '.join(map(str, kinds))}")
