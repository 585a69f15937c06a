"""What a user sets about augmentation (imports no jax, so that `--help` starts fast)."""

import dataclasses
from typing import Literal

from sketch_jax.errors import refuse_faults

MixMode = Literal["batch", "pair", "element"]

RANGES = {
    "horizontal_flip": (0.0, 1.0),
    "vertical_flip": (0.0, 1.0),
    "rotation_degrees": (0.0, 180.0),
    "shift": (0.0, 0.5),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "mixup_alpha": (0.0, 100.0),
    "cutmix_alpha": (0.0, 100.0),
    "mix_probability": (0.0, 1.0),
    "mix_switch_probability": (0.0, 1.0),
}
SCALE_RANGE = (0.25, 4.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What training images go through, each with its own random draws; what is 0 or None is left out."""

    horizontal_flip: float = 0.0
    """Probability of a mirror image, left to right; 0 to 1."""
    vertical_flip: float = 0.0
    """Probability of an upside-down mirror image; 0 to 1."""
    rotation_degrees: float = 0.0
    """Largest rotation about the centre, either way, drawn uniformly; 0 to 180. What comes in is white."""
    shift: float = 0.0
    """Largest shift along each axis, either way, as a fraction of that side, drawn uniformly; 0 to 0.5."""
    scale: tuple[float, float] | None = None
    """Least and largest magnification about the centre, drawn uniformly; 0.25 to 4. None: no scaling."""
    brightness: float = 0.0
    """Pixel values are multiplied by a factor drawn uniformly from 1 minus this to 1 plus this; 0 to 1."""
    contrast: float = 0.0
    """Distances from the image's mean grey are multiplied by a factor drawn as for brightness; 0 to 1."""
    mixup_alpha: float = 0.0
    """Mixup of two images and their targets by a share from Beta(alpha, alpha); 0 is off, at most 100."""
    cutmix_alpha: float = 0.0
    """Cutmix: a box of another image is pasted in; where no border clips it, its area is one minus a share
    from Beta(alpha, alpha); 0 is off, at most 100."""
    mix_probability: float = 1.0
    """Probability that mixup or cutmix happens at all, where one of them is on; 0 to 1."""
    mix_switch_probability: float = 0.5
    """Probability of cutmix rather than mixup, where both are on; 0 to 1."""
    mix_mode: MixMode = "batch"
    """Who shares the draws of mixup and cutmix: all of the `batch`, each `pair` of partners, or no one, each
    `element` having its own (timm: `elem`)."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        faults = [
            f"{_flag(name)} {getattr(self, name)}: must be {low:g} to {high:g}"
            for name, (low, high) in RANGES.items()
            if not low <= getattr(self, name) <= high
        ]
        if self.scale is not None and not SCALE_RANGE[0] <= self.scale[0] <= self.scale[1] <= SCALE_RANGE[1]:
            low, high = SCALE_RANGE
            faults.append(f"{_flag('scale')} {self.scale}: must rise, within {low:g} to {high:g}")
        refuse_faults(
            "augmentation: values outside their ranges", faults, "0 (None for the scale) turns one off."
        )


def _flag(name: str) -> str:
    return f"--augmentation.{name.replace('_', '-')}"
