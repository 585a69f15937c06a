"""Classes as combinations of the classes of several tasks, such as 18 = mask 3 × gender 2 × age 3."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.errors import InputError, suggestion

SEPARATOR = "/"
"""Between the parts of a class's name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tasks:
    """The class of every task that each class stands for."""

    names: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    """Of each task, the names of its classes."""
    members: tuple[tuple[int, ...], ...]
    """Of each task, its class index for each class."""

    def __len__(self) -> int:
        return len(self.names)


def cross_product(tasks: Mapping[str, Sequence[str]]) -> Tasks:
    """All combinations as classes; the first task varies slowest.

    Args:
        tasks: names of the classes of each task.

    >>> cross_product({"mask": ("worn", "none"), "age": ("young", "old")}).members
    ((0, 0, 1, 1), (0, 1, 0, 1))
    """
    combinations = list(itertools.product(*(range(len(names)) for names in tasks.values())))
    return Tasks(
        names=tuple(tasks),
        class_names=tuple(tuple(names) for names in tasks.values()),
        members=tuple(zip(*combinations, strict=True)),
    )


def joined_names(tasks: Tasks) -> tuple[str, ...]:
    """Name of each class: those of its tasks' classes.

    >>> joined_names(cross_product({"mask": ("worn", "none"), "age": ("young", "old")}))
    ('worn/young', 'worn/old', 'none/young', 'none/old')
    """
    return tuple(
        SEPARATOR.join(names[part] for names, part in zip(tasks.class_names, parts, strict=True))
        for parts in zip(*tasks.members, strict=True)
    )


def joined_labels(tasks: Tasks, parts: Int[np.ndarray, "tasks rows"]) -> Int[np.ndarray, " rows"]:
    """Class of each row, from its class of every task.

    >>> joined_labels(cross_product({"mask": "abc", "gender": "mf", "age": "xyz"}), np.array([[1], [1], [2]]))
    array([11], dtype=int32)
    """
    class_of = {members: label for label, members in enumerate(zip(*tasks.members, strict=True))}
    return np.array([class_of[row] for row in zip(*parts.tolist(), strict=True)], np.int32)


def membership(tasks: Tasks, index: int) -> Float[np.ndarray, "classes task_classes"]:
    """The matrix that takes targets over classes to targets over a task's classes.

    >>> membership(cross_product({"mask": ("worn", "none"), "age": ("young", "old")}), 0).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    members = np.array(tasks.members[index])
    return np.eye(len(tasks.class_names[index]), dtype=np.float32)[members]


def task_index(tasks: Tasks, name: str, place: str) -> int:
    """Which task a name stands for.

    Args:
        tasks: of the source.
        name: of a task.
        place: where the name stands, for the message.

    Raises:
        InputError: there is no such task.
    """
    if name not in tasks.names:
        there = ", ".join(map(repr, tasks.names))
        raise InputError(
            f"{place} {name}: the source has no such task; its tasks are {there}"
            f"{suggestion(name, tasks.names)}"
        )
    return tasks.names.index(name)
