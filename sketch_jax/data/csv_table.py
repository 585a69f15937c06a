"""Source: tables that list images and their labels, laid out as in the sketch contest or with other names."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sketch_jax.data.class_list import (
    ClassList,
    check_names,
    index_labels,
    list_found,
    list_given,
    list_joined,
    read_class_names,
)
from sketch_jax.data.classes import check_classes
from sketch_jax.data.files import FileReader, path_faults, require_folder
from sketch_jax.data.records import UNKNOWN_LABEL, Dataset, Examples, SubmissionLayout
from sketch_jax.data.submission import read_layout
from sketch_jax.data.tables import Table, column, read_table, refuse_blank, refuse_repeated
from sketch_jax.data.verify import OnBadImage
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.tasks import SEPARATOR, Tasks, cross_product


@dataclasses.dataclass(frozen=True, kw_only=True)
class Csv:
    """Images listed in tables, by default `train.csv`, `test.csv` and `sample_submission.csv`."""

    root: str
    """Folder of the tables and images."""
    train_table: str = "train.csv"
    """Table of the training images, relative to the root."""
    test_table: str | None = "test.csv"
    """Table of the images to predict, relative to the root; None: there is no test set."""
    sample_submission: str | None = "sample_submission.csv"
    """Table that shows how answers are to be written, relative to the root; None: no submission."""
    train_folder: str = "train"
    """Folder that the paths of the train table start from, relative to the root; `.` is the root itself."""
    test_folder: str = "test"
    """Folder that the paths of the test table start from, relative to the root."""
    path_column: str = "image_path"
    """Column of the images' paths, in the train and the test table."""
    label_column: str = "target"
    """Column of the classes: numbers or names."""
    class_name_column: str | None = "class_name"
    """Column of the classes' names beside `label_column`, which must agree; None: labels are the names."""
    task_columns: tuple[str, ...] = ()
    """Columns of several tasks: the classes are all combinations of their values, as `cat/far`, and the
    columns of labels and names are not read. Without any there is one task."""
    class_list: str | None = None
    """Text file of all class names, one a line, in the order of class indices, relative to the root; None:
    those that occur in the train table, in the order of their numbers or of the alphabet."""
    group_column: str | None = None
    """Column of what must not be torn apart by a split, such as a person; None: every image for itself."""
    number_column: str | None = None
    """Column of a number of whose range the class is, such as an age: what `--loss.kind Regression` may
    predict in place of the class; None: there is none."""
    test_id_column: str | None = None
    """Column of the test table whose values name its rows in predictions and submissions; None: the paths."""
    test_labels: bool = False
    """Whether the label column of the test table holds true labels; else it is not read."""
    submission_id_column: str | None = None
    """Column of the sample submission that holds the test ids; None: the one whose values are the ids."""
    submission_target_column: str | None = None
    """Column of the sample submission that takes the answers; None: `label_column`."""
    delimiter: str = ","
    """Character between fields of the tables."""
    on_bad_image: OnBadImage = "error"
    """What to do about images that cannot be decoded. `error`: check all images first, list the bad ones;
    `skip`: check, leave bad training images out, read bad test images as blank paper; `trust`: no check."""
    allow_outside: bool = False
    """Whether paths may be absolute, hold `..`, or lead out of the root by links."""


def load_csv(source: Csv) -> Dataset:
    """The images of the tables, not decoded yet.

    Raises:
        InputError: a folder, table, column or image is missing; a table is empty, not UTF-8 or uneven; an id
            occurs twice; a label is unknown or does not agree with its name; a class is empty or the only
            one; a path leads out of the root; the sample submission is not of the test table.
    """
    root = Path(source.root)
    require_folder(root, "--source.root")
    table = read_table(
        root / source.train_table, option="--source.train-table", required=True, delimiter=source.delimiter
    )
    tasks = _tasks(source, table)
    labels = _labels(source, table)
    classes = _classes(source, table, labels) if tasks is None else list_joined(tasks)
    train = _train_examples(source, table, labels, classes)
    check_classes(train, str(table.path), tasks)
    test = None if source.test_table is None else _test_examples(source, source.test_table, classes)
    return Dataset(train=train, test=test, submission=_submission(source, test, classes), tasks=tasks)


def _tasks(source: Csv, table: Table) -> Tasks | None:
    """The combinations of the values of the task columns."""
    if not source.task_columns:
        return None
    if source.class_list is not None:
        raise InputError(
            "--source.class-list: the classes of --source.task-columns are the values of these columns; "
            "leave one of the two out"
        )
    values = [column(table, name, option="--source.task-columns") for name in source.task_columns]
    for name, cells in zip(source.task_columns, values, strict=True):
        refuse_blank(table, cells, name)
        refuse_faults(
            f"{table.path}: {SEPARATOR!r} joins the tasks' classes, and must not occur in {name!r}",
            [repr(cell) for cell in sorted(set(cells)) if SEPARATOR in cell],
            "write these values in another way",
        )
    classes = [list_found(cells, cells).names for cells in values]
    return cross_product(dict(zip(source.task_columns, classes, strict=True)))


def _labels(source: Csv, table: Table) -> Sequence[str]:
    """What tells the class of each row: a cell, or those of the task columns joined."""
    if source.task_columns:
        cells = [column(table, name, option="--source.task-columns") for name in source.task_columns]
        return [SEPARATOR.join(row) for row in zip(*cells, strict=True)]
    labels = column(table, source.label_column, option="--source.label-column")
    refuse_blank(table, labels, source.label_column)
    return labels


def _classes(source: Csv, table: Table, labels: Sequence[str]) -> ClassList:
    names = labels
    if source.class_name_column is not None:
        names = column(table, source.class_name_column, option="--source.class-name-column")
    if source.class_list is not None:
        return list_given(read_class_names(Path(source.root, source.class_list)), labels)
    return list_found(labels, names)


def _train_examples(source: Csv, table: Table, labels: Sequence[str], classes: ClassList) -> Examples:
    indices = index_labels(table, labels, classes)
    if source.class_name_column is not None and not source.task_columns:
        names = column(table, source.class_name_column, option="--source.class-name-column")
        check_names(table, indices, names, classes)
    groups = None
    if source.group_column is not None:
        groups = column(table, source.group_column, option="--source.group-column")
        refuse_blank(table, groups, source.group_column)
    paths = column(table, source.path_column, option="--source.path-column")
    refuse_repeated(table, paths, source.path_column)
    return Examples(
        ids=paths,
        labels=indices,
        class_names=classes.names,
        groups=groups,
        numbers=_numbers(source, table),
        read=_reader(source, table, source.train_folder, paths),
    )


def _numbers(source: Csv, table: Table) -> Float[np.ndarray, " rows"] | None:
    if source.number_column is None:
        return None
    cells = column(table, source.number_column, option="--source.number-column")
    numbers = [parsed_number(cell) for cell in cells]
    refuse_faults(
        f"{table.path}: column {source.number_column!r} of --source.number-column must hold numbers",
        [
            f"line {line}: {cell!r} is none"
            for line, cell, number in zip(table.lines, cells, numbers, strict=True)
            if not math.isfinite(number)
        ],
        "correct these rows, or leave the option out",
    )
    return np.array(numbers, np.float32)


def parsed_number(cell: str) -> float:
    """The number that a cell holds, or NaN.

    >>> parsed_number(" 4.5"), parsed_number("four")
    (4.5, nan)
    """
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _test_examples(source: Csv, test_table: str, classes: ClassList) -> Examples:
    table = read_table(
        Path(source.root, test_table), option="--source.test-table", delimiter=source.delimiter
    )
    paths = column(table, source.path_column, option="--source.path-column")
    id_column = source.test_id_column or source.path_column
    ids = column(table, id_column, option="--source.test-id-column")
    refuse_repeated(table, ids, id_column)
    labels = np.full(len(ids), UNKNOWN_LABEL, np.int32)
    if source.test_labels:
        labels = index_labels(table, _labels(source, table), classes)
    return Examples(
        ids=ids,
        labels=labels,
        class_names=classes.names,
        read=_reader(source, table, source.test_folder, paths),
    )


def _reader(source: Csv, table: Table, folder: str, paths: Sequence[str]) -> FileReader:
    """Refuses paths that are not there or lead out of the root, as seen from the root."""
    below_root = [str(Path(folder, path)) for path in paths]
    refuse_faults(
        f"{table.path}: paths must be those of images below {source.root}",
        path_faults(Path(source.root), below_root, allow_outside=source.allow_outside),
        f"correct the table or add the images; paths start from {folder!r} below the root; "
        "--source.allow-outside True permits others",
    )
    return FileReader(root=source.root, paths=tuple(below_root))


def _submission(source: Csv, test: Examples | None, classes: ClassList) -> SubmissionLayout | None:
    if source.sample_submission is None or test is None:
        return None
    path = Path(source.root, source.sample_submission)
    # A sample of several tasks wants the number of the class.
    targets = classes.targets
    if source.task_columns:
        targets = tuple(str(index) for index in range(len(targets)))
    return read_layout(
        read_table(path, option="--source.sample-submission", delimiter=source.delimiter),
        test.ids,
        targets,
        id_column=source.submission_id_column,
        target_column=source.submission_target_column or source.label_column,
    )
