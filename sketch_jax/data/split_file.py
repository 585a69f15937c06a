"""`split.csv`: the folds of a run, written once and read ever after."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sketch_jax.data.records import Examples
from sketch_jax.data.splits import Folds
from sketch_jax.data.tables import Table, column, read_table, refuse_repeated
from sketch_jax.errors import refuse_faults
from sketch_jax.files import write_atomically

COLUMNS = ("id", "label", "group", "fold")


def write_split(path: Path, examples: Examples, folds: Folds) -> None:
    """Writes the table, whole or not at all; labels are class indices, groups empty where there are none."""
    groups = examples.groups or ("",) * len(examples)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(examples.ids, examples.labels.tolist(), groups, folds.tolist(), strict=True))
    write_atomically(path, text.getvalue())


def read_split(path: Path, examples: Examples) -> Folds:
    """The fold of each row, as `write_split` wrote it; rows are found by their id.

    Raises:
        InputError: the file is damaged, or of other ids, labels or groups; lists the difference.
    """
    table = read_table(path, option="split.csv", required=True)
    ids, labels, groups, folds = (column(table, name, option="split.csv") for name in COLUMNS)
    refuse_repeated(table, ids, "id")
    refuse_faults(
        f"{path}: was written for other training examples",
        _differences(examples, dict(zip(ids, zip(labels, groups, strict=True), strict=True))),
        "restore the data set as it was, or start in another --output-dir",
    )
    _check_folds(table, folds)
    fold_of = dict(zip(ids, map(int, folds), strict=True))
    return np.array([fold_of[name] for name in examples.ids], np.int32)


def _differences(examples: Examples, written: dict[str, tuple[str, str]]) -> list[str]:
    groups = examples.groups or ("",) * len(examples)
    there = dict(zip(examples.ids, zip(map(str, examples.labels.tolist()), groups, strict=True), strict=True))
    return [
        *(f"{name!r} is new" for name in examples.ids if name not in written),
        *(f"{name!r} is gone" for name in written if name not in there),
        *(
            f"{name!r} has {field} {now!r}, had {before!r}"
            for name in examples.ids
            if name in written
            for field, now, before in zip(("label", "group"), there[name], written[name], strict=True)
            if now != before
        ),
    ]


def _check_folds(table: Table, folds: Sequence[str]) -> None:
    refuse_faults(
        f"{table.path}: folds must be whole numbers from -1",
        [
            f"line {line}: {fold!r}"
            for line, fold in zip(table.lines, folds, strict=True)
            if not (fold == "-1" or fold.isdecimal())
        ],
        "restore the file, or start in another --output-dir",
    )
