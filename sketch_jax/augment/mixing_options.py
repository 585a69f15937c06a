"""What a user sets about mixup and cutmix (imports no jax, so that `--help` starts fast)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from sketch_jax.class_choice import ClassChoice, SmallClasses
from sketch_jax.errors import refuse_faults

MixMode = Literal["batch", "pair", "element"]
Split = Literal["any", "left_right", "top_bottom"]

PLACE = "--augmentation.mixing"


def _range_fault(flag: str, value: float | int, low: float | int, high: float | int) -> str | None:
    if math.isfinite(value) and low <= value <= high:
        return None
    return f"{PLACE}.{flag} {value:g}: must be {low:g} to {high:g}"


def _refuse(faults: Sequence[str | None]) -> None:
    found = [fault for fault in faults if fault is not None]
    refuse_faults("mixing: values outside their ranges", found, "set them in these ranges.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomBox:
    """A box anywhere, of the image's proportions; where no border clips it, its area is one minus a share."""

    alpha: float = 1.0
    """The share is from Beta(alpha, alpha); above 0, at most 100."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        _refuse([_range_fault("cutmix.alpha", self.alpha, 1e-3, 100.0)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizedBox:
    """A box anywhere inside, with sides of limited length (timm's `cutmix_minmax`)."""

    least: float = 0.2
    """Shortest side, as a fraction of the image's; 0 to 1."""
    most: float = 0.8
    """Longest side, as a fraction of the image's, above the shortest; at most 1."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        if not 0.0 <= self.least < self.most <= 1.0:
            _refuse([f"{PLACE}.cutmix.least {self.least:g} and most {self.most:g}: must rise, within 0 to 1"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfImage:
    """One half of the image, drawn."""

    split: Split = "any"
    """Whether halves are left and right, top and bottom, or any of the four."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """The same box in every image, such as that of the eyes in portraits; in fractions of the sides."""

    top: float
    """Its upper edge; 0 to 1."""
    bottom: float
    """Its lower edge; above `top`, at most 1."""
    left: float = 0.0
    """Its left edge; 0 to 1."""
    right: float = 1.0
    """Its right edge; above `left`, at most 1."""

    def __post_init__(self):
        """Refuses a box that is empty or reaches beyond the image."""
        faults = [
            f"{PLACE}.cutmix.{names[0]} {low:g} and {names[1]} {high:g}: must rise, within 0 to 1"
            for names, low, high in (
                (("top", "bottom"), self.top, self.bottom),
                (("left", "right"), self.left, self.right),
            )
            if not 0.0 <= low < high <= 1.0
        ]
        _refuse(faults)


Cutmix: TypeAlias = RandomBox | SizedBox | HalfImage | Region


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opposite:
    """The image at the same place from the batch's other end, as in timm: any image of the training set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SameLabel:
    """Another image of the batch with the same label; without one an image stays as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfClasses:
    """Another image of the batch, of given classes; while there is none, images stay as they are."""

    choice: ClassChoice = SmallClasses()
    """Which classes."""
    excluded: bool = False
    """Whether the partner must be of any other class instead."""


Partner: TypeAlias = Opposite | SameLabel | OfClasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing:
    """Mixup and cutmix of two images and of their targets; the defaults are DeiT's, and timm's meaning."""

    mixup_alpha: float = 0.8
    """Mixup by a share from Beta(alpha, alpha); 0 is no mixup, at most 100."""
    cutmix: Cutmix | None = RandomBox()
    """What cutmix pastes of the partner; targets are weighted by its exact area. None: no cutmix."""
    probability: float = 1.0
    """That an image, a pair or a batch (see `mode`) is mixed at all; 0 to 1."""
    switch_probability: float = 0.5
    """Of cutmix rather than mixup, where both are on; 0 to 1."""
    mode: MixMode = "batch"
    """Who shares the draws: all of the `batch`, each `pair` of opposite images, or no one, each `element`
    having its own (timm: `elem`)."""
    partner: Partner = Opposite()
    """With which image one is mixed."""
    every_batches: int = 1
    """Only each so manieth batch is mixed; at least 1."""
    until_epoch: float | None = None
    """From this epoch on nothing is mixed. None: mixed to the end."""

    def __post_init__(self):
        """Refuses values outside their ranges and pairs that are none."""
        faults = [
            _range_fault("mixup-alpha", self.mixup_alpha, 0.0, 100.0),
            _range_fault("probability", self.probability, 0.0, 1.0),
            _range_fault("switch-probability", self.switch_probability, 0.0, 1.0),
            _range_fault("every-batches", self.every_batches, 1, 1_000_000),
            _range_fault("until-epoch", self.until_epoch or 0.0, 0.0, 1e6),
        ]
        if not self.mixup_alpha and self.cutmix is None:
            faults.append(
                f"{PLACE}.mixup-alpha 0 and no cutmix: one must be on; {PLACE}.kind None mixes nothing"
            )
        if self.mode == "pair" and not isinstance(self.partner, Opposite):
            faults.append(f"{PLACE}.mode pair: partners must be Opposite; chosen ones are not mutual")
        _refuse(faults)
