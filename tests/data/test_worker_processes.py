"""Worker processes: they see no accelerator, their death is reported, and they never outlive their use."""

import contextlib
import dataclasses
import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from batch_cases import (
    COUNT,
    PREPROCESSING,
    assert_same,
    count_backends,
    count_shared_blocks,
    die,
    report_on_worker,
    train,
    wait_until,
    with_faults,
    write_images,
)

from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import evaluation_batches, training_batches
from sketch_jax.data.prefetch import Prefetcher
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write_images(tmp_path_factory.mktemp("images"))


def test_evaluation_by_processes_counts_each_example_once_and_on_closing_leaves_nothing_behind(examples):
    threads = set(threading.enumerate())
    size = dataclasses.replace(PREPROCESSING, image_size=57)
    options = {"batch_size": 7, "loading": Loading(workers=2, prefetch_batches=1)}
    batches = evaluation_batches(examples, np.arange(COUNT), size, **options)
    rows = [row for batch in itertools.islice(batches, 3) for row in batch.rows.tolist()]
    assert rows == list(range(21))
    assert len(multiprocessing.active_children()) == 2
    assert wait_until(lambda: count_shared_blocks(7, size) > 0, 5)
    batches.close()
    assert not multiprocessing.active_children()
    gc.collect()
    assert wait_until(lambda: count_shared_blocks(7, size) == 0, 5)
    assert not [thread for thread in set(threading.enumerate()) - threads if "grain-thread" in thread.name]


def test_a_worker_that_dies_while_it_decodes_is_reported_with_the_first_batch_that_did_not_arrive(examples):
    faulty = with_faults(examples, die, 2)
    with pytest.raises(RuntimeError) as caught:
        list(
            evaluation_batches(
                faulty, np.arange(COUNT), PREPROCESSING, batch_size=8, loading=Loading(workers=1)
            )
        )
    assert str(caught.value) == (
        "a worker process that decodes images ended unexpectedly (SIGKILL: killed, most often because the "
        "machine ran out of memory; lower --loading.workers); the first batch that did not arrive is that of "
        "8 images from '0.jpg' to '7.png'"
    )
    assert not multiprocessing.active_children()


def test_a_worker_killed_from_outside_is_reported_within_seconds(examples):
    loading = Loading(workers=2, prefetch_batches=1)
    batches = training_batches(
        examples, np.arange(COUNT), PREPROCESSING, batch_size=8, seed=0, loading=loading
    )
    with contextlib.closing(batches):
        next(batches)
        victim = multiprocessing.active_children()[0]
        os.kill(victim.pid, signal.SIGKILL)
        killed = time.monotonic()
        with pytest.raises(RuntimeError, match=r"\(SIGKILL: killed, .* not arrive is that of 8 images from"):
            list(batches)
        assert time.monotonic() - killed < 10
    assert not multiprocessing.active_children()


def test_workers_see_no_accelerator_and_leave_signals_to_the_parent(examples):
    watched = with_faults(examples, count_backends, 0)
    watched = with_faults(watched, report_on_worker, 1)
    (batch,) = evaluation_batches(
        watched, np.arange(2), PREPROCESSING, batch_size=2, loading=Loading(workers=1)
    )
    assert not batch.images[0].any()
    assert batch.images[1, 0, :4, 0].tolist() == [1, 1, 1, 1]


SCRIPT = """
import multiprocessing, os, signal, sys
import numpy as np
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from batch_cases import write_images
from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import training_batches
from sketch_jax.preprocessing import Preprocessing

if __name__ == "__main__":
    examples, size = write_images(Path(sys.argv[1])), Preprocessing(image_size=59)
    loading = Loading(workers=2)
    batches = training_batches(examples, np.arange(50), size, batch_size=7, seed=0, loading=loading)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_and_their_memory_are_gone_soon_after_their_parent_is_killed(tmp_path):
    script, size = tmp_path / "script.py", Preprocessing(image_size=59)
    script.write_text(SCRIPT)
    before = count_shared_blocks(7, size)
    paths = [str(Path(__file__).parent), *sys.path]
    run = subprocess.run(
        [sys.executable, script, tmp_path, *paths], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert run.returncode == -signal.SIGKILL
    workers = [Path("/proc", pid) for pid in run.stdout.decode().split()]
    assert len(workers) == 2
    assert wait_until(lambda: not any(worker.exists() for worker in workers), 10)
    assert wait_until(lambda: count_shared_blocks(7, size) <= before, 10)


def test_too_little_shared_memory_is_refused_before_a_worker_dies_of_it(examples):
    loading = Loading(workers=1, prefetch_batches=10**8)
    batches = evaluation_batches(examples, np.arange(9), PREPROCESSING, batch_size=9, loading=loading)
    with pytest.raises(
        InputError, match=r"/dev/shm: worker processes need 31104\d+ MB of shared memory, but"
    ):
        next(batches)


def test_leaving_early_ends_worker_processes_too(examples):
    loading = Loading(workers=1)
    batches = training_batches(
        examples, np.arange(COUNT), PREPROCESSING, batch_size=8, seed=0, loading=loading
    )
    with Prefetcher(batches, lambda batch: batch, depth=2) as staged:
        assert_same([next(staged)], train(examples, steps=1, seed=0))
        assert len(multiprocessing.active_children()) == 1
    assert not multiprocessing.active_children()
