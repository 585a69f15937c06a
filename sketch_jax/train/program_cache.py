"""Compiled programs that outlive their process: the second run of a setting compiles little."""

import hashlib
import os
import platform
from pathlib import Path

import filelock
import jax

from sketch_jax.files import cache_home
from sketch_jax.train.compile import processor_features

MOST_BYTES = 4 * 2**30
"""Programs that were not used for longest go first beyond this."""

PROGRAM, LAST_USE = "-cache", "-atime"
"""How JAX names the two files of an entry; the second is written when the first is whole."""

LOCK = ".lockfile"
"""JAX's, in the same directory."""

LOCK_SECONDS = 1.0


def cache_directory() -> Path:
    """Where compiled programs are kept, apart for each kind of processor.

    A home directory is often shared by machines of several kinds, and a program for the CPU of one may not
    run on another.

    Raises:
        RuntimeError: there is no home directory.
    """
    kind = " ".join([platform.machine(), *sorted(processor_features())])
    return cache_home() / f"programs-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"


def keep_compiled_programs() -> Path | None:
    """Lets JAX keep compiled programs from run to run, and on GPUs which algorithms were the fastest.

    Where JAX was told a directory (`JAX_COMPILATION_CACHE_DIR`), that one stands; an empty name turns the
    cache off. Nothing is kept where none can be written.

    Returns:
        The directory that was chosen here; None: there is none.

    References:
        https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    told = os.environ.get("JAX_COMPILATION_CACHE_DIR", jax.config.values["jax_compilation_cache_dir"])
    if told is not None:
        if told == "":  # JAX itself would keep a GPU's choices in the working directory
            jax.config.update("jax_compilation_cache_dir", None)
        return None
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        remove_halves(directory)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    if jax.config.values["jax_compilation_cache_max_size"] < 0:
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    return directory


def remove_halves(directory: Path) -> None:
    """Removes entries of which one file is missing, as a process that was killed or a full disk leaves them.

    JAX 0.10 would neither read nor replace them, and warn in each run (jax issue 39880).

    Raises:
        OSError: the directory cannot be written.
    """
    with open(directory / LOCK, "a"):
        pass
    try:
        with filelock.FileLock(directory / LOCK, timeout=LOCK_SECONDS):
            for end, other in ((PROGRAM, LAST_USE), (LAST_USE, PROGRAM)):
                for file in directory.glob(f"*{end}"):
                    if not file.with_name(file.name.removesuffix(end) + other).exists():
                        file.unlink()
    except filelock.Timeout:
        return  # another process is writing
