"""What a user sets about operations that have several parameters (imports no jax: `--help` starts fast).

All numbers are data: two records of a kind that differ in them share one compiled program.
`--augmentation.elastic.kind Elastic` turns an operation on; its fields are then options, as in
`--augmentation.elastic.alpha 50`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from sketch_jax.errors import refuse_faults


class Range(NamedTuple):
    """Least and largest value of a field, or of both values of a pair."""

    low: float
    high: float


PROBABILITY = Range(0.0, 1.0)
BYTE = Range(0.0, 255.0)

RANGES: dict[str, dict[str, Range]] = {
    "ResizedCrop": {"area": Range(0.01, 1.0), "ratio": Range(0.1, 10.0)},
    "CentreCrop": {"height": Range(0.1, 1.0), "width": Range(0.1, 1.0)},
    "Perspective": {"distortion": Range(0.0, 0.9)},
    "Elastic": {"alpha": Range(0.0, 2000.0), "sigma": Range(3.0, 100.0)},
    "GridDistortion": {"steps": Range(1, 16), "limit": Range(0.0, 0.9)},
    "OpticalDistortion": {"limit": Range(0.0, 1.0)},
    "Gamma": {"exponent": Range(0.1, 10.0)},
    "Posterize": {"bits": Range(1, 8)},
    "Solarize": {"threshold": Range(0.0, 256.0)},
    "SolarizeAdd": {"addition": BYTE},
    "Clahe": {"clip_limit": Range(1.0, 40.0)},
    "Sharpness": {"factor": Range(0.0, 10.0)},
    "UnsharpMask": {"sigma": Range(0.1, 50.0), "share": Range(0.0, 10.0), "threshold": BYTE},
    "Emboss": {"opacity": PROBABILITY, "relief": Range(0.0, 4.0)},
    "GaussianBlur": {"sigma": Range(0.0, 50.0)},
    "MotionBlur": {"length": Range(1.0, 100.0)},
    "GaussianNoise": {"deviation": BYTE},
    "StrokeWidth": {"radius": Range(-10.0, 10.0)},
    "Erasing": {"area": Range(0.0, 1.0), "least_aspect": Range(0.05, 1.0)},
    "CoarseDropout": {"holes": Range(1, 32), "size": Range(0.0, 1.0)},
    "Watermark": {"opacity": PROBABILITY},
}
"""The range of every field, by record and field; that of every `probability` is 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Operation:
    """What happens to some images; where a field is a pair, a value in between is drawn uniformly."""

    probability: float = 0.5
    """That an image goes through it; 0 to 1."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        refuse_faults(
            f"{type(self).__name__}: values outside their ranges",
            list(_faults(self)),
            "None in the record's place turns the operation off.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResizedCrop(_Operation):
    """A random part of the image, resized to its whole, with torchvision's draws."""

    area: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image; 0.01 to 1."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width by height; its logarithm is drawn uniformly; 0.1 to 10."""
    probability: float = 1.0
    """That an image goes through it; 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CentreCrop(_Operation):
    """The middle of the image, resized to its whole."""

    height: float = 0.9
    """Share of the height that is kept; 0.1 to 1."""
    width: float = 0.9
    """Share of the width that is kept; 0.1 to 1."""
    probability: float = 1.0
    """That an image goes through it; 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perspective(_Operation):
    """The image seen aslant, as torchvision's RandomPerspective; what comes in is white."""

    distortion: float = 0.2
    """Corners move inwards along each axis, uniformly up to this share of half the side; 0 to 0.9."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elastic(_Operation):
    """Pixels moved by smooth noise; what comes in is white."""

    alpha: float = 30.0
    """Noise of -1 to 1 a pixel, smoothed, is multiplied by this, in pixels; 0 to 2000."""
    sigma: float = 4.0
    """Standard deviation of the Gaussian that smooths it, in pixels; 3 to 100."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridDistortion(_Operation):
    """Cells of a grid made wider or narrower along each axis, as in albumentations, to the same total."""

    steps: int = 4
    """Cells along each axis; 1 to 16."""
    limit: float = 0.2
    """A cell's length is multiplied by 1 minus this to 1 plus this, before all are scaled; 0 to 0.9."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpticalDistortion(_Operation):
    """A lens that bends lines in or out, as albumentations has it; what comes in is white."""

    limit: float = 0.05
    """The radial coefficient is drawn uniformly between minus and plus this; 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gamma(_Operation):
    """Shares of white raised to a power."""

    exponent: tuple[float, float] = (0.8, 1.2)
    """Least and largest; below 1 brighter; 0.1 to 10."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Posterize(_Operation):
    """Fewer different values."""

    bits: int = 4
    """Leading bits of each byte that stay; 1 to 8."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solarize(_Operation):
    """Bright pixels inverted."""

    threshold: float = 128.0
    """Least byte that is inverted; 0 to 256."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolarizeAdd(_Operation):
    """Dark pixels made brighter."""

    addition: tuple[float, float] = (0.0, 110.0)
    """Least and largest addition to bytes below 128; 0 to 255."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clahe(_Operation):
    """Contrast-limited adaptive histogram equalization, in 8 x 8 tiles as OpenCV has it."""

    clip_limit: tuple[float, float] = (1.0, 4.0)
    """Least and largest frequency at which a byte of a tile is cut off, of the mean one; 1 to 40."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sharpness(_Operation):
    """Pillow's sharpness."""

    factor: tuple[float, float] = (0.5, 2.0)
    """Least and largest: 0 is smooth, 1 changes nothing, 2 is sharp; 0 to 10."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnsharpMask(_Operation):
    """A share of what a blur takes away is added again."""

    sigma: tuple[float, float] = (1.0, 3.0)
    """Least and largest standard deviation of the blur, in pixels; 0.1 to 50."""
    share: tuple[float, float] = (0.2, 0.5)
    """Least and largest share; 0 to 10."""
    threshold: float = 10.0
    """Difference of bytes above which it is added; 0 to 255."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emboss(_Operation):
    """A relief drawn over the image."""

    opacity: tuple[float, float] = (0.2, 0.5)
    """Least and largest; 0 shows the image, 1 the relief alone; 0 to 1."""
    relief: tuple[float, float] = (0.2, 0.7)
    """Least and largest weight of the neighbours; 0 to 4."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianBlur(_Operation):
    """Soft edges."""

    sigma: tuple[float, float] = (0.1, 2.0)
    """Least and largest standard deviation, in pixels; 0 to 50."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionBlur(_Operation):
    """The mean along a line of any direction."""

    length: tuple[float, float] = (3.0, 9.0)
    """Least and largest length of the line, in pixels along the nearer axis; 1 to 100."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Operation):
    """Independent noise on each channel of each pixel."""

    deviation: tuple[float, float] = (5.0, 20.0)
    """Least and largest standard deviation, of 255; 0 to 255."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrokeWidth(_Operation):
    """Thinner or thicker strokes."""

    radius: tuple[float, float] = (-1.0, 1.0)
    """Pixels that strokes gain on each side, least and largest; negative: that they lose; -10 to 10."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Erasing(_Operation):
    """A box of white paper over the image, with timm's draws."""

    area: tuple[float, float] = (0.02, 1 / 3)
    """Least and largest share of the image; 0 to 1."""
    least_aspect: float = 0.3
    """Least ratio of the sides; the largest is its inverse; 0.05 to 1."""
    probability: float = 0.25
    """That an image goes through it; 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseDropout(_Operation):
    """Several small boxes of white paper over the image."""

    holes: int = 8
    """Most boxes; their number is drawn uniformly from 1 on; 1 to 32."""
    size: tuple[float, float] = (0.05, 0.15)
    """Least and largest share of a side that a box takes; 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watermark(_Operation):
    """A word of random letters over the image."""

    opacity: tuple[float, float] = (0.1, 0.5)
    """Least and largest; 1 hides what is below; 0 to 1."""
    probability: float = 0.1
    """That an image goes through it; 0 to 1."""


def _faults(operation: _Operation) -> Iterator[str]:
    ranges = {**RANGES[type(operation).__name__], "probability": PROBABILITY}
    for name, (low, high) in ranges.items():
        value: Any = getattr(operation, name)
        if isinstance(value, tuple):
            if not low <= value[0] <= value[1] <= high:
                yield f"{name} {value}: must rise, within {low:g} to {high:g}"
        elif not low <= value <= high:
            yield f"{name} {value}: must be {low:g} to {high:g}"
