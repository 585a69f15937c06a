"""Which operations policies draw from, how often and at which levels, by timm's names of operations.

References:
    timm/data/auto_augment.py: `auto_augment_policy_original`, `auto_augment_policy_v0`, `_RAND_TRANSFORMS`,
    `_RAND_INCREASING_TRANSFORMS`, `_RAND_WEIGHTED_0`, `_RAND_3A`, `_RAND_WEIGHTED_3A`, `_AUGMIX_TRANSFORMS`.
"""

import re
from collections.abc import Mapping

Row = tuple[tuple[str, float, float], ...]
"""Name, probability and level of each operation of a row."""

ORIGINAL = """
    PosterizeOriginal 0.4 8, Rotate 0.6 9
    Solarize 0.6 5, AutoContrast 0.6 5
    Equalize 0.8 8, Equalize 0.6 3
    PosterizeOriginal 0.6 7, PosterizeOriginal 0.6 6
    Equalize 0.4 7, Solarize 0.2 4
    Equalize 0.4 4, Rotate 0.8 8
    Solarize 0.6 3, Equalize 0.6 7
    PosterizeOriginal 0.8 5, Equalize 1 2
    Rotate 0.2 3, Solarize 0.6 8
    Equalize 0.6 8, PosterizeOriginal 0.4 6
    Rotate 0.8 8, Color 0.4 0
    Rotate 0.4 9, Equalize 0.6 2
    Equalize 0 7, Equalize 0.8 8
    Invert 0.6 4, Equalize 1 8
    Color 0.6 4, Contrast 1 8
    Rotate 0.8 8, Color 1 2
    Color 0.8 8, Solarize 0.8 7
    Sharpness 0.4 7, Invert 0.6 8
    ShearX 0.6 5, Equalize 1 9
    Color 0.4 0, Equalize 0.6 3
    Equalize 0.4 7, Solarize 0.2 4
    Solarize 0.6 5, AutoContrast 0.6 5
    Invert 0.6 4, Equalize 1 8
    Color 0.6 4, Contrast 1 8
    Equalize 0.8 8, Equalize 0.6 3
"""
"""A line for each pair: name, probability and level of 0 to 10, twice."""

V0 = """
    Equalize 0.8 1, ShearY 0.8 4
    Color 0.4 9, Equalize 0.6 3
    Color 0.4 1, Rotate 0.6 8
    Solarize 0.8 3, Equalize 0.4 7
    Solarize 0.4 2, Solarize 0.6 2
    Color 0.2 0, Equalize 0.8 8
    Equalize 0.4 8, SolarizeAdd 0.8 3
    ShearX 0.2 9, Rotate 0.6 8
    Color 0.6 1, Equalize 1 2
    Invert 0.4 9, Rotate 0.6 0
    Equalize 1 9, ShearY 0.6 3
    Color 0.4 7, Equalize 0.6 0
    Posterize 0.4 6, AutoContrast 0.4 7
    Solarize 0.6 8, Color 0.6 9
    Solarize 0.2 4, Rotate 0.8 9
    Rotate 1 7, TranslateYRel 0.8 9
    ShearX 0 0, Solarize 0.8 4
    ShearY 0.8 0, Color 0.6 4
    Color 1 0, Rotate 0.6 2
    Equalize 0.8 4, Equalize 0 8
    Equalize 1 4, AutoContrast 0.6 2
    ShearY 0.4 7, SolarizeAdd 0.6 7
    Posterize 0.8 2, Solarize 0.6 10
    Solarize 0.6 8, Equalize 0.6 1
    Color 0.8 6, Rotate 0.4 5
"""


def _read_rows(text: str) -> tuple[Row, ...]:
    lines = [[part.split() for part in line.split(",")] for line in text.strip().splitlines()]
    return tuple(tuple((name, float(p), float(level)) for name, p, level in line) for line in lines)


def _research_posterize(text: str) -> str:
    """The table with the posterize whose effect grows with its level."""
    return re.sub(r"Posterize\w*", "PosterizeIncreasing", text)


AUTO_AUGMENT_ROWS: Mapping[str, tuple[Row, ...]] = {
    "original": _read_rows(ORIGINAL),
    "originalr": _read_rows(_research_posterize(ORIGINAL)),
    "v0": _read_rows(V0),
    "v0r": _read_rows(_research_posterize(V0)),
}
"""By timm's name of the table."""

INCREASING = (
    *(
        "AutoContrast",
        "Equalize",
        "Invert",
        "Rotate",
        "PosterizeIncreasing",
        "SolarizeIncreasing",
        "SolarizeAdd",
    ),
    *("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
    *("ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)

RAND_AUGMENT_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "all": dict.fromkeys(INCREASING, 1.0),
    "mixed": {name.removesuffix("Increasing"): 1.0 for name in INCREASING},
    "3a": dict.fromkeys(("SolarizeIncreasing", "Desaturate", "GaussianBlur"), 1.0),
    "weights": {
        "Rotate": 3.0,
        **dict.fromkeys(("ShearX", "ShearY"), 2.0),
        **dict.fromkeys(("TranslateXRel", "TranslateYRel"), 1.0),
        **dict.fromkeys(("ColorIncreasing", "SharpnessIncreasing", "AutoContrast"), 0.25),
        **dict.fromkeys(("SolarizeIncreasing", "SolarizeAdd", "ContrastIncreasing"), 0.05),
        **dict.fromkeys(("BrightnessIncreasing", "Equalize", "PosterizeIncreasing", "Invert"), 0.05),
    },
    "3aw": {
        **dict.fromkeys(("SolarizeIncreasing", "Desaturate", "GaussianBlur"), 6.0),
        "Rotate": 3.0,
        **dict.fromkeys(("ShearX", "ShearY"), 2.0),
        **dict.fromkeys(
            ("PosterizeIncreasing", "AutoContrast", "ColorIncreasing", "SharpnessIncreasing"), 1.0
        ),
        **dict.fromkeys(("ContrastIncreasing", "BrightnessIncreasing", "Equalize", "Invert"), 1.0),
    },
}
"""Relative frequency of each operation by the name of the set; `mixed` is `all` with operations some of which
get milder as the level rises."""

AUG_MIX_NAMES = tuple(name for name in INCREASING if name not in ("Invert", "SolarizeAdd"))
