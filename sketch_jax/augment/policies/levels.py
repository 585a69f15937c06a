"""How an operation's level becomes its argument, by the names that timm and torchvision give operations.

References:
    timm/data/auto_augment.py: `LEVEL_TO_ARG`; torchvision/transforms/autoaugment.py: `_augmentation_space`.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Rounding = Literal["none", "down", "nearest"]

ROUNDINGS: tuple[Rounding, ...] = ("none", "down", "nearest")

OPERATIONS = (
    "identity",
    *(
        "auto_contrast",
        "equalize",
        "invert",
        "posterize",
        "solarize",
        "solarize_add",
        "brightness",
        "contrast",
    ),
    *("color", "sharpness", "blur"),
    *(
        "rotate",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
        "translate_x_pixels",
        "translate_y_pixels",
    ),
)
"""What can happen to an image; elsewhere an operation is its place in this row."""

GEOMETRIC_FROM = OPERATIONS.index("rotate")
"""Operations from here on are maps of places, those before it changes of values."""


class Rule(NamedTuple):
    """argument = offset ± span × level, where level 1 is timm's level 10 and torchvision's last bin."""

    operation: str
    """One of `OPERATIONS`."""
    offset: float = 0.0
    """The argument at level 0."""
    span: float = 0.0
    """How far level 1 is from that."""
    signed: bool = False
    """Whether a coin decides about plus and minus."""
    rounding: Rounding = "none"
    """Of span × level, before the sign."""
    lowest: float = -1e4
    highest: float = 1e4


TIMM_RULES: Mapping[str, Rule] = {
    "AutoContrast": Rule("auto_contrast"),
    "Equalize": Rule("equalize"),
    "Invert": Rule("invert"),
    "Rotate": Rule("rotate", 0.0, 30.0, signed=True),
    "Posterize": Rule("posterize", 0.0, 4.0, rounding="down"),
    "PosterizeIncreasing": Rule("posterize", 4.0, -4.0, rounding="down"),
    "PosterizeOriginal": Rule("posterize", 4.0, 4.0, rounding="down"),
    "Solarize": Rule("solarize", 0.0, 256.0, rounding="down", highest=256.0),
    "SolarizeIncreasing": Rule("solarize", 256.0, -256.0, rounding="down", lowest=0.0),
    "SolarizeAdd": Rule("solarize_add", 0.0, 110.0, rounding="down", highest=128.0),
    "ShearX": Rule("shear_x", 0.0, 0.3, signed=True),
    "ShearY": Rule("shear_y", 0.0, 0.3, signed=True),
    "TranslateXRel": Rule("translate_x", 0.0, 0.45, signed=True),
    "TranslateYRel": Rule("translate_y", 0.0, 0.45, signed=True),
    "Desaturate": Rule("color", 0.5, -0.5, lowest=0.0, highest=0.5),
    "GaussianBlur": Rule("blur", 0.1, 1.9, lowest=0.1, highest=2.0),
    **{name: Rule(name.lower(), 0.1, 1.8) for name in ("Color", "Contrast", "Brightness", "Sharpness")},
    **{
        f"{name}Increasing": Rule(name.lower(), 1.0, 0.9, signed=True, lowest=0.1)
        for name in ("Color", "Contrast", "Brightness", "Sharpness")
    },
}
"""timm's, by its names; shifts are shares of the side."""

WIDE_RULES: Mapping[str, Rule] = {
    "Identity": Rule("identity"),
    "ShearX": Rule("shear_x", 0.0, 0.99, signed=True),
    "ShearY": Rule("shear_y", 0.0, 0.99, signed=True),
    "TranslateX": Rule("translate_x_pixels", 0.0, 32.0, signed=True, rounding="down"),
    "TranslateY": Rule("translate_y_pixels", 0.0, 32.0, signed=True, rounding="down"),
    "Rotate": Rule("rotate", 0.0, 135.0, signed=True),
    "Brightness": Rule("brightness", 1.0, 0.99, signed=True),
    "Color": Rule("color", 1.0, 0.99, signed=True),
    "Contrast": Rule("contrast", 1.0, 0.99, signed=True),
    "Sharpness": Rule("sharpness", 1.0, 0.99, signed=True),
    "Posterize": Rule("posterize", 8.0, -6.0, rounding="nearest"),
    "Solarize": Rule("solarize", 255.0, -255.0),
    "AutoContrast": Rule("auto_contrast"),
    "Equalize": Rule("equalize"),
}
"""torchvision's TrivialAugmentWide, by its names."""


class RuleArrays(NamedTuple):
    """Rules as data, all of one shape."""

    operation: Int[Array | np.ndarray, "*shape"]
    offset: Float[Array | np.ndarray, "*shape"]
    span: Float[Array | np.ndarray, "*shape"]
    signed: Bool[Array | np.ndarray, "*shape"]
    rounding: Int[Array | np.ndarray, "*shape"]
    lowest: Float[Array | np.ndarray, "*shape"]
    highest: Float[Array | np.ndarray, "*shape"]


def arguments_of(
    rules: RuleArrays, levels: Float[Array, "*shape"], negative: Bool[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The argument of each operation.

    Args:
        rules: of the operations.
        levels: 0 to 1, or more where a policy allows levels beyond timm's 10.
        negative: what the coins say; read where a rule is signed.
    """
    moved = rules.span * levels
    # Whole numbers must not fall short of themselves in 32 bits: 0.7 of 30 bins is a hair below 21.
    down = jnp.trunc(moved + jnp.sign(moved) * 1e-4)
    rounded = jnp.select([rules.rounding == 1, rules.rounding == 2], [down, jnp.round(moved)], moved)
    sign = jnp.where(rules.signed & negative, -1.0, 1.0)
    return jnp.clip(rules.offset + sign * rounded, rules.lowest, rules.highest)
