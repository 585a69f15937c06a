"""How images reach the training loop: what a user can set about decoding, caching and prefetching."""

import dataclasses
import os
from typing import Literal

from sketch_jax.data.decode import JpegScaling
from sketch_jax.errors import InputError, refuse_faults

FEW_IMAGES = 20_000
"""Below this many decodings, threads are done before processes have started and imported what they need."""
MOST_WORKERS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
    """Decoding, caching and prefetching of images on the host. Only `jpeg_scaling` changes pixels."""

    workers: int | None = None
    """Processes that decode, at least 0; 0 decodes in threads, one a core. None: threads to fill the cache or
    for fewer than 20,000 decodings, else one process a core, at most 16."""
    cache: Literal["auto", "memory", "none"] = "auto"
    """Whether decoded images stay in memory: `memory` always, `none` never (each epoch decodes again), `auto`
    where they fit the limit."""
    cache_limit_gigabytes: float | None = None
    """Most memory that `auto` takes, in gigabytes of 10^9 bytes; None: half of what is available."""
    prefetch_batches: int = 2
    """Batches kept ready ahead of the step, at least 1; each worker process keeps as many again."""
    jpeg_scaling: JpegScaling = "exact"
    """`exact` decodes JPEGs fully, as timm does; `fast` decodes large ones at 1/2, 1/4 or 1/8 of the size."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Images that differ by a flip, a quarter turn, their size, a shift of a pixel or JPEG losses are found.

    They and the groups that they are of stay on one side of the split; `duplicates.csv` lists them.
    Set for drawings of 64 pixels and more; among smaller ones more are found that only resemble one another.
    """

    similarity: float = 0.76
    """Least correlation of the thumbnails of two images, above 0 to 1, where 1 is the same; below
    0.75 drawings of few strokes are found that only resemble one another."""

    def __post_init__(self):
        """Refuses what is no correlation of near-duplicates."""
        if not 0.0 < self.similarity <= 1.0:
            raise InputError(
                f"--duplicates.similarity {self.similarity:g}: must be above 0 and at most 1; 0.76 is usual"
            )


def check_loading(loading: Loading) -> None:
    """Refuses fields out of range.

    Raises:
        InputError: lists all of them.
    """
    limit = loading.cache_limit_gigabytes
    ranges = (
        (
            loading.workers is not None and loading.workers < 0,
            f"workers is {loading.workers}, not at least 0",
        ),
        (limit is not None and limit <= 0, f"cache_limit_gigabytes is {limit}, not above 0"),
        (loading.prefetch_batches < 1, f"prefetch_batches is {loading.prefetch_batches}, not at least 1"),
    )
    faults = [fault for broken, fault in ranges if broken]
    refuse_faults("loading: fields out of range", faults, "change these --loading fields")


def worker_count(loading: Loading, decodings: int) -> int:
    """Worker processes for so many decodings; 0 means threads of this process."""
    if loading.workers is not None:
        return loading.workers
    return 0 if decodings < FEW_IMAGES else min(usable_cores(), MOST_WORKERS)


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
