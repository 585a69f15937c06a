"""Decoded images kept in memory: augmentation runs on the device, so they are the same in every epoch."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from sketch_jax.data.loader import Loader, empty_images, image_bytes, label_batch, refuse_unreadable
from sketch_jax.data.options import Loading, check_loading, usable_cores, worker_count
from sketch_jax.data.order import PADDING, EvaluationOrder
from sketch_jax.data.records import Batch, Examples
from sketch_jax.data.workers import stream_batches
from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing

Progress = Callable[[int, int], None]
"""Called with the number of images that are done and their total."""

CHUNK = 32
"""Images of one task: enough to hide its cost, few enough for the cores to end together."""
GIGABYTE = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageCache:
    """Images of some rows of a table, decoded and resized."""

    images: UInt8[np.ndarray, "cached height width 3"]
    places: Int[np.ndarray, " rows"]
    """Index in `images` of each row of the table; -1 where it is not kept."""

    def batch(self, examples: Examples, rows: Int[np.ndarray, " batch"]) -> Batch:
        """The batch of some rows; padding is black.

        Raises:
            ValueError: a row is not kept.
        """
        filled = rows != PADDING
        places = np.where(filled, self.places[rows], 0)
        if (places < 0).any():
            raise ValueError(
                f"rows {rows[places < 0].tolist()} are not in the cache of {len(self.images)} images"
            )
        images = self.images[places]
        images[~filled] = 0
        return label_batch(examples, rows, images)


def fill_cache(
    examples: Examples,
    rows: Int[np.ndarray, " rows"],
    preprocessing: Preprocessing,
    *,
    loading: Loading,
    progress: Progress = lambda done, total: None,
) -> ImageCache | None:
    """Decodes rows into memory where `loading` says so; None where each epoch is to decode them again.

    Args:
        examples: the table.
        rows: distinct rows that batches will be asked for.
        preprocessing: the model's.
        loading: the policy.
        progress: told after every 32 images.

    Raises:
        InputError: images cannot be read, or `memory` is asked for and does not suffice.
    """
    check_loading(loading)
    if not keeps_images(image_bytes(len(rows), preprocessing), available_bytes(), loading):
        return None
    loader = Loader(examples=examples, preprocessing=preprocessing, jpeg_scaling=loading.jpeg_scaling)
    fill = _fill_by_processes if loading.workers else _fill_by_threads
    images = fill(loader, rows, loading, progress)
    places = np.full(len(examples), PADDING)
    places[rows] = np.arange(len(rows))
    return ImageCache(images=images, places=places)


def keeps_images(needed: int, available: int, loading: Loading) -> bool:
    """Whether images are kept in memory.

    Args:
        needed: bytes of all images.
        available: bytes of memory that are free.
        loading: the policy.

    Raises:
        InputError: `memory` is asked for and does not suffice.
    """
    if loading.cache == "memory" and needed > available:
        raise InputError(
            f"--loading.cache memory needs {needed / GIGABYTE:.1f} GB, but {available / GIGABYTE:.1f} GB are "
            "available; use auto or none, or a smaller image size"
        )
    limit = loading.cache_limit_gigabytes
    allowed = available / 2 if limit is None else min(limit * GIGABYTE, available)
    return loading.cache == "memory" or (loading.cache == "auto" and needed <= allowed)


def available_bytes() -> int:
    """Memory that can still be taken without swapping, limits of containers and batch systems included."""
    groups = Path("/sys/fs/cgroup")
    membership = Path("/proc/self/cgroup")
    own = membership.read_text().rpartition("0::/")[2].strip() if membership.exists() else ""
    inside = [folder for folder in (groups / own, *(groups / own).parents) if folder.is_relative_to(groups)]
    limits = [left for left in map(group_bytes, inside) if left is not None]
    return max(0, min([_machine_bytes(), *limits]))


def _machine_bytes() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def group_bytes(group: Path) -> int | None:
    """Memory left in a Linux control group (version 2), file caches counted as free; None without a limit."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return limit - used + int(fields["inactive_file"])


def _fill_by_threads(
    loader: Loader, rows: Int[np.ndarray, " rows"], loading: Loading, progress: Progress
) -> UInt8[np.ndarray, "cached height width 3"]:
    """Pillow lets go of the interpreter while it decodes, so that threads use all cores."""
    images = empty_images(len(rows), loader.preprocessing)

    def fill(start: int) -> list[str]:
        places = range(start, min(start + CHUNK, len(rows)))
        decoded = [loader.decode(int(rows[place])) for place in places]
        for place, pixels in zip(places, decoded, strict=True):
            images[place] = 0 if isinstance(pixels, str) else pixels
        return [fault for fault in decoded if isinstance(fault, str)]

    faults: list[str] = []
    starts = range(0, len(rows), CHUNK)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start, found in zip(starts, pool.map(fill, starts), strict=True):
            faults += found
            progress(min(start + CHUNK, len(rows)), len(rows))
    refuse_unreadable(faults)
    return images


def _fill_by_processes(
    loader: Loader, rows: Int[np.ndarray, " rows"], loading: Loading, progress: Progress
) -> UInt8[np.ndarray, "cached height width 3"]:
    images = empty_images(len(rows), loader.preprocessing)
    order = EvaluationOrder(rows=rows, batch_size=CHUNK, process_index=0, process_count=1)
    done = 0
    workers = worker_count(loading, len(rows))
    for batch in stream_batches(loader, order, workers=workers, buffered=loading.prefetch_batches):
        count = int(batch.mask.sum())
        images[done : done + count] = batch.images[:count]
        done += count
        progress(done, len(rows))
    return images
