"""How an image file becomes a model's input: one record, owned by the weights and kept in checkpoints."""

import dataclasses
from typing import Literal

from sketch_jax.errors import refuse_faults

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CropMode = Literal["center", "squash", "border"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Decoding, resizing and normalisation of images; the same in training, evaluation and prediction."""

    image_size: int
    """Height and width of the model's input, in pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each channel, of values in 0 to 1."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel, of values in 0 to 1."""
    interpolation: Interpolation = "bicubic"
    """Filter of the resize."""
    crop_fraction: float = 1.0
    """Side of the kept centre over the side of the resized image (timm: `crop_pct`); 1 keeps everything."""
    crop_mode: CropMode = "squash"
    """`squash` resizes to a square; `center` resizes the short side and cuts the middle out; `border` resizes
    the long side and pads with white (timm: `crop_mode`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreprocessingChanges:
    """What to change in the preprocessing that the weights ask for; None keeps what they ask for."""

    mean: tuple[float, float, float] | None = None
    """Mean of each channel, of values in 0 to 1."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of each channel, of values in 0 to 1."""
    interpolation: Interpolation | None = None
    """Filter of the resize."""
    crop_fraction: float | None = None
    """Side of the kept centre over the side of the resized image, above 0 to 1; 1 keeps everything."""
    crop_mode: CropMode | None = None
    """`squash`: resize to a square; `center`: resize the short side, cut the middle out; `border`: resize the
    long side, pad with white."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        faults = []
        if self.crop_fraction is not None and not 0.0 < self.crop_fraction <= 1.0:
            faults.append(
                f"--preprocessing.crop-fraction {self.crop_fraction:g}: must be above 0 and at most 1"
            )
        if self.mean is not None and not all(0.0 <= mean <= 1.0 for mean in self.mean):
            faults.append(f"--preprocessing.mean {_shown(self.mean)}: must be in 0 to 1")
        if self.std is not None and not all(0.0 < std <= 1.0 for std in self.std):
            faults.append(f"--preprocessing.std {_shown(self.std)}: must be above 0 and at most 1")
        refuse_faults("numbers of the preprocessing out of their ranges", faults, "set them in these ranges")


def _shown(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def change_preprocessing(preprocessing: Preprocessing, changes: PreprocessingChanges) -> Preprocessing:
    """The preprocessing with all that `changes` states replaced."""
    stated = {name: value for name, value in dataclasses.asdict(changes).items() if value is not None}
    return dataclasses.replace(preprocessing, **stated)
