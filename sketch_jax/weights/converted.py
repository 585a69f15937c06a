"""Large weights, converted once: a copy with our layouts is kept, from which nothing has to be transposed."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

from sketch_jax.errors import InputError
from sketch_jax.files import cache_home, refuse_lack_of_space
from sketch_jax.weights.export import write_flax_directory
from sketch_jax.weights.names import COUNTER, to_flax
from sketch_jax.weights.sources import OUR_WEIGHTS_FILE, Weights, open_weights
from sketch_jax.weights.tensors import StoredTensors, read_stored

SMALLEST_BYTES = 10**9
"""Weights that take less as float32 are converted each time: that takes less than a second or two."""


def open_converted(source: str, smallest_bytes: int = SMALLEST_BYTES) -> Weights:
    """Opens pretrained weights like `open_weights`; large ones from a converted copy, made at the first time.

    The copy lies below `cache_home()` under the fingerprint of the weights, so that of other weights is never
    taken. Where none can be written, the weights are converted each time.

    Args:
        source: as for `open_weights`.
        smallest_bytes: of which copies are made, all tensors as float32.

    Raises:
        InputError: as for `open_weights`.
    """
    weights = open_weights(source)
    if not isinstance(weights.tensors, StoredTensors) or weights.tensors.are_ours:
        return weights
    needed = weights.tensors.float32_bytes
    if needed < smallest_bytes:
        return weights
    with contextlib.suppress(InputError, OSError, RuntimeError):  # RuntimeError: there is no home directory
        copy = cache_home() / "weights" / weights.fingerprint
        if not (tensors := _read(copy)):
            _convert(weights, copy, needed)
            tensors = _read(copy)
        if tensors.keys() == {name for name in weights.tensors if not name.endswith(COUNTER)}:
            return dataclasses.replace(weights, tensors=tensors)
    return weights


def _read(copy: Path) -> StoredTensors:
    """The tensors of a copy; none where there is no whole one."""
    try:
        return StoredTensors(read_stored(copy / OUR_WEIGHTS_FILE))
    except InputError:
        return StoredTensors({})


def _convert(weights: Weights, copy: Path, needed: int) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    refuse_lack_of_space(copy.parent, 2 * needed)
    write_flax_directory(copy, *to_flax(weights.tensors), weights.config)
