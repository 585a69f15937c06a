"""Resizing as in timm's evaluation transform, to the bit."""

import math

import numpy as np
from PIL import Image

from sketch_jax.data.records import Pixels, SquarePixels
from sketch_jax.preprocessing import Preprocessing

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize_image(pixels: Pixels, preprocessing: Preprocessing) -> SquarePixels:
    """Pixels resized and cropped to the model's input, [image_size, image_size, 3].

    Equals timm's evaluation transform, except that padding is white.

    References:
        timm/data/transforms_factory.py, `transforms_imagenet_eval`.
    """
    return pixels_of(fit(Image.fromarray(pixels), preprocessing))


def fit(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """An image of mode L or RGB resized and cropped; one that shows no colour may come back in L."""
    size = resized_size(image.size, preprocessing)
    resized = resample(image, size, RESAMPLING[preprocessing.interpolation])
    return cut_or_pad(resized, preprocessing.image_size)


def resample(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    box: Box | None = None,
) -> Image.Image:
    """The part of an image inside `box` (None: all of it) at another size.

    Channels that are all equal are resized once: the same values for a third of the work.
    """
    if image.size == size and box is None:
        return image
    return _drop_equal_channels(image).resize(size, resampling, box)


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) before the centre is cut out.

    >>> resized_size((800, 600), Preprocessing(image_size=224, crop_fraction=0.875, crop_mode="center"))
    (341, 256)
    """
    width, height = size
    side = math.floor(preprocessing.image_size / preprocessing.crop_fraction)
    match preprocessing.crop_mode:
        case "squash":
            return side, side
        case "center":
            return _truncated(side, width, min(size)), _truncated(side, height, min(size))
        case "border":
            ratio = max(size) / side
            return max(round(width / ratio), 1), max(round(height / ratio), 1)


def _truncated(side: int, length: int, short: int) -> int:
    """Torchvision truncates the resized long side, and makes the short one just as asked."""
    return side if length == short else int(side * length / short)


def cut_or_pad(image: Image.Image, side: int) -> Image.Image:
    """The middle square of the image; where the image is smaller, white is added around it."""
    width, height = image.size
    if (width, height) == (side, side):
        return image
    left, top = _offset(width, side), _offset(height, side)
    if width >= side and height >= side:
        return image.crop((left, top, left + side, top + side))
    paper = Image.new(image.mode, (side, side), "white")
    paper.paste(image, (-left, -top))
    return paper


def _offset(length: int, side: int) -> int:
    """Where the middle `side` pixels start; negative where the length is short of it.

    >>> _offset(10, 4), _offset(9, 4), _offset(3, 8)
    (3, 2, -2)
    """
    return round((length - side) / 2) if length >= side else -((side - length) // 2)


def pixels_of(image: Image.Image) -> Pixels:
    """RGB pixels of an image of mode L or RGB."""
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _drop_equal_channels(image: Image.Image) -> Image.Image:
    """A coloured image without any colour, as most scanned drawings are, in mode L; others unchanged."""
    if image.mode == "L":
        return image
    sample = image.resize((32, 32), Image.Resampling.NEAREST)
    return image.getchannel(0) if _is_grey(sample) and _is_grey(image) else image


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = np.moveaxis(np.asarray(image), -1, 0)
    return bool((red == green).all() and (green == blue).all())
