"""The file `checkpoint.json`, written last into a checkpoint: its content, and the proof that it is whole."""

import dataclasses
import json
import math
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sketch_jax.files import write_atomically

SEAL_NAME = "checkpoint.json"
READ_BYTES = 16 * 1024 * 1024


class DamagedError(Exception):
    """A checkpoint is not as it was written; the text says in what."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seal:
    """All that stands beside the arrays of a checkpoint."""

    step: int
    metric: float | None
    """By which the best checkpoint is chosen; None where it was not measured."""
    extra: Mapping[str, Any]
    """What else a run needs to go on, such as the position in the data."""
    record: Mapping[str, Any]
    """What is needed to use the arrays without the run: model, class names, preprocessing."""
    packed: Mapping[str, str]
    """Type and shape of the leaves that are packed into one array, in their order."""
    arrays: Mapping[str, str]
    """Type and shape of the leaves that stand for themselves."""
    files: Mapping[str, str]
    """Size and checksum of each file of the checkpoint, by its path."""


def write_seal(directory: Path, seal: Seal) -> None:
    """Declares a checkpoint whole.

    Raises:
        InputError: the disk is full or not writable.
    """
    content = dataclasses.asdict(seal)
    text = json.dumps({"checksum": _checksum_of_content(content), **content}, indent=1, allow_nan=False)
    write_atomically(directory / SEAL_NAME, text + "\n")


def read_seal(directory: Path) -> Seal:
    """What a checkpoint says of itself.

    Raises:
        DamagedError: it is not the text that was written.
    """
    try:
        content = json.loads((directory / SEAL_NAME).read_bytes())
        checksum = content.pop("checksum")
        seal = Seal(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{SEAL_NAME} is unreadable") from error
    if checksum != _checksum_of_content(content):
        raise DamagedError(f"{SEAL_NAME} was changed")
    return seal


def is_sealed(directory: Path) -> bool:
    """Whether the writing of a checkpoint came to its end."""
    return (directory / SEAL_NAME).is_file()


def fingerprint_files(directory: Path) -> dict[str, str]:
    """Size and checksum of each file below a directory, by its relative path, the seal excepted."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != SEAL_NAME)
    return {path.relative_to(directory).as_posix(): _fingerprint(path) for path in files}


def check_files(directory: Path, seal: Seal) -> None:
    """Reads a checkpoint's files through.

    Raises:
        DamagedError: one is missing, of another size or of other content than when it was written.
    """
    for name, expected in seal.files.items():
        path = directory / name
        try:
            found = _fingerprint(path)
        except OSError as error:
            raise DamagedError(f"{name} is unreadable ({error.strerror})") from error
        if found != expected:
            raise DamagedError(f"{name} is {found} where {expected} was written")


def discard(directory: Path) -> None:
    """Deletes a checkpoint; killed half-way, it counts as unfinished."""
    (directory / SEAL_NAME).unlink(missing_ok=True)
    shutil.rmtree(directory)


def json_copy(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy as JSON reads it back, which later changes of the value do not reach.

    >>> json_copy({"position": (1, 2)})
    {'position': [1, 2]}

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return json.loads(json.dumps(dict(value or {}), allow_nan=False))


def finite_or_none(metric: float | None) -> float | None:
    """A metric that can be compared, or None.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(metric) if metric is not None and math.isfinite(metric) else None


def _checksum_of_content(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _fingerprint(path: Path) -> str:
    size, checksum = 0, 0
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return f"{size} bytes, crc32 {checksum:08x}"
