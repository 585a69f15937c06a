"""Which kind of record stands in a field that can hold several: `--split.kind KFold` on the command line."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sketch_jax.errors import InputError, suggestion

SUFFIX = ".kind"

Kinds = Mapping[str, Any]
"""What a field can hold, by the name that the command line uses; None by `None`."""


def kinds_of(hint: Any) -> Kinds:
    """The kinds of a field's annotation; fewer than two: there is nothing to choose.

    >>> from sketch_jax.data.splits import HoldOut, KFold
    >>> list(kinds_of(HoldOut | KFold | None))
    ['HoldOut', 'KFold', 'None']
    """
    choices = typing.get_args(hint)
    records: dict[str, Any] = {
        choice.__name__: choice
        for choice in choices
        if isinstance(choice, type) and dataclasses.is_dataclass(choice)
    }
    if records and type(None) in choices:
        records["None"] = None
    return records


def choices_under(record: Any, prefix: str = "") -> Iterator[tuple[str, Kinds, str]]:
    """Fields below a record that can be of several kinds: the option, the kinds, and the one it has."""
    for name, hint in typing.get_type_hints(type(record)).items():
        value, option = getattr(record, name), f"{prefix}{name.replace('_', '-')}"
        kinds = kinds_of(hint)
        if len(kinds) > 1:
            yield f"--{option}{SUFFIX}", kinds, "None" if value is None else type(value).__name__
        if dataclasses.is_dataclass(value):
            yield from choices_under(value, f"{option}.")


def choose_kinds(record: Any, arguments: Sequence[str], missing: Any) -> tuple[Any, list[str]]:
    """The record with the kinds that the command line asks for, and the arguments that are left.

    Fields of the same name and type keep values that are not the old kind's defaults; others have those of
    the new kind. A kind that can hold the old record holds it, and the other way round: SAM goes over the
    optimizer that is there. Fields are chosen before what lies in them. No check of the record runs: what it
    is built from anew, with the arguments that are left, is to be checked.

    Args:
        record: a frozen dataclass.
        arguments: of the command line; `--path.kind NAME` and `--path.kind=NAME` are taken out.
        missing: stands for fields that have no default and must be given.

    Raises:
        InputError: there is no such field or kind, or no kind follows.
    """
    left: list[str] = []
    asked: list[tuple[list[str], str, str]] = []
    words = iter(arguments)
    for word in words:
        option, equals, name = word.partition("=")
        if not (option.startswith("--") and option.endswith(SUFFIX)):
            left.append(word)
            continue
        name = name if equals else next(words, "")
        path = option.removeprefix("--").removesuffix(SUFFIX).replace("-", "_").split(".")
        asked.append((path, name, option))
    for path, name, option in sorted(asked, key=lambda choice: len(choice[0])):
        record = _replace_kind(record, path, name, option, missing)
    return record, left


def refuse_misplaced_options(record: Any, arguments: Sequence[str]) -> None:
    """Refuses options that another kind of a field would have, which a parser would only call unknown.

    Args:
        record: a frozen dataclass.
        arguments: of the command line, kinds taken out.

    Raises:
        InputError: an option is one of another kind, or is a field of several kinds itself.
    """
    choices = {option.removesuffix(SUFFIX): (kinds, has) for option, kinds, has in choices_under(record)}
    for option in (word.partition("=")[0] for word in arguments):
        place, _, field = option.rpartition(".")
        if option in choices:
            kinds, has = choices[option]
            names = ", ".join(kinds)
            raise InputError(f"{option}: is {has}; choose another kind by {option}{SUFFIX} NAME ({names})")
        kinds, has = choices.get(place, ({}, ""))
        name = field.replace("-", "_")
        having = [kind for kind, of in kinds.items() if of is not None and name in _field_names(of)]
        if having and has not in having:
            inside = _place_below(_value_at(record, place), name)
            if inside is not None:
                raise InputError(f"{option}: {has} has no such option itself; it is {place}.{inside} there")
            verb = "has" if len(having) == 1 else "have"
            raise InputError(
                f"{option}: {has} has no such option, {' and '.join(having)} {verb}; add {place}{SUFFIX} "
                f"{having[0]}"
            )


def _value_at(record: Any, option: str) -> Any:
    for field in option.removeprefix("--").replace("-", "_").split("."):
        record = getattr(record, field)
    return record


def _place_below(record: Any, name: str) -> str | None:
    """Where a record that lies in another has a field, as an option's last parts."""
    if not dataclasses.is_dataclass(record):
        return None
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        parts = enumerate(value) if isinstance(value, tuple) else [(None, value)]
        for index, part in parts:
            place = ".".join([field.name, *([] if index is None else [str(index)])]).replace("_", "-")
            if dataclasses.is_dataclass(part) and name in _field_names(part):
                return f"{place}.{name.replace('_', '-')}"
            if (deeper := _place_below(part, name)) is not None:
                return f"{place}.{deeper}"
    return None


def _field_names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _replace_kind(record: Any, path: Sequence[str], name: str, option: str, missing: Any) -> Any:
    field, *rest = path
    hints = typing.get_type_hints(type(record))
    if field not in hints:
        raise InputError(f"{option}: there is no field {field!r}{suggestion(field, hints)}")
    if rest:
        return with_field(record, field, _replace_kind(getattr(record, field), rest, name, option, missing))
    kinds = kinds_of(hints[field])
    if len(kinds) < 2:
        raise InputError(f"{option}: {field} is of one kind only; leave the option out")
    if name not in kinds:
        raise InputError(
            f"{option} {name}: no such kind{suggestion(name, kinds)}; it can be {', '.join(kinds)}"
        )
    _refuse_records_without_values(kinds[name], f"{option} {name}")
    return with_field(record, field, _as_kind(kinds[name], getattr(record, field), missing))


def with_field(record: Any, field: str, value: Any) -> Any:
    """The record with another value in a field; no check runs, as options that are to come may mend it."""
    return _unchecked(type(record), {**_fields_of(record), field: value})


def _refuse_records_without_values(kind: Any, option: str) -> None:
    for field in dataclasses.fields(kind) if kind is not None else ():
        of = typing.get_args(typing.get_type_hints(kind)[field.name])
        if _is_required(field) and of and dataclasses.is_dataclass(of[0]):
            raise InputError(
                f"{option}: its {field.name} are records, of which the command line can make none; "
                "write them in a configuration file"
            )


def _fields_of(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _as_kind(kind: Any, old: Any, missing: Any) -> Any:
    """A record of a kind with what was set of an old one."""
    if kind is None or type(old) is kind:
        return None if kind is None else old
    if not dataclasses.is_dataclass(old):
        old_fields, had = {}, {}
    else:
        old_fields = {field.name: field for field in dataclasses.fields(old)}
        had = typing.get_type_hints(type(old))
    inside = next((value for name in old_fields if type(value := getattr(old, name)) is kind), None)
    if inside is not None:
        return inside
    hints, values = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        name = field.name
        if type(old) in kinds_of(hints[name]).values():
            values[name] = old
        elif had.get(name) == hints[name] and _is_set(old_fields[name], getattr(old, name)):
            values[name] = getattr(old, name)
        else:
            values[name] = missing if _is_required(field) else _default(field)
    return _unchecked(kind, values)


def _is_set(field: dataclasses.Field[Any], value: Any) -> bool:
    return _is_required(field) or value != _default(field)


def _unchecked(kind: Any, values: Mapping[str, Any]) -> Any:
    """A record whose checks have not run: whole only with what the command line still gives."""
    record = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(record, name, value)
    return record


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
