"""Which class a label of a table stands for: the order of the classes and their names."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sketch_jax.data.tables import Table
from sketch_jax.errors import InputError, refuse_faults, suggestion
from sketch_jax.tasks import Tasks, joined_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassList:
    """The classes, by index."""

    targets: tuple[str, ...]
    """What stands in the label column for each class."""
    names: tuple[str, ...]
    """What each class is called; the same as `targets` where a table has no names."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names of a text file with one a line, in the order of class indices.

    Raises:
        InputError: the file is missing or not UTF-8, or a name occurs twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"--source.class-list: there is no file {path}; give its name below the root"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save the class list as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    repeated = sorted({name for name in names if names.count(name) > 1})
    refuse_faults(
        f"{path}: class names must differ", [repr(name) for name in repeated], "remove the repetitions"
    )
    return names


def list_given(names: tuple[str, ...], labels: Sequence[str]) -> ClassList:
    """The classes of a given list; labels may be its names or indices.

    >>> list_given(("cat", "dog"), ["1", "0"])
    ClassList(targets=('0', '1'), names=('cat', 'dog'))
    """
    by_name = not set(names).isdisjoint(labels)
    indices = tuple(str(index) for index in range(len(names)))
    return ClassList(targets=names if by_name else indices, names=names)


def list_found(labels: Sequence[str], names: Sequence[str]) -> ClassList:
    """The classes that occur, in the order of their number, or of the alphabet where a label is no number.

    Args:
        labels: label of each row.
        names: name of the class of each row; the labels themselves where there are no names.

    >>> list_found(["10", "9", "10"], ["cat", "dog", "cat"])
    ClassList(targets=('9', '10'), names=('dog', 'cat'))
    """
    name_of = dict(zip(reversed(labels), reversed(names), strict=True))
    numbers = all(label.removeprefix("-").isdecimal() and label == str(int(label)) for label in name_of)
    targets = tuple(sorted(name_of, key=int) if numbers else sorted(name_of))
    return ClassList(targets=targets, names=tuple(name_of[target] for target in targets))


def list_joined(tasks: Tasks) -> ClassList:
    """The classes that are made of several tasks; labels are their names."""
    names = joined_names(tasks)
    return ClassList(targets=names, names=names)


def index_labels(table: Table, labels: Sequence[str], classes: ClassList) -> Int[np.ndarray, " rows"]:
    """Class index of each row.

    Raises:
        InputError: lists every row whose label is no class.
    """
    index = {target: label for label, target in enumerate(classes.targets)}
    refuse_faults(
        f"{table.path}: labels must be among the {len(index)} classes",
        [
            f"line {line}: label {label!r} is not{suggestion(label, index)}"
            for line, label in zip(table.lines, labels, strict=True)
            if label not in index
        ],
        "correct these labels, or list all classes in the file of --source.class-list",
    )
    return np.array([index[label] for label in labels], np.int32)


def check_names(
    table: Table, indices: Int[np.ndarray, " rows"], names: Sequence[str], classes: ClassList
) -> None:
    """Refuses a table in which a label goes with two names, or a name with two labels.

    Raises:
        InputError: lists every row whose name is not that of its class.
    """
    target_of = dict(zip(reversed(classes.names), reversed(classes.targets), strict=True))
    faults = []
    for line, index, name in zip(table.lines, indices, names, strict=True):
        target = classes.targets[index]
        if name != classes.names[index]:
            faults.append(
                f"line {line}: label {target!r} is named {name!r}, elsewhere {classes.names[index]!r}"
            )
        elif target_of[name] != target:
            faults.append(f"line {line}: {name!r} has label {target!r}, elsewhere {target_of[name]!r}")
    refuse_faults(
        f"{table.path}: each label needs one class name, and each name one label",
        faults,
        "correct these rows",
    )
