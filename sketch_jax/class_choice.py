"""Choices among the classes of a data set: by name, or by how many images they have."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Bool, Int

from sketch_jax.errors import refuse_faults, suggestion
from sketch_jax.tasks import Tasks


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallClasses:
    """Classes with few images."""

    largest_share: float = 0.5
    """A class is small if it has at most this share of the largest class's images; 0 to 1."""

    def __post_init__(self):
        """Refuses what is no share."""
        faults = [] if 0.0 <= self.largest_share <= 1.0 else [f"largest share {self.largest_share:g}"]
        refuse_faults("shares of the largest class must be 0 to 1", faults, "1 takes every class")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedClasses:
    """Classes by name."""

    classes: tuple[str, ...]
    """Their names; `TASK=CLASS` names all classes of one task's class."""


ClassChoice = SmallClasses | NamedClasses

Choose = Callable[[ClassChoice, str], Bool[np.ndarray, " classes"]]
"""Marks the classes of a choice; takes the option that holds it, for messages."""


def unknown_classes(choice: ClassChoice, option: str) -> NoReturn:
    """What stands for a `Choose` where neither names nor numbers of images are known."""
    raise ValueError(f"{option} {choice}: the classes of the data set are not known here")


def chosen_classes(
    choice: ClassChoice,
    counts: Int[np.ndarray, " classes"],
    class_names: Sequence[str],
    tasks: Tasks | None = None,
    *,
    option: str,
) -> Bool[np.ndarray, " classes"]:
    """Whether each class is chosen.

    Args:
        choice: the rule.
        counts: training images of each class.
        class_names: of the classes.
        tasks: what the classes are made of, for names such as `age=old`.
        option: that holds the choice, for the message.

    Raises:
        InputError: a name is of no class or task.

    >>> counts = np.array([10, 5, 6])
    >>> chosen_classes(SmallClasses(largest_share=0.5), counts, "abc", option="--x").tolist()
    [False, True, False]
    """
    if isinstance(choice, SmallClasses):
        return counts <= choice.largest_share * counts.max()
    named = classes_by_name(class_names, tasks)
    refuse_unknown_names(f"{option}.classes", choice.classes, named)
    chosen = np.zeros(len(counts), bool)
    for name in choice.classes:
        chosen[named[name]] = True
    return chosen


def classes_by_name(class_names: Sequence[str], tasks: Tasks | None) -> Mapping[str, list[int]]:
    """Class indices of each name that a user may give: a class's, or `TASK=CLASS`.

    >>> from sketch_jax.tasks import cross_product
    >>> classes_by_name("abcd", cross_product({"mask": ("worn", "none"), "age": ("young", "old")}))["age=old"]
    [1, 3]
    """
    named = {name: [label] for label, name in enumerate(class_names)}
    if tasks is None:
        return named
    for task, names, members in zip(tasks.names, tasks.class_names, tasks.members, strict=True):
        for index, name in enumerate(names):
            named[f"{task}={name}"] = [label for label, member in enumerate(members) if member == index]
    return named


def refuse_unknown_names(
    place: str, names: Sequence[str], known: Mapping[str, object] | frozenset[str]
) -> None:
    """Checks that names are known.

    Raises:
        InputError: some are not; the nearest known ones are named.
    """
    refuse_faults(
        f"{place}: must be names of the training set",
        [f"{name!r} is not{suggestion(name, known)}" for name in names if name not in known],
        "correct these names",
    )
