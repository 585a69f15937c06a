"""How often each training image is drawn: the choices and their meaning."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.class_choice import classes_by_name, refuse_unknown_names
from sketch_jax.data.records import Examples
from sketch_jax.errors import refuse_faults
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


def _class_factors(
    factors: Factors, class_names: Sequence[str], tasks: Tasks | None
) -> Float[np.ndarray, " classes"]:
    named = classes_by_name(class_names, tasks)
    refuse_unknown_names("--sampling.classes", [name for name, _ in factors], named)
    by_class = np.ones(len(class_names))
    for name, factor in factors:
        by_class[named[name]] *= factor
    return by_class


def _group_factors(factors: Factors, groups: Sequence[str] | None) -> Mapping[str, float]:
    known = frozenset(groups or ())
    refuse_unknown_names("--sampling.groups", [name for name, _ in factors], known)
    return dict(factors)
