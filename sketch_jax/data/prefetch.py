"""The next batches made ready while a step runs, and the time that steps had to wait for them."""

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sketch_jax.data.pipeline import Batches
from sketch_jax.data.records import Batch

Staged = TypeVar("Staged")


@dataclasses.dataclass(frozen=True)
class _End:
    """Follows the last batch; `error` is StopIteration, or what went wrong."""

    error: BaseException


class Prefetcher(Generic[Staged], Iterator[Staged]):
    """Iterates over staged batches, which one thread makes ahead of the consumer; a context manager.

    Errors of the batches and of `stage` are raised where their batch would have come. Leaving the context
    ends the thread and whatever makes the batches.
    """

    def __init__(self, batches: Batches, stage: Callable[[Batch], Staged], *, depth: int):
        """Starts the thread.

        Args:
            batches: read and closed by the thread alone from here on.
            stage: applied to each batch in the thread, such as a copy to the devices.
            depth: staged batches kept ready beside the one in use, at least 1.
        """
        self._batches = batches
        self._stage = stage
        self._room = threading.Semaphore(depth)
        self._ready: queue.SimpleQueue[Staged | _End] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._end: _End | None = None
        self._waited_seconds = 0.0
        self._thread = threading.Thread(target=self._produce, name="prefetch", daemon=True)
        self._thread.start()

    @property
    def waited_seconds(self) -> float:
        """Time that the consumer has spent waiting for batches so far."""
        return self._waited_seconds

    def __next__(self) -> Staged:
        """The next staged batch."""
        if self._end is not None:
            raise self._end.error
        start = time.perf_counter()
        staged = self._ready.get()
        self._waited_seconds += time.perf_counter() - start
        if isinstance(staged, _End):
            self._end = staged
            raise staged.error
        self._room.release()
        return staged

    def close(self) -> None:
        """Ends the thread and closes the batches; what was ready is dropped."""
        self._end = self._end or _End(StopIteration())
        self._stopping.set()
        self._room.release()
        self._thread.join()
        self._ready = queue.SimpleQueue()

    def __enter__(self) -> "Prefetcher[Staged]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _produce(self) -> None:
        try:
            with contextlib.closing(self._batches):
                while self._room.acquire() and not self._stopping.is_set():
                    self._ready.put(self._stage(next(self._batches)))
        except BaseException as error:
            self._ready.put(_End(error))
