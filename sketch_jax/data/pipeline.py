"""Batches for training and evaluation: the same ones from memory, from threads and from worker processes."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.data.cache import ImageCache
from sketch_jax.data.loader import Loader
from sketch_jax.data.options import Loading, check_loading, usable_cores, worker_count
from sketch_jax.data.order import EvaluationOrder, Order, RowWeights, TrainingOrder, check_batch_size
from sketch_jax.data.records import Batch, Examples
from sketch_jax.data.workers import stream_batches
from sketch_jax.preprocessing import Preprocessing

Batches = Generator[Batch, None, None]
"""Closing it ends the threads and processes behind it; so does running to its end."""

DEFAULT_LOADING = Loading()


def training_batches(
    examples: Examples,
    rows: Int[np.ndarray, " rows"],
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    steps: int | None = None,
    start_step: int = 0,
    weights: Float[np.ndarray, " rows"] | None = None,
    loading: Loading = DEFAULT_LOADING,
    cache: ImageCache | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Batches of steps `start_step` to `steps - 1`; each is what any other run has at that step.

    Every epoch is `steps_per_epoch` full batches in an order of its own, weights or not; without weights it
    holds a row at most once. A batch depends on its step, the rows and their weights, the batch size and the
    seed; not on where the run started, nor on workers or cache. Hosts share the batches out in equal parts.

    Args:
        examples: the table.
        rows: rows to train on.
        preprocessing: the model's.
        batch_size: over all hosts.
        seed: of the order, at least 0.
        steps: step to stop before; None: never.
        start_step: first step, from 0.
        weights: how often each row is drawn, relative to the others; None: all equally often.
        loading: how to decode.
        cache: where the decoded images are; None: decode them again in each epoch.
        process_index: which host this is.
        process_count: number of hosts.

    Raises:
        InputError: the batch size fits neither rows nor hosts; later, images cannot be read.
        RuntimeError: later, a worker process died.
    """
    check_batch_size(batch_size, process_count, len(rows))
    order = TrainingOrder(
        rows=rows,
        weights=None if weights is None else RowWeights(values=weights),
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        steps=steps,
        process_index=process_index,
        process_count=process_count,
    )
    return _batches(examples, order, preprocessing, loading, cache)


def evaluation_batches(
    examples: Examples,
    rows: Int[np.ndarray, " rows"],
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    loading: Loading = DEFAULT_LOADING,
    cache: ImageCache | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Each row once, in order; what is missing from the last batch is masked out, and its rows are -1.

    Args:
        examples: the table.
        rows: rows to evaluate.
        preprocessing: the model's.
        batch_size: over all hosts.
        loading: how to decode.
        cache: where the decoded images are; None: decode them.
        process_index: which host this is.
        process_count: number of hosts.

    Raises:
        InputError: the batch size does not fit the hosts; later, images cannot be read.
        RuntimeError: later, a worker process died.
    """
    check_batch_size(batch_size, process_count)
    order = EvaluationOrder(
        rows=rows, batch_size=batch_size, process_index=process_index, process_count=process_count
    )
    return _batches(examples, order, preprocessing, loading, cache)


def _batches(
    examples: Examples,
    order: Order,
    preprocessing: Preprocessing,
    loading: Loading,
    cache: ImageCache | None,
) -> Batches:
    check_loading(loading)
    if cache is not None:
        return (cache.batch(examples, order[index]) for index in range(len(order)))
    loader = Loader(examples=examples, preprocessing=preprocessing, jpeg_scaling=loading.jpeg_scaling)
    workers = worker_count(loading, len(order) * order.batch_size // order.process_count)
    if workers:
        return stream_batches(loader, order, workers=workers, buffered=loading.prefetch_batches)
    return _decode_in_threads(loader, order)


def _decode_in_threads(loader: Loader, order: Order) -> Batches:
    with ThreadPoolExecutor(usable_cores()) as pool:
        for index in range(len(order)):
            yield loader.batch(order[index], pool.map)
