"""How strong each operation is: data, so that a step compiled once runs with any strengths."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Float

from sketch_jax.augment.options import Augmentation

Strength = Float[Array | np.ndarray, "..."]

Strengths = Mapping[str, Strength]
"""Strength of each operation that is on, by its field in `Augmentation`. An operation that is absent is not
traced; a value that is there may be."""

OFF: Mapping[str, tuple[float, ...]] = {"scale": (1.0, 1.0)}
"""Strengths at which an operation changes nothing, where it is not 0."""


def create_strengths(options: Augmentation) -> Strengths:
    """The strengths of the operations that are on.

    >>> sorted(create_strengths(Augmentation(horizontal_flip=0.5, shift=0.1)))
    ['horizontal_flip', 'shift']
    """
    values = {
        "horizontal_flip": options.horizontal_flip,
        "vertical_flip": options.vertical_flip,
        "rotation_degrees": options.rotation_degrees,
        "shift": options.shift,
        "scale": options.scale,
        "brightness": options.brightness,
        "contrast": options.contrast,
    }
    return {name: np.asarray(value, np.float32) for name, value in values.items() if value}


def stack_strengths(stages: Sequence[Strengths]) -> Strengths:
    """The strengths of stages, with an axis for them in front; what is off in one of them is there, and off.

    >>> stack_strengths([{}, create_strengths(Augmentation(vertical_flip=0.5))])["vertical_flip"].tolist()
    [0.0, 0.5]
    """
    names = sorted({name for stage in stages for name in stage})
    return {
        name: np.stack([np.asarray(stage.get(name, OFF.get(name, 0.0)), np.float32) for stage in stages])
        for name in names
    }
