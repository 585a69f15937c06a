"""How strong each operation is: data, so that a step compiled once runs with any strengths."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Float

from sketch_jax.augment.options import Augmentation

Strength = Float[Array | np.ndarray, "..."]

Strengths = Mapping[str, Strength]
"""Strength of each operation that is on, by its field in `Augmentation`; those of a record by its field and
theirs, as in `elastic.alpha`. An operation that is absent is not traced; a value that is there may be. Where
all strengths of an operation are 0 it does nothing (at a `scale` or `stretch` of 1)."""

OTHERS = ("policy", "mixing", "only_classes")
"""Fields of `Augmentation` that become arrays of other forms."""

OFF: Mapping[str, tuple[float, float]] = {"scale": (1.0, 1.0), "stretch": (1.0, 1.0)}
"""Strengths at which an operation changes nothing, where it is not 0."""

DEPENDENT = {"rotation_probability": "rotation_degrees"}
"""Strengths that are there where another one is, whatever their value."""


def create_strengths(options: Augmentation) -> Strengths:
    """The strengths of the operations that are on.

    >>> sorted(create_strengths(Augmentation(horizontal_flip=0.5, shift=0.1)))
    ['horizontal_flip', 'shift']
    """
    names = [field.name for field in dataclasses.fields(options) if field.name not in OTHERS]
    values = {name: getattr(options, name) for name in names}
    on = {name for name, value in values.items() if value and name not in DEPENDENT}
    kept = {name: value for name, value in values.items() if DEPENDENT.get(name, name) in on}
    return {
        name: np.asarray(number, np.float32)
        for field, value in kept.items()
        for name, number in _named_numbers(field, value).items()
    }


def stack_strengths(stages: Sequence[Strengths]) -> Strengths:
    """The strengths of stages, with an axis for them in front; what is off in one of them is there, and off.

    >>> stack_strengths([{}, create_strengths(Augmentation(vertical_flip=0.5))])["vertical_flip"].tolist()
    [0.0, 0.5]
    """
    names = sorted({name for stage in stages for name in stage})
    return {name: np.stack([_strength_or_off(name, stage, stages) for stage in stages]) for name in names}


def _strength_or_off(name: str, stage: Strengths, stages: Sequence[Strengths]) -> np.ndarray:
    """A stage's strength; of a record that is off there, probability 0 and another stage's numbers."""
    if name in stage:
        return np.asarray(stage[name])
    if "." in name and not name.endswith(".probability"):
        return next(np.asarray(other[name]) for other in stages if name in other)
    return np.asarray(OFF.get(name, 0.0), np.float32)


def is_on(strengths: Strengths, name: str) -> bool:
    """Whether an operation is there, by its field in `Augmentation`."""
    return name in strengths or f"{name}.probability" in strengths


def part(strengths: Strengths, name: str) -> Mapping[str, Strength]:
    """The strengths of one record, by its own fields.

    >>> sorted(part({"elastic.alpha": np.float32(1), "elastic.sigma": np.float32(2)}, "elastic"))
    ['alpha', 'sigma']
    """
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in strengths.items() if key.startswith(prefix)}


def _named_numbers(name: str, value: object) -> dict[str, object]:
    if not dataclasses.is_dataclass(value):
        return {name: value}
    return {f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
