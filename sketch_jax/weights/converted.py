"""Large weights, converted once: a copy with our layouts is kept, from which nothing has to be transposed."""

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

import filelock

from sketch_jax.errors import InputError
from sketch_jax.files import PARTIAL_SUFFIX, cache_home, refuse_lack_of_space
from sketch_jax.weights.export import write_flax_directory
from sketch_jax.weights.names import COUNTER, to_flax
from sketch_jax.weights.sources import OUR_WEIGHTS_FILE, Weights, open_weights
from sketch_jax.weights.tensors import StoredTensors, read_stored

SMALLEST_BYTES = 10**9
"""Weights that take less as float32 are converted each time they are read."""

MOST_BYTES = 24 * 10**9
"""Of all copies together; those that were not used for longest go first."""

LAYOUT = 1
"""Changes with the rules of `weights.names`: copies of other layouts are not looked at."""

LOCK_SECONDS = 600.0
"""How long one waits for another process that converts."""


def open_converted(source: str) -> Weights:
    """Opens pretrained weights like `open_weights`; large ones from a converted copy, made at the first time.

    The copies lie in `cache_home() / "weights"`, each under the fingerprint of the weights that it was made
    of. Where none can be written, the weights are converted each time.

    Args:
        source: as for `open_weights`.

    Raises:
        InputError: as for `open_weights`.
    """
    weights = open_weights(source)
    if not isinstance(weights.tensors, StoredTensors) or weights.tensors.are_ours:
        return weights
    if weights.tensors.float32_bytes < SMALLEST_BYTES:
        return weights
    with contextlib.suppress(InputError, OSError, RuntimeError):  # RuntimeError: there is no home directory
        folder = cache_home() / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            copy = folder / f"{weights.fingerprint}-{LAYOUT}"
            if not _holds(copy, weights.tensors):
                _convert(weights, weights.tensors, copy)
            os.utime(copy)
            return dataclasses.replace(weights, tensors=_read(copy))
    return weights


def _read(copy: Path) -> StoredTensors:
    return StoredTensors(read_stored(copy / OUR_WEIGHTS_FILE))


def _holds(copy: Path, tensors: StoredTensors) -> bool:
    """Whether a copy is whole, and has the names and shapes of the weights."""
    with contextlib.suppress(InputError):
        return _read(copy).shapes() == {
            name: shape for name, shape in tensors.shapes().items() if not name.endswith(COUNTER)
        }
    return False


def _convert(weights: Weights, tensors: StoredTensors, copy: Path) -> None:
    """Writes a copy, and removes what killed processes left, and old copies beyond the limit.

    Raises:
        InputError: there is no room, or names that do not lead back.
    """
    folder = copy.parent
    for left in (copy, *folder.glob(f".*{PARTIAL_SUFFIX}")):
        shutil.rmtree(left, ignore_errors=True)
    _make_room(folder, tensors.float32_bytes)
    refuse_lack_of_space(folder, 2 * tensors.float32_bytes)
    write_flax_directory(copy, *to_flax(tensors), weights.config)
    if not _holds(copy, tensors):
        shutil.rmtree(copy)
        raise InputError(f"{weights.origin}: has names that cannot be kept")


def _make_room(folder: Path, needed: int) -> None:
    """Removes the copies that were not used for longest, until a further one keeps within the limit."""
    copies = sorted(filter(Path.is_dir, folder.iterdir()), key=lambda copy: copy.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in copy.iterdir()) for copy in copies]
    for index, copy in enumerate(copies):
        if sum(sizes[index:]) + needed > MOST_BYTES:
            shutil.rmtree(copy)
