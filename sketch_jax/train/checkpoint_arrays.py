"""The arrays of one checkpoint, written and read through orbax."""

import contextlib
import logging
import math
import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.train.checkpoint_seal import DamagedError, Seal, check_files, read_seal
from sketch_jax.train.differences import differences
from sketch_jax.train.host_memory import return_freed_memory
from sketch_jax.train.packing import pack, parse_description, unpack

PACKED_NAME = "packed"
PART_BYTES = 2**24
"""Of leaves that are read at a time, where that is not one leaf alone."""


def create_checkpointer() -> Any:
    """An asynchronous orbax checkpointer; importing orbax takes a second.

    Trained floats hardly compress, so the arrays are stored as they are.
    """
    import orbax.checkpoint as ocp

    silence_orbax()
    return ocp.AsyncCheckpointer(
        ocp.PyTreeCheckpointHandler(use_compression=False),
        # A directory that cannot be made then fails in `save`, before coroutines exist that nobody awaits.
        async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    )


def silence_orbax() -> None:
    """Keeps orbax's own log off the terminal: what a user must know is said in this project's words."""
    for name in ("absl", "asyncio"):
        log = logging.getLogger(name)
        if _is_not_from_orbax not in log.filters:
            log.addFilter(_is_not_from_orbax)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    files = [record.pathname]
    if record.exc_info:
        files += [frame.f_code.co_filename for frame, _ in traceback.walk_tb(record.exc_info[2])]
    return not any("/orbax/" in Path(file).as_posix() for file in files)


def disk_error(error: Exception) -> OSError | None:
    """The failure of the disk behind an error of orbax; None where there is none.

    >>> disk_error(ValueError("Failed to write 9 bytes: No space left on device [os_error_code='28']"))
    OSError(28, 'No space left on device')
    """
    if isinstance(error, OSError):
        return error
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None


def start_writing(
    checkpointer: Any, directory: Path, small: Mapping[str, jax.Array], large: Mapping[str, jax.Array]
) -> None:
    """Copies arrays to the host and begins to write them; afterwards their buffers may be given up.

    Args:
        checkpointer: from `create_checkpointer`.
        directory: of the checkpoint.
        small: leaves that are packed together.
        large: leaves that stand for themselves.
    """
    import orbax.checkpoint as ocp

    with jax.transfer_guard("allow"):
        tree = dict(large) | ({PACKED_NAME: pack(small.values())} if small else {})
        checkpointer.save(directory.absolute(), args=ocp.args.PyTreeSave(tree), force=True)


def read_arrays(checkpointer: Any, directory: Path, seal: Seal, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Reads some of a checkpoint's leaves.

    Args:
        checkpointer: from `create_checkpointer`.
        directory: of the checkpoint.
        seal: of the checkpoint.
        wanted: by path the sharding to place a leaf by; None: a numpy array.
    """
    import orbax.checkpoint as ocp

    large = {path: text for path, text in seal.arrays.items() if path in wanted}
    arguments = {path: _restore_argument(text, wanted[path]) for path, text in large.items()}
    small = {path: parse_description(text) for path, text in seal.packed.items()}
    if wanted.keys() & small.keys():
        arguments[PACKED_NAME] = ocp.RestoreArgs(restore_type=np.ndarray)
    request = ocp.args.PyTreeRestore(
        item=dict.fromkeys(arguments, 0), restore_args=arguments, partial_restore=True
    )
    found = checkpointer.restore(directory.absolute(), args=request)
    if PACKED_NAME in found:
        unpacked = unpack(found.pop(PACKED_NAME), small)
        found |= _place({path: array for path, array in unpacked.items() if path in wanted}, wanted)
    return found


def _restore_argument(description: str, sharding: Any) -> Any:
    import orbax.checkpoint as ocp

    if sharding is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    leaf = parse_description(description)
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=leaf.shape, dtype=leaf.dtype)


def _place(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, Any]:
    on_device = [path for path in arrays if wanted[path] is not None]
    placed = jax.device_put([arrays[path] for path in on_device], [wanted[path] for path in on_device])
    return dict(arrays) | dict(zip(on_device, placed, strict=True))


def read_leaves(directory: str | os.PathLike[str], prefixes: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of one checkpoint by their paths, read without knowing the state they were part of.

    Args:
        directory: of the checkpoint, `checkpoints/<step>`.
        prefixes: starts of the paths to read, such as `["trainable/", "statistics/"]`.

    Raises:
        InputError: the checkpoint is unfinished or damaged.
    """
    path = Path(directory)
    try:
        seal = read_seal(path)
        found = [name for name in (*seal.packed, *seal.arrays) if name.startswith(tuple(prefixes))]
        return_freed_memory()  # of what was read before, too
        return _read_while_checked(path, seal, dict.fromkeys(found))
    except DamagedError as damage:
        raise InputError(
            f"{path}: this checkpoint is damaged or unfinished: {damage}; use another"
        ) from damage


def _read_while_checked(path: Path, seal: Seal, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads arrays, some at a time, while the files are checked, so that they come from the disk once.

    Raises:
        DamagedError: the files are not as they were written.
    """
    leaves: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(1) as pool, contextlib.closing(create_checkpointer()) as checkpointer:
        checked = pool.submit(check_files, path, seal)
        try:
            for names in parts_of(seal, wanted):
                leaves |= read_arrays(checkpointer, path, seal, {name: wanted[name] for name in names})
                return_freed_memory()
        except Exception:
            checked.result()  # what is damaged is why it cannot be read
            raise
        checked.result()
    return leaves


def parts_of(seal: Seal, names: Iterable[str]) -> list[list[str]]:
    """Names of leaves to read at a time: orbax holds as many bytes again in buffers as it reads at once.

    Args:
        seal: of the checkpoint.
        names: of leaves; those that are packed together are in the first part.
    """
    parts, room = [[name for name in names if name in seal.packed]], PART_BYTES
    for name in names:
        if name in seal.arrays:
            leaf = parse_description(seal.arrays[name])
            size = math.prod(leaf.shape) * leaf.dtype.itemsize
            if size > room:
                parts.append([])
                room = PART_BYTES
            parts[-1].append(name)
            room -= size
    return [part for part in parts if part]


def refuse_other_leaves(place: Path, stored: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Checks that a checkpoint holds exactly the leaves of a state.

    Args:
        place: directory of the checkpoint.
        stored: type and shape of each leaf on disk, by its path.
        wanted: the same of the state.

    Raises:
        InputError: they differ; every leaf that does is named.
    """
    changes = differences(dict(stored), dict(wanted))
    refuse_faults(
        f"{place}: this checkpoint is of another model or optimizer; stored → expected",
        [f"{path}: {change}" for path, change in changes.items()],
        "give the configuration that it was made with, or write to another directory",
    )
