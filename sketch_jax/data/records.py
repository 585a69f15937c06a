"""The values that sources hand to everything after them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sketch_jax.tasks import Tasks

UNKNOWN_LABEL = -1

Pixels = UInt8[np.ndarray, "height width 3"]
"""One decoded image: RGB, 0 to 255, transparent parts laid on white."""

SquarePixels = UInt8[np.ndarray, "side side 3"]
"""One image as the model takes it, before it is normalised."""

Picture = Path | bytes | np.ndarray
"""An image as a source hands it over: the path of a file, an encoded file's bytes, or its pixels.
`decode.decode_image` and `decode.load_image` take any of them."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """A table of images that are not decoded yet: one row an image."""

    ids: tuple[str, ...]
    """Unique names of the rows; for files their path relative to the root of the source, as in its tables."""
    labels: Int[np.ndarray, " rows"]
    """Class index of each row; -1 where unknown."""
    class_names: tuple[str, ...]
    """Name of each class index."""
    groups: tuple[str, ...] | None = None
    """Rows of one group (a person, a drawer) must stay on one side of a split; None: every row for itself."""
    numbers: Float[np.ndarray, " rows"] | None = None
    """A number of each row of whose range its class is, such as an age; None: the source tells none."""
    read: Callable[[int], Picture]
    """Picture of a row, for `decode.load_image`, which decodes and resizes at once (a large JPEG need not be
    decoded in full). Picklable: worker processes call it."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubmissionLayout:
    """How a contest wants its answers: the table that is copied, and the column that is filled in."""

    columns: tuple[str, ...]
    """Names of the columns, in order."""
    rows: tuple[tuple[str, ...], ...]
    """The sample submission's rows, in order; the target column's values are replaced."""
    id_column: str
    """Column whose values are the ids of the test examples."""
    target_column: str
    """Column that receives the answer."""
    targets: tuple[str, ...]
    """What is written for each class index."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """All that a source holds."""

    train: Examples
    test: Examples | None = None
    """Examples to predict; their labels may be unknown (-1)."""
    submission: SubmissionLayout | None = None
    tasks: Tasks | None = None
    """What the classes are made of; None: they are of one task."""
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Bad images that were left out on request: id to reason."""


class Batch(NamedTuple):
    """What the pipeline yields (a pytree of arrays)."""

    images: UInt8[np.ndarray, "batch height width 3"]
    labels: Int[np.ndarray, " batch"]
    mask: Bool[np.ndarray, " batch"]
    """False where a row only fills up the last batch."""
    rows: Int[np.ndarray, " batch"]
    """Row of each image in its `Examples`; -1 where masked out."""
