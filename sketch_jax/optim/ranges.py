"""Numbers that a user sets, checked: their ranges, and durations of which exactly one is given."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sketch_jax.errors import InputError, refuse_faults


class Range(NamedTuple):
    """Which numbers a field may have."""

    allows: Callable[[float], bool]
    wanted: str


ABOVE_ZERO = Range(lambda value: value > 0, "above 0")
AT_LEAST_ZERO = Range(lambda value: value >= 0, "at least 0")
AT_LEAST_ONE = Range(lambda value: value >= 1, "at least 1")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "at least 0 and below 1")
INSIDE_ONE = Range(lambda value: 0 < value < 1, "above 0 and below 1")


def flag(record: str, name: str) -> str:
    """The command-line option of a field.

    >>> flag("schedule", "warmup_epochs")
    '--schedule.warmup-epochs'
    """
    return f"--{record}.{name.replace('_', '-')}"


def refuse_out_of_range(record: str, values: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Checks the numbers of a record.

    Args:
        record: its place in the configuration, `optimizer` or `schedule`.
        values: by name of the field; None passes, tuples are checked entry by entry, fields without a range
            are left alone.
        ranges: by name of the field.

    Raises:
        InputError: numbers are out of their ranges or not finite; all are named.
    """
    faults = [
        f"{flag(record, name)} {number:g}: must be {ranges[name].wanted}"
        for name, value in values.items()
        if name in ranges and value is not None
        for number in (value if isinstance(value, tuple) else (value,))
        if not (math.isfinite(number) and ranges[name].allows(number))
    ]
    refuse_faults(f"numbers of the {record} out of their ranges", faults, "set them in these ranges")


def refuse_several(record: str, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Checks that at most one of some fields is given.

    Raises:
        InputError: several are not None.
    """
    given = [f"{flag(record, name)} {_text(values[name])}" for name in names if values[name] is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: at most one of them can be given; set the others to None")


def refuse_unless_one(record: str, values: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Checks that a duration is given in epochs or in steps.

    Raises:
        InputError: both or neither are None.
    """
    given = [name for name in names if values[name] is not None]
    if len(given) == 1:
        return
    first, second = (flag(record, name) for name in names)
    if given:
        first, second = (f"{flag(record, name)} {_text(values[name])}" for name in names)
        raise InputError(f"{first} and {second}: exactly one of them must be given; set the other to None")
    raise InputError(f"{first} and {second}: exactly one of them must be given; set one to a number")


def _text(value: Any) -> str:
    return " ".join(f"{number:g}" for number in (value if isinstance(value, tuple) else (value,)))
