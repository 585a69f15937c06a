"""What a user sets about augmentation (imports no jax, so that `--help` starts fast)."""

import dataclasses

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.policies.options import Policy
from sketch_jax.errors import refuse_faults

RANGES = {
    "horizontal_flip": (0.0, 1.0),
    "vertical_flip": (0.0, 1.0),
    "rotation_degrees": (0.0, 180.0),
    "shift": (0.0, 0.5),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
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
    policy: Policy | None = None
    """Operations drawn from a table, after the geometric ones above; `parse_policy` reads timm's strings like
    `rand-m9-mstd0.5-inc1`. None: no policy."""
    mixing: Mixing | None = None
    """Mixup and cutmix, after all else. None: neither."""
    only_classes: tuple[int, ...] | None = None
    """Indices of the classes whose images are augmented; the others pass unchanged, unmixed too, but may be
    mixed into an augmented one. None: images of all classes."""

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
