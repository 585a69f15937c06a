"""The directory of a run: one process at a time, one configuration for good, and a card of what happened."""

import contextlib
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.files import PARTIAL_SUFFIX, make_directory, open_to_append, write_atomically
from sketch_jax.train.checkpoint_seal import is_sealed
from sketch_jax.train.differences import differences

CONFIG_NAME = "config.json"
CARD_NAME = "run.json"
SPLIT_NAME = "split.csv"
DUPLICATES_NAME = "duplicates.csv"
CHECKPOINTS_NAME = "checkpoints"
LOCK_NAME = ".lock"
Complete = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From JSON values that an earlier version wrote to those that this one would."""

OF_A_START = (
    *(CONFIG_NAME, CARD_NAME, SPLIT_NAME, DUPLICATES_NAME),
    *("metrics.jsonl", "events.out.tfevents.*"),
)
"""What a start writes before its first checkpoint."""


@contextlib.contextmanager
def open_run(
    directory: str | os.PathLike[str],
    config: Mapping[str, Any],
    *,
    free_fields: Sequence[str] = (),
    complete: Complete = dict,
) -> Iterator[bool]:
    """Holds the directory of a run, made if absent, for this process alone.

    Args:
        directory: of the run.
        config: its configuration as JSON values; written at the first start, compared at later ones
            once there is a checkpoint. What a start left that saved none is removed.
        free_fields: dotted paths of fields, or of groups of them, that may change from start to start without
            making it another run.
        complete: gives a stored configuration the fields that have come since.

    Yields:
        Whether there is a checkpoint to go on from.

    Raises:
        InputError: the directory cannot be written, another process holds it, or it was begun with another
            configuration.
    """
    place = make_directory(directory)
    refuse_other_config(place, config, free_fields, complete)
    abandoned = is_abandoned(place)  # before the lock is made, which tells a run's directory from others
    with open_to_append(place / LOCK_NAME) as lock:
        _lock(lock, place)
        for partial in place.glob(f".*{PARTIAL_SUFFIX}"):
            if partial.is_file():  # a directory is that of an export in progress
                partial.unlink()
        if abandoned and not has_checkpoint(place):
            _clear(place)
        if (place / CONFIG_NAME).exists():
            _refuse_differences(place, complete(read_config_json(place)), config, free_fields)
        text = _format(config)
        if not (place / CONFIG_NAME).exists() or (place / CONFIG_NAME).read_text() != text:
            write_atomically(place / CONFIG_NAME, text)
        yield has_checkpoint(place)


def has_checkpoint(directory: Path) -> bool:
    """Whether a run saved something that another configuration must not go on from."""
    places = (f"{CHECKPOINTS_NAME}/*", f"*/{CHECKPOINTS_NAME}/*")  # its own, and those of its folds
    return any(is_sealed(checkpoint) for place in places for checkpoint in directory.glob(place))


def is_abandoned(directory: Path) -> bool:
    """Whether what a directory holds is of starts of a run that ended before their first checkpoint."""
    started = (directory / CONFIG_NAME).exists() and (directory / LOCK_NAME).exists()
    return started and not has_checkpoint(directory)


def _clear(place: Path) -> None:
    for pattern in OF_A_START:
        for path in place.glob(pattern):
            path.unlink()


def _lock(lock: io.FileIO, place: Path) -> None:
    """The lock is the system's: it ends with the process, however that ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (place / LOCK_NAME).read_text().strip()
        raise InputError(
            f"{place}: process {holder} is writing this run; wait for it, stop it, "
            "or use another --name or --output-dir"
        ) from None
    except OSError as error:
        raise InputError(
            f"{place}: this file system locks no files ({error.strerror}), and two runs that write one "
            "directory would destroy each other's; choose an --output-dir on another file system"
        ) from None
    os.truncate(place / LOCK_NAME, 0)
    lock.write(f"{os.getpid()}\n".encode())


def read_config_json(directory: Path) -> dict[str, Any]:
    """The configuration that a run was begun with.

    Raises:
        InputError: the file is not JSON.
    """
    path = directory / CONFIG_NAME
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); remove the directory to start over") from error


def refuse_other_config(
    directory: Path,
    given: Mapping[str, Any],
    free_fields: Sequence[str],
    complete: Complete = dict,
) -> None:
    """Checks that a directory's configuration, if it has one that counts, is the one that is given.

    Raises:
        InputError: it is not; each field that differs is named.
    """
    if (directory / CONFIG_NAME).exists() and not is_abandoned(directory):
        _refuse_differences(directory, complete(read_config_json(directory)), given, free_fields)


def _refuse_differences(
    directory: Path, stored: Mapping[str, Any], given: Mapping[str, Any], free_fields: Sequence[str]
) -> None:
    free = tuple(f"{field}." for field in free_fields)
    refuse_faults(
        f"{directory}: this run was begun with another configuration; stored → given",
        [
            f"{path}: {change}"
            for path, change in differences(stored, given).items()
            if not f"{path}.".startswith(free)
        ],
        "give the stored values, use another --name or --output-dir, or remove the directory to start over",
    )


def write_run_card(directory: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
    """Replaces `run.json`; numbers that are not finite become null.

    Raises:
        InputError: the disk is full or not writable.
    """
    finite = json.loads(json.dumps(card), parse_constant=lambda _: None)
    write_atomically(Path(directory) / CARD_NAME, _format(finite))


def read_run_card(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What the last start of a run wrote down; empty at the first."""
    path = Path(directory) / CARD_NAME
    return json.loads(path.read_bytes()) if path.exists() else {}


def _format(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
