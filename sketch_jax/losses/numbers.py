"""True numbers of images, of whose ranges the classes are: what a regression predicts."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.tasks import Tasks

Values = Float[np.ndarray, " classes"]
Cuts = Float[np.ndarray, " thresholds"]


@dataclasses.dataclass(frozen=True, eq=False)
class Numbers:
    """Labels and numbers of the training images."""

    labels: Int[np.ndarray, " rows"]
    numbers: Float[np.ndarray, " rows"]
    class_names: tuple[str, ...]

    def of_task(self, tasks: Tasks, index: int) -> "Numbers":
        """With the labels of one task."""
        members = np.array(tasks.members[index])
        return Numbers(members[self.labels], self.numbers, tasks.class_names[index])

    def ranges(self) -> tuple[Values, Values]:
        """The least and the largest number of each class.

        Raises:
            InputError: a class has no image.
        """
        of_classes = [self.numbers[self.labels == label] for label in range(len(self.class_names))]
        empty = [repr(name) for name, own in zip(self.class_names, of_classes, strict=True) if not len(own)]
        refuse_faults(
            "--loss.target numbers: every class needs a range of numbers, and these have no training image",
            empty,
            "add images, or take --loss.target classes",
        )
        return np.array([own.min() for own in of_classes]), np.array([own.max() for own in of_classes])


def require_numbers(numbers: Numbers | None) -> Numbers:
    """The numbers, where the source tells them.

    Raises:
        InputError: it does not.
    """
    if numbers is None:
        raise InputError(
            "--loss.target numbers: the source tells no number of its images; choose MaskFolders, or Csv "
            "with --source.number-column, or --loss.target classes"
        )
    return numbers


def summarize_numbers(numbers: Numbers) -> tuple[Values, Cuts]:
    """The mean number of each class, and where the next class begins: half-way between their numbers.

    Raises:
        InputError: a class has no image, or the classes are not ranges that rise.
    """
    least, largest = numbers.ranges()
    names = numbers.class_names
    refuse_faults(
        "--loss.target numbers: a class is a range of numbers, and the next class begins above it",
        [
            f"{names[label]!r}: its numbers reach {largest[label]:g}, those of the next class, "
            f"{names[label + 1]!r}, begin at {least[label + 1]:g}"
            for label in range(len(names) - 1)
            if not largest[label] < least[label + 1]
        ],
        "bring the classes into the order of their numbers (--source.class-list, or values that sort so), "
        "correct labels or numbers, or take --loss.target classes",
    )
    means = [numbers.numbers[numbers.labels == label].mean(dtype=np.float64) for label in range(len(names))]
    return np.array(means), (largest[:-1] + least[1:]).astype(np.float64) / 2.0


def refuse_other_cuts(numbers: Numbers, cuts: Cuts) -> None:
    """Refuses cuts that part the numbers otherwise than the classes do.

    Args:
        numbers: of classes that are ranges.
        cuts: where each class but the first begins.

    Raises:
        InputError: lists the cuts.
    """
    least, largest = numbers.ranges()
    names, borders = numbers.class_names, cuts.astype(numbers.numbers.dtype)
    refuse_faults(
        "--loss.cuts: a cut lies above a class's numbers, and no higher than the next class's least",
        [
            f"{cuts[label]:g}: the numbers of {names[label]!r} reach {largest[label]:g}, those of "
            f"{names[label + 1]!r} begin at {least[label + 1]:g}"
            for label in range(len(names) - 1)
            if not largest[label] < borders[label] <= least[label + 1]
        ],
        "correct these cuts, or leave them out",
    )
