"""Batches decoded ahead of time by worker processes (grain), which never touch an accelerator."""

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sketch_jax.data.loader import Loader, image_bytes
from sketch_jax.data.order import PADDING, Order
from sketch_jax.data.records import Batch
from sketch_jax.errors import InputError

SMALLEST_SHARED_BYTES = 4096
"""Smaller arrays are cheaper to send through a pipe than in shared memory."""
_CAUSES = {
    "SIGKILL": "killed, most often because the machine ran out of memory; lower --loading.workers",
    "SIGBUS": "most often because shared memory (/dev/shm) is full; enlarge it, or set --loading.workers 0",
}


def stream_batches(
    loader: Loader, order: Order, *, workers: int, buffered: int
) -> Generator[Batch, None, None]:
    """Decodes batches in worker processes and yields them in order; close it to end the processes.

    Args:
        loader: decodes the rows of a batch.
        order: rows of each batch.
        workers: number of processes, at least 1.
        buffered: batches that each process keeps ready.

    Raises:
        InputError: images of a batch cannot be read.
        RuntimeError: a process died; names the first batch that did not arrive.
    """
    size = image_bytes(order.batch_size // order.process_count, loader.preprocessing)
    _require_shared_memory(workers * (2 * buffered + 2) * size)
    with contextlib.closing(_start(loader, order, workers, buffered)) as batches:
        for index in range(len(order)):
            yield _take(batches, loader, order[index])


def _take(batches: Iterator[Batch], loader: Loader, rows: Int[np.ndarray, " batch"]) -> Batch:
    """The next batch, copied out of shared memory, which is then free again."""
    try:
        return Batch(*map(np.array, next(batches)))
    except RuntimeError as error:
        raise _explain(error, loader, rows) from error


def _start(loader: Loader, order: Order, workers: int, buffered: int):
    # Importing grain takes seconds (it imports jax), so only runs that want processes pay for it.
    from absl import flags
    from grain import MapDataset, MultiprocessingOptions, ReadOptions
    from grain.experimental import DatasetOptions, WithOptionsIterDataset

    # Grain's options are absl flags, which refuse to be read until they are parsed.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    decoded = MapDataset.source(order).map(loader)
    batches = decoded.to_iter_dataset(ReadOptions(num_threads=0, prefetch_buffer_size=0))
    batches = WithOptionsIterDataset(batches, DatasetOptions(min_shm_size=SMALLEST_SHARED_BYTES))
    options = MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=buffered)
    return iter(batches.mp_prefetch(options, worker_init_fn=prepare_worker))


def prepare_worker(index: int, count: int) -> None:
    """Runs first in each worker: no accelerator, deaf to signals of the group, ending with the parent."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group; the parent saves, then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        _remove_shared_blocks()
        os._exit(1)


def _remove_shared_blocks() -> None:
    """Removes the shared memory that this process has open: Python's tracker misses a block now and then."""
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith("/dev/shm/psm_"):
                os.unlink(target)


def _explain(error: RuntimeError, loader: Loader, rows: Int[np.ndarray, " batch"]) -> RuntimeError:
    """The error of a process that died, with its likely cause and place; other errors as they are."""
    exit_code = re.search(r"exit code (-?\d+)", str(error))
    if exit_code is None:
        return error
    code = int(exit_code[1])
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    ids = [loader.examples.ids[row] for row in rows[rows != PADDING]]
    cause = _CAUSES.get(name, "set --loading.workers 0 to see what fails")
    place = f" from {ids[0]!r} to {ids[-1]!r}" if ids else ""
    return RuntimeError(
        f"a worker process that decodes images ended unexpectedly ({name}: {cause}); "
        f"the first batch that did not arrive is that of {len(ids)} images{place}"
    )


def _require_shared_memory(needed: int) -> None:
    """Refuses to start where batches would not fit into shared memory: workers would die without a word."""
    folder = Path("/dev/shm")
    free = shutil.disk_usage(folder).free if folder.is_dir() else needed
    if free < needed:
        raise InputError(
            f"{folder}: worker processes need {needed / 1e6:.0f} MB of shared memory, "
            f"but {free / 1e6:.0f} MB are free; enlarge it (docker run --shm-size), lower --loading.workers "
            "or --loading.prefetch-batches, or decode in threads with --loading.workers 0"
        )
