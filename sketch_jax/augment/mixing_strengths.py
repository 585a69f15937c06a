"""How strongly batches are mixed, as data: one program runs any kind of mixing, on or off."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sketch_jax.augment.mixing_options import (
    PLACE,
    HalfImage,
    Mixing,
    OfClasses,
    Opposite,
    RandomBox,
    Region,
    SameLabel,
    SizedBox,
)
from sketch_jax.class_choice import Choose, unknown_classes

MODES = ("batch", "pair", "element")
BOXES = (RandomBox, SizedBox, HalfImage, Region)
PARTNERS = (Opposite, SameLabel, OfClasses)
HALVES = {"left_right": (0, 2), "top_bottom": (2, 2), "any": (0, 4)}
"""First half and number of halves, of left, right, top and bottom."""

ENDLESS = np.iinfo(np.int32).max


class MixingStrengths(NamedTuple):
    """Mixing as data; or that of several stages, with an axis for them in front."""

    probability: Float[Array | np.ndarray, "*stages"]
    cut_probability: Float[Array | np.ndarray, "*stages"]
    """Of cutmix rather than mixup."""
    mixup_alpha: Float[Array | np.ndarray, "*stages"]
    box_alpha: Float[Array | np.ndarray, "*stages"]
    box: Int[Array | np.ndarray, "*stages"]
    """Place in `BOXES`."""
    sizes: Float[Array | np.ndarray, "*stages 2"]
    """Shortest and longest side of a `SizedBox`."""
    halves: Int[Array | np.ndarray, "*stages 2"]
    region: Float[Array | np.ndarray, "*stages 4"]
    """Top, bottom, left and right of a `Region`."""
    mode: Int[Array | np.ndarray, "*stages"]
    """Place in `MODES`."""
    partner: Int[Array | np.ndarray, "*stages"]
    """Place in `PARTNERS`."""
    partner_classes: Bool[Array | np.ndarray, "*stages class"]
    """Classes that a partner may have."""
    every: Int[Array | np.ndarray, "*stages"]
    """Of how many batches one is mixed."""
    until_step: Int[Array | np.ndarray, "*stages"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixingLayout:
    """What a program that mixes is compiled for."""

    mixup: bool
    """Whether mixup can happen."""
    cutmix: bool
    chosen_partners: bool
    """Whether partners can be others than those from the batch's other end."""


def create_mixing(
    stages: Sequence[Mixing | None],
    class_count: int,
    steps_per_epoch: int,
    choose: Choose = unknown_classes,
) -> tuple[MixingLayout, MixingStrengths]:
    """The mixing of stages as arrays with an axis for them in front, and the layout that holds them all.

    Args:
        stages: None: the stage mixes nothing. At least one does.
        class_count: number of classes.
        steps_per_epoch: batches of an epoch.
        choose: marks the classes of a choice.

    Raises:
        InputError: a partner's class does not exist.
    """
    mixings = [mixing for mixing in stages if mixing is not None]
    layout = MixingLayout(
        mixup=any(mixing.mixup_alpha for mixing in mixings),
        cutmix=any(mixing.cutmix is not None for mixing in mixings),
        chosen_partners=any(not isinstance(mixing.partner, Opposite) for mixing in mixings),
    )
    strengths = [_strengths_of(mixing, class_count, steps_per_epoch, choose) for mixing in stages]
    return layout, jax.tree.map(lambda *parts: np.stack(parts), *strengths)


def _strengths_of(
    mixing: Mixing | None, class_count: int, steps_per_epoch: int, choose: Choose
) -> MixingStrengths:
    on = mixing is not None
    mixing = Mixing() if mixing is None else mixing
    box, partner, until = mixing.cutmix, mixing.partner, mixing.until_epoch
    strengths = MixingStrengths(
        probability=np.array(mixing.probability if on else 0.0),
        cut_probability=np.array(_cut_probability(mixing)),
        mixup_alpha=np.array(mixing.mixup_alpha or 1.0),
        box_alpha=np.array(box.alpha if isinstance(box, RandomBox) else 1.0),
        box=np.array(0 if box is None else BOXES.index(type(box))),
        sizes=np.array((box.least, box.most) if isinstance(box, SizedBox) else (0.0, 1.0)),
        halves=np.array(HALVES[box.split if isinstance(box, HalfImage) else "any"]),
        region=np.array(_edges(box) if isinstance(box, Region) else (0.0, 1.0, 0.0, 1.0)),
        mode=np.array(MODES.index(mixing.mode)),
        partner=np.array(PARTNERS.index(type(partner))),
        partner_classes=_partner_classes(partner, class_count, choose),
        every=np.array(mixing.every_batches),
        until_step=np.array(ENDLESS if until is None else round(until * steps_per_epoch)),
    )
    return jax.tree.map(_in_32_bits, strengths)


def _cut_probability(mixing: Mixing) -> float:
    if mixing.cutmix is None:
        return 0.0
    return mixing.switch_probability if mixing.mixup_alpha else 1.0


def _edges(region: Region) -> tuple[float, float, float, float]:
    return region.top, region.bottom, region.left, region.right


def _partner_classes(
    partner: Opposite | SameLabel | OfClasses, class_count: int, choose: Choose
) -> np.ndarray:
    if not isinstance(partner, OfClasses):
        return np.ones(class_count, bool)
    chosen = choose(partner.choice, f"{PLACE}.partner.choice")
    return ~chosen if partner.excluded else chosen


def _in_32_bits(values: np.ndarray) -> np.ndarray:
    kinds = {"f": np.float32, "i": np.int32, "b": np.bool_}
    return values.astype(kinds[values.dtype.kind])
