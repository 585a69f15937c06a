"""Rules that the classes of a training set must keep, whatever source they come from."""

import numpy as np

from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.tasks import Tasks, membership


def check_classes(examples: Examples, place: str, tasks: Tasks | None = None) -> None:
    """Refuses training examples of fewer than two classes, or with a class that has no image.

    Args:
        examples: the training examples.
        place: the folder or table that they come from.
        tasks: what the classes are made of: then combinations may be empty, but no task's class; None: they
            are of one task.

    Raises:
        InputError: lists every empty class.
    """
    counts = np.bincount(examples.labels, minlength=len(examples.class_names))
    if tasks is None:
        empty = [name for name, count in zip(examples.class_names, counts, strict=True) if count == 0]
    else:
        empty = _empty_task_classes(counts, tasks)
    refuse_faults(
        f"{place}: every class needs at least one training image; empty classes",
        [repr(name) for name in empty],
        "add images of these classes, or remove the classes",
    )
    if len(examples.class_names) < 2:
        there = f"only {examples.class_names[0]!r}" if examples.class_names else "none"
        raise InputError(
            f"{place}: training needs at least two classes, there is {there}; add images of another"
        )


def _empty_task_classes(counts: np.ndarray, tasks: Tasks) -> list[str]:
    return [
        f"{task}={name}"
        for index, task in enumerate(tasks.names)
        for name, count in zip(tasks.class_names[index], counts @ membership(tasks, index), strict=True)
        if count == 0
    ]
