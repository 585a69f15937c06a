"""How often each training image is drawn, and which classes are augmented: the choices and their meaning."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from sketch_jax.data.records import Examples
from sketch_jax.errors import refuse_faults, suggestion
from sketch_jax.tasks import Tasks

Factors = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every image is drawn equally often: an epoch takes none twice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassBalanced:
    """Images of small classes are drawn more often; an epoch has as many batches as without."""

    exponent: float = 1.0
    """Power of the inverse number of images of its class by which an image is drawn, at least 0; 1: every
    class equally often, 0.5: by the root, 0: every image equally often."""

    def __post_init__(self):
        """Refuses negative powers."""
        faults = [] if 0.0 <= self.exponent < math.inf else [f"--sampling.exponent {self.exponent:g}"]
        refuse_faults("powers must be at least 0", faults, "set 1 for classes that are drawn equally often")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oversampled:
    """Chosen images are drawn more often by given factors; an epoch has as many batches as without."""

    classes: Factors = ()
    """Names of classes and factors, such as `cat 2`; `TASK=CLASS`, such as `age=old 4`, names all classes of
    one task's class. Factors of an image multiply."""
    groups: Factors = ()
    """Names of groups of the source, such as drawers, and factors."""

    def __post_init__(self):
        """Refuses factors that are not above 0."""
        faults = [
            f"--sampling.{field} {name!r} {factor:g}: must be above 0"
            for field, factors in (("classes", self.classes), ("groups", self.groups))
            for name, factor in factors
            if not 0.0 < factor < math.inf
        ]
        refuse_faults("factors of the sampling out of their range", faults, "1 draws as often as without")


Sampling = Uniform | ClassBalanced | Oversampled


@dataclasses.dataclass(frozen=True, kw_only=True)
class EveryClass:
    """Images of all classes are augmented."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallClasses:
    """Only images of small classes are augmented."""

    largest_share: float = 0.5
    """A class is small if it has at most this share of the largest class's images; 0 to 1."""

    def __post_init__(self):
        """Refuses what is no share."""
        faults = [] if 0.0 <= self.largest_share <= 1.0 else [f"largest share {self.largest_share:g}"]
        refuse_faults("shares of the largest class must be 0 to 1", faults, "1 augments every class")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedClasses:
    """Only images of some classes are augmented."""

    classes: tuple[str, ...] = ()
    """Their names; `TASK=CLASS` names all classes of one task's class."""


AugmentedClasses = EveryClass | SmallClasses | NamedClasses


def row_weights(
    sampling: Sampling, examples: Examples, rows: Int[np.ndarray, " rows"], tasks: Tasks | None = None
) -> Float[np.ndarray, " rows"] | None:
    """How often each row is drawn, relative to the others; None: all equally often.

    Args:
        sampling: the rule.
        examples: labelled examples.
        rows: those to train on.
        tasks: what the classes are made of, for names such as `age=old`.

    Raises:
        InputError: a name is of no class, task or group.
    """
    labels = examples.labels[rows]
    match sampling:
        case Uniform():
            return None
        case ClassBalanced(exponent=exponent):
            counts = np.bincount(labels, minlength=len(examples.class_names))
            return counts[labels].astype(np.float64) ** -exponent
        case Oversampled(classes=classes, groups=groups):
            by_class = _class_factors(classes, examples.class_names, tasks)
            by_group = _group_factors(groups, examples.groups)
            own = np.ones(len(rows))
            if examples.groups is not None:
                own = np.array([by_group.get(examples.groups[row], 1.0) for row in rows])
            return by_class[labels] * own


def augmented_classes(
    augmented: AugmentedClasses,
    counts: Int[np.ndarray, " classes"],
    class_names: Sequence[str],
    tasks: Tasks | None = None,
) -> Bool[np.ndarray, " classes"]:
    """Whether the images of each class are augmented; indexed by a batch's labels it is a flag for each row.

    Args:
        augmented: the rule.
        counts: training images of each class.
        class_names: of the classes.
        tasks: what the classes are made of, for names such as `age=old`.

    Raises:
        InputError: a name is of no class or task.

    >>> augmented_classes(SmallClasses(largest_share=0.5), np.array([10, 5, 6]), "abc").tolist()
    [False, True, False]
    """
    match augmented:
        case EveryClass():
            return np.ones(len(counts), bool)
        case SmallClasses(largest_share=share):
            return counts <= share * counts.max()
        case NamedClasses(classes=names):
            named = classes_by_name(class_names, tasks)
            _refuse_unknown("classes that are augmented", names, named)
            chosen = np.zeros(len(counts), bool)
            for name in names:
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


def _class_factors(
    factors: Factors, class_names: Sequence[str], tasks: Tasks | None
) -> Float[np.ndarray, " classes"]:
    named = classes_by_name(class_names, tasks)
    _refuse_unknown("--sampling.classes", [name for name, _ in factors], named)
    by_class = np.ones(len(class_names))
    for name, factor in factors:
        by_class[named[name]] *= factor
    return by_class


def _group_factors(factors: Factors, groups: Sequence[str] | None) -> Mapping[str, float]:
    known = frozenset(groups or ())
    _refuse_unknown("--sampling.groups", [name for name, _ in factors], known)
    return dict(factors)


def _refuse_unknown(place: str, names: Sequence[str], known: Mapping[str, object] | frozenset[str]) -> None:
    refuse_faults(
        f"{place}: must be names of the training set",
        [f"{name!r} is not{suggestion(name, known)}" for name in names if name not in known],
        "correct these names",
    )
