"""Image files become uint8 RGB pixels of the size that the model takes, as in timm's evaluation transform."""

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from sketch_jax.data.records import Picture, Pixels, SquarePixels
from sketch_jax.data.resize import Box, cut_or_pad, fit, pixels_of, resample, resize_image, resized_size
from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing

PIXEL_LIMIT = 1 << 26
"""Largest accepted width × height by default: 8192 × 8192."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

JpegScaling = Literal["exact", "fast"]
"""`exact` decodes every pixel of a JPEG; `fast` decodes it at 1/2, 1/4 or 1/8 of its size where that is still
no smaller than the resized image, and resizes the rest with a shorter filter. Pixels of drawings then
differ by about 1 to 3 of 255 on average, once to twice as much as between bilinear and bicubic: right for
training, which augments far more."""
_SHORTER = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.BICUBIC,
}

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DECODER_FAULTS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    struct.error,
    Image.DecompressionBombError,
    Warning,
)
"""What Pillow's readers raise on damaged files; warnings, where they have been made errors."""
_JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"
_DISK_BLOCK = 512


class ImageError(InputError):
    """An image that cannot be read; `place` is its path (or what stands for it), `reason` why."""

    def __init__(self, place: str, reason: str):
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: cannot be read as an image: {self.reason}; replace the file or leave it out"


def decode_image(picture: Picture, *, pixel_limit: int = PIXEL_LIMIT) -> Pixels:
    """RGB pixels of an image file: the first frame, upright by its EXIF tag, transparent parts on white.

    Values of 16 bits are scaled to 8. Pixels pass through unchanged.

    Args:
        picture: a path, a file's bytes, or pixels.
        pixel_limit: largest accepted width × height.

    Raises:
        ImageError: when the file is missing, truncated, not an image or larger than the limit.
    """
    if isinstance(picture, np.ndarray):
        return picture
    with _open_image(picture, pixel_limit) as image:
        stored, turn = _lay_on_white(image), _turn_upright(image)
    return pixels_of(_turned(stored, turn))


def load_image(
    picture: Picture,
    preprocessing: Preprocessing,
    *,
    jpeg_scaling: JpegScaling = "exact",
    pixel_limit: int = PIXEL_LIMIT,
) -> SquarePixels:
    """Decodes and resizes at once: the same as `resize_image(decode_image(picture), preprocessing)`.

    Args:
        picture: a path, a file's bytes, or pixels.
        preprocessing: the model's.
        jpeg_scaling: `exact`, or `fast` for nearly the same pixels in less than half of the time.
        pixel_limit: largest accepted width × height.

    Raises:
        ImageError: when the file is missing, truncated, not an image or larger than the limit.
    """
    if isinstance(picture, np.ndarray):
        return resize_image(picture, preprocessing)
    with _open_image(picture, pixel_limit) as image:
        size = resized_size(image.size, preprocessing)
        box = _shrink(image, size) if jpeg_scaling == "fast" else None
        stored, turn = _lay_on_white(image), _turn_upright(image)
    if box is None:
        resized = fit(_turned(stored, turn), preprocessing)
    else:
        resampled = resample(stored, size, _SHORTER[preprocessing.interpolation], box)
        resized = cut_or_pad(_turned(resampled, turn), preprocessing.image_size)
    return pixels_of(resized)


def check_image(picture: Picture, *, pixel_limit: int = PIXEL_LIMIT) -> None:
    """Reads an image to its end, at low resolution where that is faster.

    Raises:
        ImageError: when the file is missing, truncated, not an image or larger than the limit.
    """
    if not isinstance(picture, np.ndarray):
        with _open_image(picture, pixel_limit) as image:
            image.draft(None, (1, 1))
            _lay_on_white(image)


@contextlib.contextmanager
def _open_image(picture: Path | bytes, pixel_limit: int) -> Iterator[Image.Image]:
    """An image that is not decoded yet; what goes wrong inside the context becomes an `ImageError`."""
    place = str(picture) if isinstance(picture, Path) else "image"
    try:
        encoded = picture.read_bytes() if isinstance(picture, Path) else picture
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            _check_size(image.size, pixel_limit)
            if image.format in _JPEG_FORMATS:
                _check_end(encoded)
            yield image
    except FileNotFoundError as error:
        raise ImageError(place, "there is no such file") from error
    except UnidentifiedImageError as error:
        fault = f"it is none of {', '.join(FORMATS)}" if encoded else "it is empty"
        raise ImageError(place, fault) from error
    except _DECODER_FAULTS as error:
        raise ImageError(place, str(error)) from error


def _check_size(size: tuple[int, int], pixel_limit: int) -> None:
    width, height = size
    if width * height > pixel_limit:
        raise ValueError(f"{width} × {height} pixels are more than the limit of {pixel_limit}")


def _check_end(encoded: bytes) -> None:
    """Refuses a JPEG whose rest was never written: libjpeg would fill it with grey and say nothing."""
    zeros = len(encoded) - len(encoded.rstrip(b"\0"))
    if zeros >= _DISK_BLOCK and encoded.find(_JPEG_END, _start_of_scan(encoded)) < 0:
        raise ValueError(f"its last {zeros} bytes are zeros")


def _start_of_scan(encoded: bytes) -> int:
    """Where a JPEG's header ends: thumbnails in the header have end markers of their own."""
    offset = 2
    while encoded[offset + 1] != _JPEG_SCAN:
        offset += 2 + int.from_bytes(encoded[offset + 2 : offset + 4], "big")
    return offset


def _lay_on_white(image: Image.Image) -> Image.Image:
    """The decoded image in mode L or RGB, its transparent parts on white.

    Grey images stay grey, which is a third of the work for a resize.
    """
    image.load()
    if image.mode.startswith("I"):
        return _scale_to_8_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(layer, mask=layer)
        return paper
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image in mode L: 65535 becomes 255, where Pillow's `convert` would clip."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels are 32-bit integers, whose range is not known")
    if "transparency" in image.info:
        values = np.where(values == image.info["transparency"], 65535, values)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _turn_upright(image: Image.Image) -> Image.Transpose | None:
    """The turn that the EXIF tag of a decoded file asks for; None: it is upright as stored."""
    return _TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _shrink(image: Image.Image, size: tuple[int, int]) -> Box | None:
    """Has a JPEG decoded at the smallest of its scales that is not below `size`.

    Returns:
        Part of the smaller image that shows the picture; its edge cuts the last column or row where the
        size is no multiple of the scale. It holds for the image as stored, so that turns come last. None: the
        image is decoded in full.
    """
    whole = image.size
    drafted = image.draft(None, size) if image.format in _JPEG_FORMATS else None
    if drafted is None or image.size == whole:
        return None
    _, (_, _, right, bottom) = drafted
    return 0.0, 0.0, right, bottom
