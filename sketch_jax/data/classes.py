"""Rules that the classes of a training set must keep, whatever source they come from."""

import numpy as np

from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError, refuse_faults


def check_classes(examples: Examples, place: str) -> None:
    """Refuses training examples of fewer than two classes, or with a class that has no image.

    Args:
        examples: the training examples.
        place: the folder or table that they come from.

    Raises:
        InputError: lists every empty class.
    """
    counts = np.bincount(examples.labels, minlength=len(examples.class_names))
    empty = [name for name, count in zip(examples.class_names, counts, strict=True) if count == 0]
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
