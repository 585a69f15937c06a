"""A short name for the data that a run has seen."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sketch_jax.data.files import FileReader
from sketch_jax.data.records import Examples, Picture
from sketch_jax.data.verify import ChosenRows


def fingerprint(examples: Examples) -> str:
    """Hash of ids, labels, groups, numbers, class names and, of images in files, their sizes: 16 hex digits.

    Equal examples have equal fingerprints on every machine. File contents are not read: of an image that is
    replaced, only another size shows.
    """
    digest = hashlib.sha256()
    parts = (
        examples.class_names,
        examples.ids,
        map(str, examples.labels.tolist()),
        examples.groups or (),
        map(str, _file_sizes(examples.read, range(len(examples)))),
    )
    for part in parts if examples.numbers is None else (*parts, map(str, examples.numbers.tolist())):
        digest.update("".join(f"{len(text)}:{text}," for text in part).encode() + b";")
    return digest.hexdigest()[:16]


def content_fingerprint(examples: Examples) -> str:
    """Hash of ids and of the content of every image, as files, bytes or pixels: 32 hex digits."""
    digest = hashlib.sha256()
    for row, name in enumerate(examples.ids):
        picture = examples.read(row)
        content = picture.read_bytes() if isinstance(picture, Path) else picture
        content = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
        digest.update(f"{len(name)}:{name},{len(content)}:".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:32]


def _file_sizes(read: Callable[[int], Picture], rows: Iterable[int]) -> list[int]:
    """Size of each row's file; -1 where there is none, empty for readers of no files."""
    match read:
        case FileReader():
            return [read(row).stat().st_size if row >= 0 else -1 for row in rows]
        case ChosenRows():
            return _file_sizes(read.read, [int(read.rows[row]) if row >= 0 else -1 for row in rows])
        case _:
            return []
