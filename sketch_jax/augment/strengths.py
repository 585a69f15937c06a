"""How strong each operation is: data, so that a step compiled once runs with any strengths."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float

from sketch_jax.augment.options import Augmentation

Strength = Float[Array | np.ndarray, "..."]

Strengths = Mapping[str, Strength]
"""Strength of each operation that is on, by its field in `Augmentation`; those of a record by its field and
theirs, as in `elastic.alpha`. An operation that is absent is not traced; a value that is there may be. Where
all strengths of an operation are 0 it does nothing (at a `scale` or `stretch` of 1)."""

MIXING = ("mixup_alpha", "cutmix_alpha")
"""Strengths of which at least one is there where batches are mixed."""

DEPENDENT = {
    "rotation_probability": "rotation_degrees",
    "mix_probability": "mixing",
    "mix_switch_probability": "mixing",
}
"""Strengths that are there where another one is, whatever their value."""


def create_strengths(options: Augmentation) -> Strengths:
    """The strengths of the operations that are on.

    >>> sorted(create_strengths(Augmentation(horizontal_flip=0.5, shift=0.1)))
    ['horizontal_flip', 'shift']
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    del values["mix_mode"]
    if not options.mix_probability:
        values |= dict.fromkeys(MIXING, 0.0)
    on = {name for name, value in values.items() if value and name not in DEPENDENT}
    if on.intersection(MIXING):
        on.add("mixing")
    kept = {name: value for name, value in values.items() if DEPENDENT.get(name, name) in on}
    return {
        name: np.asarray(number, np.float32)
        for field, value in kept.items()
        for name, number in _named_numbers(field, value).items()
    }


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
