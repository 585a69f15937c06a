"""Writing files so that a reader finds the old text or the new one, never half of it."""

import contextlib
import errno
import io
import os
import shutil
from pathlib import Path

from sketch_jax.errors import InputError

PARTIAL_SUFFIX = ".partial"
SPARE_BYTES = 1024 * 1024

REMEDIES = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EDQUOT: "your quota is used up: delete something or write to another disk",
    errno.EFBIG: "a limit on file size (`ulimit -f`) is in force: raise it",
    errno.EROFS: "the disk is mounted read-only: write to another one",
    errno.EACCES: "you may not write there: write elsewhere or change the permissions",
    errno.EPERM: "you may not write there: write elsewhere or change the permissions",
    errno.EEXIST: "a file stands where a directory is needed: move it away or write elsewhere",
    errno.ENOTDIR: "a file stands where a directory is needed: move it away or write elsewhere",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def cache_home() -> Path:
    """Where what can be made again is kept: `$XDG_CACHE_HOME/sketch_jax`, or `~/.cache/sketch_jax`.

    Raises:
        RuntimeError: there is no home directory.
    """
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".cache") / "sketch_jax"


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file whole or not at all; it is on the disk when this returns.

    A process killed half-way leaves at most a hidden file ending in `.partial` beside the target.

    Args:
        path: the file; one that exists is replaced. Its directory must exist.
        data: the content; text is encoded as UTF-8.

    Raises:
        InputError: when the disk is full, read-only or not writable.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with open(partial, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        sync_directory(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise unwritable(target, error) from error


def open_to_append(path: str | os.PathLike[str]) -> io.FileIO:
    """Opens a file, made if absent, without a buffer, so that what is written survives a kill.

    Raises:
        InputError: it cannot be written.
    """
    try:
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error


def append(file: io.FileIO, data: bytes) -> None:
    """Adds to the end of a file from `open_to_append`.

    Raises:
        InputError: the disk is full; the end of the file may hold a part of the data.
    """
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise unwritable(str(file.name), error) from error


def make_directory(path: str | os.PathLike[str]) -> Path:
    """Makes a directory and its parents; one that is there already is fine.

    Raises:
        InputError: when it cannot be made, or a file stands there.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return Path(path)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Makes renames and deletions inside a directory last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """What the user is told when writing `path` failed: the place, the reason, the free bytes, the remedy."""
    reason = error.strerror or str(error)
    free = free_bytes(path)
    space = "" if free is None else f" ({free:,} bytes free there)"
    remedy = REMEDIES.get(error.errno or 0, "write to another directory")
    return InputError(f"{path}: cannot be written: {reason}{space}; {remedy}")


def refuse_lack_of_space(directory: str | os.PathLike[str], needed_bytes: int) -> None:
    """Checks before a large write that it fits, with room for what describes it.

    Raises:
        InputError: the disk has less space than that.
    """
    needed, free = needed_bytes + needed_bytes // 64 + SPARE_BYTES, free_bytes(directory)
    if free is not None and free < needed:
        raise InputError(
            f"{directory}: cannot be written: {needed:,} bytes are needed, but only {free:,} bytes "
            f"are free there; {REMEDIES[errno.ENOSPC]}"
        )


def free_bytes(path: str | os.PathLike[str]) -> int | None:
    """Bytes that may still be written on the disk of a path, existing or not; None when nobody can say."""
    existing = next((place for place in (Path(path), *Path(path).parents) if place.exists()), None)
    try:
        return shutil.disk_usage(existing).free if existing else None
    except OSError:
        return None
