"""Compiled programs that outlive their process: the second run of a setting starts at once."""

import hashlib
import os
import platform
from pathlib import Path

import jax

from sketch_jax.train.compile import processor_features

MOST_BYTES = 4 * 2**30
"""Programs that were not used for longest go first beyond this."""


def cache_directory() -> Path:
    """Where compiled programs are kept, apart for each kind of processor.

    `$XDG_CACHE_HOME/sketch_jax`, or `~/.cache/sketch_jax`. A home directory is often shared by machines of
    several kinds, and a program for the CPU of one may not run on another.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = " ".join([platform.machine(), *sorted(processor_features())])
    return home / "sketch_jax" / f"programs-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"


def keep_compiled_programs() -> Path | None:
    """Lets JAX keep compiled programs from run to run, and on GPUs which algorithms were the fastest.

    That a GPU's choice is kept also lets a resumed run compute with the same algorithms, hence the same bits.
    Nothing changes where JAX was told a directory (`JAX_COMPILATION_CACHE_DIR`, which also turns it off when
    empty), or where none can be made.

    Returns:
        The directory; None: nothing was changed.

    References:
        https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    told = jax.config.values["jax_compilation_cache_dir"]
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or told is not None:
        return None
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # Path.home() has no answer
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    return directory
