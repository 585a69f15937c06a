"""What a user sets about policies (imports no jax, so that `--help` starts fast).

What a rotation, shear or shift brings in is white paper; timm fills with the mean colour of the weights,
torchvision with black. The geometric operations that are drawn for an image act first, joined into the one
warp of the pipeline: paper that another operation darkens is dark up to the border.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from sketch_jax.errors import refuse_faults

AutoAugmentVariant = Literal["original", "originalr", "v0", "v0r"]
OperationSet = Literal["all", "weights", "3a", "3aw"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoAugment:
    """One of 25 pairs of operations that were searched for ImageNet (arXiv:1805.09501), as in timm."""

    variant: AutoAugmentVariant = "original"
    """Table: the paper's (`original`) or that of TPU EfficientNet (`v0`); with a final `r`, posterize keeps
    fewer bits, not more, as its level rises."""
    magnitude_std: float = 0.0
    """Standard deviation of the noise on each level of the table, in levels of 0 to 10; at least 0."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        _refuse("AutoAugment", [_range_fault("magnitude-std", self.magnitude_std, 0.0, 100.0)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """A few operations out of 15, of one magnitude (arXiv:1909.13719), with timm's meaning of each number.

    The defaults are timm's `rand-m9-mstd0.5-inc1`.
    """

    magnitude: float = 9.0
    """Mean level of the operations, 0 to 10 or to `highest_magnitude` (`-m`)."""
    magnitude_std: float | None = 0.5
    """Standard deviation of the level, at least 0 (`-mstd`). None: uniform from 0 to the magnitude."""
    highest_magnitude: float = 10.0
    """Levels are held between 0 and this; above 0, at most 30 (`-mmax`)."""
    operations: int = 2
    """Operations drawn for an image, 1 to 10 (`-n`)."""
    probability: float = 0.5
    """That a drawn operation takes place; 0 to 1 (`-p`)."""
    increasing: bool = True
    """Whether every operation gets stronger with the level (`-inc1`); else the mildest level of some is 5 or
    10. Only for the set `all`: the others are increasing always."""
    operation_set: OperationSet = "all"
    """What is drawn from (`-t`): all 15 alike, all 15 but mostly geometric ones (`weights`), solarize, grey
    and blur (`3a`), or these and rarer ones (`3aw`). From the two weighted sets none is drawn twice."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        limit = self.highest_magnitude
        faults = [
            _range_fault("magnitude", self.magnitude, 0.0, limit),
            _range_fault("magnitude-std", self.magnitude_std or 0.0, 0.0, 100.0),
            _range_fault("highest-magnitude", limit, 1e-6, 30.0),
            _range_fault("operations", self.operations, 1, 10),
            _range_fault("probability", self.probability, 0.0, 1.0),
        ]
        _refuse("RandAugment", faults)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrivialAugmentWide:
    """One operation out of 14 at one of a wide range of strengths (arXiv:2103.10158), as in torchvision."""

    bins: int = 31
    """Strengths an operation can have, evenly spaced from none to its strongest; at least 2."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        _refuse("TrivialAugmentWide", [_range_fault("bins", self.bins, 2, 1000)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugMix:
    """An image blended with a mean of chains of operations on it (arXiv:1912.02781), as in timm."""

    severity: float = 3.0
    """Largest level of the operations, 0 to 10 (`-m`)."""
    width: int = 3
    """Chains; 1 to 10 (`-w`). Each costs a warp of its own."""
    depth: int | None = None
    """Operations in a chain, 1 to 10 (`-d`). None: 1, 2 or 3, drawn for each chain."""
    alpha: float = 1.0
    """Of the Dirichlet distribution of the chains' weights and the Beta distribution of their sum (`-a`)."""
    magnitude_std: float | None = None
    """Standard deviation of the level about the severity (`-mstd`). None: uniform from 0 up to it."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        faults = [
            _range_fault("severity", self.severity, 0.0, 10.0),
            _range_fault("width", self.width, 1, 10),
            _range_fault("depth", 1 if self.depth is None else self.depth, 1, 10),
            _range_fault("alpha", self.alpha, 0.01, 100.0),
            _range_fault("magnitude-std", self.magnitude_std or 0.0, 0.0, 100.0),
        ]
        _refuse("AugMix", faults)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeAugment:
    """Grey, solarize or Gaussian blur, always one of them, then colour jitter (arXiv:2204.07118)."""

    color_jitter: float = 0.3
    """Brightness, contrast and saturation, in random order, by factors up to this far from 1; 0 to 1."""
    solarize_threshold: int = 128
    """Pixel values from here on are inverted, white paper among them; 0 to 256, which inverts none."""
    blur_radius: tuple[float, float] = (0.1, 2.0)
    """Least and largest standard deviation of the blur, in pixels, drawn uniformly; 0 to 2. The blur is a
    Gaussian; Pillow's, which timm uses, is three boxes."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        faults = [
            _range_fault("color-jitter", self.color_jitter, 0.0, 1.0),
            _range_fault("solarize-threshold", self.solarize_threshold, 0, 256),
        ]
        low, high = self.blur_radius
        if not 0.0 <= low <= high <= 2.0:
            faults.append(f"--augmentation.policy.blur-radius {self.blur_radius}: must rise, within 0 to 2")
        _refuse("ThreeAugment", faults)


Policy: TypeAlias = AutoAugment | RandAugment | TrivialAugmentWide | AugMix | ThreeAugment


def _range_fault(flag: str, value: float | int, low: float | int, high: float | int) -> str | None:
    if math.isfinite(value) and low <= value <= high:
        return None
    return f"--augmentation.policy.{flag} {value:g}: must be {low:g} to {high:g}"


def _refuse(record: str, faults: Sequence[str | None]) -> None:
    found = [fault for fault in faults if fault is not None]
    refuse_faults(f"{record}: values outside their ranges", found, "set them in these ranges.")
