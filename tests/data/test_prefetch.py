"""Batches made ready by a thread: their order, their number, their errors and the time spent waiting."""

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from batch_cases import wait_until

from sketch_jax.data.prefetch import Prefetcher
from sketch_jax.data.records import Batch
from sketch_jax.errors import InputError


def numbered_batches(count: int | None, seconds: float = 0.0, log: list | None = None) -> Iterator[Batch]:
    log = [] if log is None else log
    try:
        for number in itertools.count() if count is None else range(count):
            time.sleep(seconds)
            log.append(number)
            rows = np.array([number], np.int32)
            yield Batch(images=np.zeros((1, 8, 8, 3), np.uint8), labels=rows, mask=rows >= 0, rows=rows)
    finally:
        log.append("closed")


def number_of(batch: Batch) -> int:
    return int(batch.rows[0])


def test_staged_batches_come_in_order_and_the_end_stays_the_end():
    log = []
    with Prefetcher(numbered_batches(5, log=log), number_of, depth=2) as staged:
        assert list(staged) == [0, 1, 2, 3, 4]
        assert next(staged, "end") == "end"
    assert log == [0, 1, 2, 3, 4, "closed"]


@pytest.mark.parametrize("depth", [1, 3])
def test_as_many_batches_are_kept_ready_as_asked_for_and_no_more(depth):
    log = []
    with Prefetcher(numbered_batches(None, log=log), number_of, depth=depth) as staged:
        for taken in range(4):
            assert wait_until(lambda ready=taken + depth: len(log) == ready, 5)
            time.sleep(0.02)
            assert len(log) == taken + depth
            assert next(staged) == taken


def test_time_spent_waiting_is_measured_and_time_spent_computing_is_not():
    log = []
    with Prefetcher(numbered_batches(6, seconds=0.3, log=log), number_of, depth=2) as staged:
        assert staged.waited_seconds == 0
        start = time.perf_counter()
        assert next(staged) == 0
        first = staged.waited_seconds
        assert 0.2 < first <= time.perf_counter() - start
        assert wait_until(lambda: len(log) == 3, 10)
        assert (next(staged), next(staged)) == (1, 2)
        assert staged.waited_seconds - first < 0.15
        assert list(staged) == [3, 4, 5]
        assert staged.waited_seconds - first > 0.2


def test_errors_of_batches_and_of_staging_come_where_their_batch_would_have_come():
    def failing_batches():
        yield from numbered_batches(2)
        raise InputError("2.png: cannot be read")

    def refuse_one(batch: Batch) -> int:
        if number_of(batch) == 1:
            raise ValueError("no room on the device")
        return number_of(batch)

    with Prefetcher(failing_batches(), number_of, depth=4) as staged:
        assert [next(staged), next(staged)] == [0, 1]
        for _ in range(2):
            with pytest.raises(InputError, match=r"2\.png: cannot be read"):
                next(staged)
    with Prefetcher(numbered_batches(3), refuse_one, depth=4) as staged:
        assert next(staged) == 0
        with pytest.raises(ValueError, match="no room on the device"):
            next(staged)


def test_leaving_early_closes_the_batches_and_ends_the_thread():
    log = []
    with Prefetcher(numbered_batches(None, log=log), number_of, depth=3) as staged:
        next(staged)
    assert log[-1] == "closed"
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    assert next(staged, "end") == "end"
    staged.close()
