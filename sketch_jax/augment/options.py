"""What a user sets about augmentation (imports no jax, so that `--help` starts fast)."""

import dataclasses

from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.operation_options import (
    CentreCrop,
    Clahe,
    CoarseDropout,
    Elastic,
    Emboss,
    Erasing,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    GridDistortion,
    MotionBlur,
    OpticalDistortion,
    Perspective,
    Posterize,
    ResizedCrop,
    Sharpness,
    Solarize,
    SolarizeAdd,
    StrokeWidth,
    UnsharpMask,
    Watermark,
)
from sketch_jax.augment.policies.options import Policy
from sketch_jax.class_choice import ClassChoice
from sketch_jax.errors import refuse_faults

RANGES = {
    "horizontal_flip": (0.0, 1.0),
    "vertical_flip": (0.0, 1.0),
    "rotation_degrees": (0.0, 180.0),
    "rotation_probability": (0.0, 1.0),
    "shift": (0.0, 0.5),
    "shear_degrees": (0.0, 60.0),
    "invert": (0.0, 1.0),
    "equalize": (0.0, 1.0),
    "auto_contrast": (0.0, 1.0),
    "grey": (0.0, 1.0),
    "edge_channels": (0.0, 1.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "saturation": (0.0, 1.0),
    "hue": (0.0, 0.5),
}
SCALE_RANGE = (0.25, 4.0)
"""Of both values of the scale and the stretch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What training images go through, each with its own random draws; what is 0 or None is left out."""

    horizontal_flip: float = 0.0
    """Probability of a mirror image, left to right; 0 to 1."""
    vertical_flip: float = 0.0
    """Probability of an upside-down mirror image; 0 to 1."""
    rotation_degrees: float = 0.0
    """Largest rotation about the centre, either way, drawn uniformly; 0 to 180. What comes in is white."""
    rotation_probability: float = 1.0
    """Probability of a rotation, where there is one; 0 to 1."""
    shift: float = 0.0
    """Largest shift along each axis, either way, as a fraction of that side, drawn uniformly; 0 to 0.5."""
    scale: tuple[float, float] | None = None
    """Least and largest magnification about the centre, drawn uniformly; 0.25 to 4. None: no scaling."""
    stretch: tuple[float, float] | None = None
    """Least and largest factor of width by height, the area staying as it is; 0.25 to 4, its logarithm drawn
    uniformly. None: no stretching."""
    shear_degrees: float = 0.0
    """Largest slant of the columns and of the rows, either way, drawn uniformly; 0 to 60."""
    resized_crop: ResizedCrop | None = None
    """A random part of the image as its whole. None: off, as below."""
    centre_crop: CentreCrop | None = None
    """The middle of the image as its whole."""
    perspective: Perspective | None = None
    """The image seen aslant."""
    grid_distortion: GridDistortion | None = None
    """Wider and narrower cells of a grid."""
    optical_distortion: OpticalDistortion | None = None
    """Bent lines, as by a lens."""
    elastic: Elastic | None = None
    """Pixels moved by smooth noise."""
    gamma: Gamma | None = None
    """Brighter or darker middle values."""
    posterize: Posterize | None = None
    """Fewer different values."""
    solarize: Solarize | None = None
    """Bright pixels inverted."""
    solarize_add: SolarizeAdd | None = None
    """Dark pixels made brighter."""
    equalize: float = 0.0
    """Probability of an even histogram of each channel; 0 to 1."""
    auto_contrast: float = 0.0
    """Probability that each channel is stretched to black and white; 0 to 1."""
    invert: float = 0.0
    """Probability of white on black; 0 to 1."""
    grey: float = 0.0
    """Probability that the colours go; 0 to 1."""
    clahe: Clahe | None = None
    """Even histograms of parts of the image."""
    stroke_width: StrokeWidth | None = None
    """Thinner or thicker strokes."""
    sharpness: Sharpness | None = None
    """Sharper or softer edges."""
    unsharp_mask: UnsharpMask | None = None
    """Sharper edges."""
    emboss: Emboss | None = None
    """A relief."""
    blur: GaussianBlur | None = None
    """Soft edges."""
    motion_blur: MotionBlur | None = None
    """Edges blurred along one direction."""
    edge_channels: float = 0.0
    """Probability that the channels become the edges by Sobel, by Prewitt and by Laplace; 0 to 1."""
    watermark: Watermark | None = None
    """A word over the image."""
    coarse_dropout: CoarseDropout | None = None
    """Small boxes of white paper."""
    erasing: Erasing | None = None
    """A box of white paper."""
    noise: GaussianNoise | None = None
    """Noise on each pixel."""
    brightness: float = 0.0
    """Pixel values are multiplied by a factor drawn uniformly from 1 minus this to 1 plus this; 0 to 1."""
    contrast: float = 0.0
    """Distances from the image's mean grey are multiplied by a factor drawn as for brightness; 0 to 1."""
    saturation: float = 0.0
    """Distances of a pixel from its own grey are multiplied by a factor drawn as for brightness; 0 to 1."""
    hue: float = 0.0
    """Colours turn by up to this share of the colour circle, either way, drawn uniformly; 0 to 0.5."""
    policy: Policy | None = None
    """Operations drawn from a table, after the geometric ones above. `parse_policy` and the command line take
    timm's strings, such as `rand-m9-mstd0.5-inc1`. None: no policy."""
    mixing: Mixing | None = None
    """Mixup and cutmix, after all else. None: neither."""
    only_classes: ClassChoice | None = None
    """Classes whose images are augmented; the others pass unchanged, unmixed too, but may be mixed into an
    augmented one. None: images of all classes."""

    def __post_init__(self):
        """Refuses values outside their ranges."""
        faults = [
            f"{_flag(name)} {getattr(self, name)}: must be {low:g} to {high:g}"
            for name, (low, high) in RANGES.items()
            if not low <= getattr(self, name) <= high
        ]
        faults += [
            f"{_flag(name)} {pair}: must rise, within {SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g}"
            for name in ("scale", "stretch")
            if (pair := getattr(self, name)) is not None
            and not SCALE_RANGE[0] <= pair[0] <= pair[1] <= SCALE_RANGE[1]
        ]
        if self.rotation_probability != 1.0 and not self.rotation_degrees:
            faults.append(
                f"{_flag('rotation_probability')} {self.rotation_probability}: there is no rotation"
            )
        refuse_faults(
            "augmentation: values outside their ranges",
            faults,
            "0 (None for the scale and the stretch) turns one off.",
        )


def _flag(name: str) -> str:
    return f"--augmentation.{name.replace('_', '-')}"
