"""Rows become batches: decoding on demand, with every fault of a batch named by its row."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sketch_jax.data.decode import ImageError, JpegScaling, load_image
from sketch_jax.data.order import PADDING
from sketch_jax.data.records import UNKNOWN_LABEL, Batch, Examples, Pixels
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.preprocessing import Preprocessing

MapRows = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""`map`, or the `map` of a pool of threads."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Loader:
    """Decodes rows of a table; picklable, so that worker processes can call it."""

    examples: Examples
    preprocessing: Preprocessing
    jpeg_scaling: JpegScaling

    def __call__(self, rows: Int[np.ndarray, " batch"]) -> Batch:
        """The batch of some rows, decoded one after another."""
        return self.batch(rows, map)

    def batch(self, rows: Int[np.ndarray, " batch"], map_rows: MapRows) -> Batch:
        """The batch of some rows, decoded by `map_rows`; padding stays black.

        Raises:
            InputError: images cannot be read; lists all of the batch.
        """
        images = empty_images(len(rows), self.preprocessing)
        filled = np.flatnonzero(rows != PADDING)
        decoded = list(map_rows(self.decode, rows[filled].tolist()))
        refuse_unreadable([fault for fault in decoded if isinstance(fault, str)])
        for place, pixels in zip(filled, decoded, strict=True):
            images[place] = pixels
        return label_batch(self.examples, rows, images)

    def decode(self, row: int) -> Pixels | str:
        """The pixels of a row, or what is wrong with its image.

        Raises:
            RuntimeError: reading it failed in another way than a bad image does; names the row.
        """
        try:
            picture = self.examples.read(row)
            return load_image(picture, self.preprocessing, jpeg_scaling=self.jpeg_scaling)
        except ImageError as error:
            return f"{self.examples.ids[row]}: {error.reason}"
        except InputError as error:
            return f"{self.examples.ids[row]}: {error}"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"{self.examples.ids[row]}: reading this image failed: {reason}") from error


def refuse_unreadable(faults: list[str]) -> None:
    """Raises the error that lists images that cannot be read; does nothing when there are none."""
    refuse_faults("images cannot be read", faults, "replace these files or leave them out")


def empty_images(count: int, preprocessing: Preprocessing) -> UInt8[np.ndarray, "batch height width 3"]:
    """Room for images of the model's size."""
    return np.zeros((count, preprocessing.image_size, preprocessing.image_size, 3), np.uint8)


def image_bytes(count: int, preprocessing: Preprocessing) -> int:
    """Bytes of so many images of the model's size.

    >>> image_bytes(1000, Preprocessing(image_size=224))
    150528000
    """
    return count * preprocessing.image_size**2 * 3


def label_batch(
    examples: Examples, rows: Int[np.ndarray, " batch"], images: UInt8[np.ndarray, "batch height width 3"]
) -> Batch:
    """Images with their labels; rows of -1 are masked out."""
    mask = rows != PADDING
    labels = np.where(mask, examples.labels[rows], UNKNOWN_LABEL).astype(np.int32)
    return Batch(images=images, labels=labels, mask=mask, rows=rows.astype(np.int32))
