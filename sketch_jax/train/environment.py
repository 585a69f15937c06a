"""On what a run ran: versions, devices, source, machine, memory."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("sketch_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "augmax", "numpy")
GIT_SECONDS = 10


def environment_facts() -> dict[str, Any]:
    """What the run card says of the environment, as JSON values."""
    return {
        "versions": {"python": platform.python_version()}
        | {name: package_version(name) for name in PACKAGES},
        "devices": device_facts(),
        "git_commit": git_commit(Path(__file__).parent),
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
    }


def package_version(name: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_facts() -> dict[str, Any]:
    """The devices of the run, over all its processes."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kinds": sorted({device.device_kind for device in devices}),
        "count": len(devices),
        "processes": jax.process_count(),
    }


def git_commit(directory: Path) -> str | None:
    """Commit of the source in a directory, followed by `-dirty` where it was changed since.

    None where the directory holds no file that git tracks (an installed package), or there is no git.
    """
    if not _git(directory, "ls-files", "."):
        return None
    return _git(directory, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def peak_memory_bytes() -> int:
    """Most memory in use so far: on the fullest device; on the CPU, by this process."""
    statistics = [device.memory_stats() for device in jax.local_devices()]
    peaks = [found["peak_bytes_in_use"] for found in statistics if found and "peak_bytes_in_use" in found]
    unit = 1 if sys.platform == "darwin" else 1024
    return max(peaks) if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
