"""How strong each operation is: data, so that a step compiled once runs with any strengths."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float

from sketch_jax.augment.options import Augmentation

Strength = Float[Array | np.ndarray, "..."]

Strengths = Mapping[str, Strength]
"""Strength of each operation that is on, by its field in `Augmentation`. An operation that is absent is not
traced; a value that is there may be."""

MIXING = ("mixup_alpha", "cutmix_alpha")
"""Strengths of which at least one is there where batches are mixed."""


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
    if options.mix_probability:
        values |= {"mixup_alpha": options.mixup_alpha, "cutmix_alpha": options.cutmix_alpha}
    if any(values.get(name) for name in MIXING):
        values |= {
            "mix_probability": options.mix_probability,
            "mix_switch_probability": options.mix_switch_probability,
        }
    return {name: np.asarray(value, np.float32) for name, value in values.items() if value}
