"""Tables of text: comma-separated files in UTF-8 with a header, checked as they are read."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

from sketch_jax.data.files import unreadable
from sketch_jax.errors import InputError, refuse_faults, suggestion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it stands in a file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """Line of the file where each row ends, from 1."""


def read_table(path: Path, *, option: str, required: bool = False, delimiter: str = ",") -> Table:
    """Reads a table that has a header and at least one row.

    Args:
        path: the file.
        option: the option that names it, for messages.
        required: whether None for the option is no way out.
        delimiter: one character between the fields of a row.

    Raises:
        InputError: the file is missing, empty, not UTF-8 or no table; a column occurs twice, or a row has too
            many or too few fields (all such rows are listed).
    """
    reader = csv.reader(
        io.StringIO(_read_text(path, option, required), newline=""), delimiter=delimiter, strict=True
    )
    try:
        numbered = [(reader.line_num, tuple(row)) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: {error}; mend this row") from error
    if len(numbered) < 2:
        found = "a header but no rows" if numbered else "nothing"
        raise InputError(f"{path}: holds {found}; the file needs a header and a row for each image")
    (_, columns), *body = numbered
    _check_shape(path, columns, body)
    return Table(
        path=path, columns=columns, rows=tuple(row for _, row in body), lines=tuple(line for line, _ in body)
    )


def column(table: Table, name: str, *, option: str) -> tuple[str, ...]:
    """Values of a column.

    Args:
        table: any.
        name: of the column.
        option: the option that names it, for messages.

    Raises:
        InputError: there is no such column; says which there are.
    """
    if name not in table.columns:
        there = ", ".join(repr(column) for column in table.columns)
        raise InputError(
            f"{option} {name}: {table.path} has no such column; its columns are {there}"
            f"{suggestion(name, table.columns)}"
        )
    index = table.columns.index(name)
    return tuple(row[index] for row in table.rows)


def refuse_repeated(table: Table, values: Sequence[str], name: str) -> None:
    """Refuses a column in which a value occurs twice.

    Raises:
        InputError: lists every row that repeats an earlier one.
    """
    first: dict[str, int] = {}
    faults = []
    for line, value in zip(table.lines, values, strict=True):
        if value in first:
            faults.append(f"line {line}: {value!r} is on line {first[value]} already")
        first.setdefault(value, line)
    refuse_faults(f"{table.path}: values of {name!r} must differ", faults, "remove the repeated rows")


def refuse_blank(table: Table, values: Sequence[str], name: str) -> None:
    """Refuses a column with empty fields.

    Raises:
        InputError: lists their lines.
    """
    faults = [f"line {line}" for line, value in zip(table.lines, values, strict=True) if not value.strip()]
    refuse_faults(f"{table.path}: {name!r} is empty in some rows", faults, "fill in or remove these rows")


def _read_text(path: Path, option: str, required: bool) -> str:
    if not path.is_file():
        folder = os.scandir(path.parent) if path.parent.is_dir() else ()
        near = suggestion(
            path.name, [entry.name for entry in folder if entry.is_file()]
        ) or "; give its name below the root" + ("" if required else f", or {option} None")
        raise InputError(f"{option}: there is no file {path}{near}")
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} line {line}: byte {encoded[error.start]:#04x} is not UTF-8 text; save the table as UTF-8"
        ) from error


def _check_shape(path: Path, columns: tuple[str, ...], body: list[tuple[int, tuple[str, ...]]]) -> None:
    repeated = [repr(name) for name, count in collections.Counter(columns).items() if count > 1]
    refuse_faults(f"{path}: columns must have different names", repeated, "rename these columns")
    refuse_faults(
        f"{path}: every row needs the {len(columns)} fields of the header",
        [f"line {line}: {len(row)} fields" for line, row in body if len(row) != len(columns)],
        "mend these rows; put fields that hold the delimiter in double quotes",
    )
