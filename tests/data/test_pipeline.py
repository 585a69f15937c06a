"""Batches from memory, threads and processes: the same ones, and clear failures."""

import contextlib
import itertools
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
from batch_cases import (
    COUNT,
    PREPROCESSING,
    THREADS,
    assert_same,
    missing_file,
    strange_failure,
    train,
    with_faults,
    write_images,
)

from sketch_jax.data.cache import fill_cache
from sketch_jax.data.decode import load_image
from sketch_jax.data.options import Loading, check_loading, usable_cores, worker_count
from sketch_jax.data.pipeline import evaluation_batches, training_batches
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write_images(tmp_path_factory.mktemp("images"))


def test_training_without_end_goes_on_and_none_is_left_when_all_steps_are_done(examples):
    endless = training_batches(
        examples, np.arange(COUNT), PREPROCESSING, batch_size=25, seed=0, loading=THREADS
    )
    with contextlib.closing(endless):
        assert len(list(itertools.islice(endless, 2 * 4))) == 8
    assert train(examples, steps=5, start_step=5) == []
    assert train(examples, steps=5, start_step=9) == []


def test_batch_sizes_that_fit_neither_rows_nor_hosts_are_refused(examples):
    with pytest.raises(InputError) as caught:
        train(examples, rows=np.arange(7), steps=1)
    assert str(caught.value) == (
        "batch size 8 is more than the 7 training images, so that no epoch has a full batch; "
        "lower --batch-size to 7 or less"
    )
    with pytest.raises(InputError) as caught:
        train(examples, steps=1, process_count=3)
    assert str(caught.value) == (
        "batch size 8 cannot be shared equally by 3 hosts; change --batch-size to a multiple of 3"
    )
    with pytest.raises(InputError, match="batch size 0 cannot be shared"):
        evaluation_batches(examples, np.arange(7), PREPROCESSING, batch_size=0)


def test_batches_hold_the_decoded_images_and_labels_of_their_rows(examples):
    for batch in train(examples, steps=7):
        assert batch.images.shape == (8, 24, 24, 3)
        assert (batch.images.dtype, batch.labels.dtype, batch.rows.dtype) == (np.uint8, np.int32, np.int32)
        assert batch.mask.all()
        np.testing.assert_array_equal(batch.labels, examples.labels[batch.rows])
        for image, row in zip(batch.images, batch.rows, strict=True):
            np.testing.assert_array_equal(image, load_image(examples.read(int(row)), PREPROCESSING))


def test_what_fills_up_the_last_evaluation_batch_is_masked_black_and_unlabelled(examples):
    rows = np.array([40, 11, 3])
    cache = fill_cache(examples, rows, PREPROCESSING, loading=Loading())
    for kept in (None, cache):
        (batch,) = evaluation_batches(
            examples, rows, PREPROCESSING, batch_size=5, loading=THREADS, cache=kept
        )
        assert batch.mask.tolist() == [True, True, True, False, False]
        assert batch.rows.tolist() == [40, 11, 3, -1, -1]
        assert batch.labels.tolist() == [40 % 7, -1, 3, -1, -1]
        assert not batch.images[3:].any()
        assert batch.images[:3].any(axis=(1, 2, 3)).all()


def test_two_passes_over_the_evaluation_images_are_identical(examples):
    first, second = (
        list(evaluation_batches(examples, np.arange(COUNT), PREPROCESSING, batch_size=8, loading=THREADS))
        for _ in range(2)
    )
    assert_same(first, second)
    assert np.concatenate([batch.rows[batch.mask] for batch in first]).tolist() == list(range(COUNT))


def test_memory_threads_and_any_number_of_processes_give_the_same_batches_from_any_step(examples):
    straight = train(examples, steps=15)
    cache = fill_cache(examples, np.arange(COUNT), PREPROCESSING, loading=Loading(cache="memory"))
    assert_same(train(examples, steps=15, start_step=4, cache=cache), straight[4:])
    assert_same(train(examples, steps=15, start_step=7), straight[7:])
    resumed = train(examples, steps=15, start_step=2, loading=Loading(workers=3))
    assert_same(resumed, straight[2:])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_all_unreadable_images_of_a_batch_are_listed_by_their_ids(examples, workers):
    faulty = with_faults(examples, missing_file, 2, 5, 30)
    options = {"batch_size": 8, "loading": Loading(workers=workers)}
    with pytest.raises(InputError) as caught:
        list(evaluation_batches(faulty, np.arange(COUNT), PREPROCESSING, **options))
    assert str(caught.value) == (
        "images cannot be read (2):\n"
        "  2.png: there is no such file\n"
        "  5.png: there is no such file\n"
        "replace these files or leave them out"
    )
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_any_other_failure_to_read_names_the_row(examples, workers):
    faulty = with_faults(examples, strange_failure, 9)
    options = {"batch_size": 8, "loading": Loading(workers=workers)}
    with pytest.raises(RuntimeError) as caught:
        list(evaluation_batches(faulty, np.arange(COUNT), PREPROCESSING, **options))
    assert str(caught.value) == ("9.jpg: reading this image failed: LookupError: the archive has lost row 9")
    assert not multiprocessing.active_children()


def test_all_settings_out_of_range_are_listed_at_once(examples):
    wrong = Loading(workers=-1, cache_limit_gigabytes=0.0, prefetch_batches=0)
    text = (
        "loading: fields out of range (3):\n"
        "  workers is -1, not at least 0\n"
        "  cache_limit_gigabytes is 0.0, not above 0\n"
        "  prefetch_batches is 0, not at least 1\n"
        "change these --loading fields"
    )
    for use in (
        lambda: check_loading(wrong),
        lambda: fill_cache(examples, np.arange(9), PREPROCESSING, loading=wrong),
        lambda: evaluation_batches(examples, np.arange(9), PREPROCESSING, batch_size=3, loading=wrong),
    ):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value) == text


def test_processes_are_started_only_where_there_is_much_to_decode():
    assert worker_count(Loading(), 19_999) == 0
    assert worker_count(Loading(), 20_000) == min(usable_cores(), 16)
    assert worker_count(Loading(workers=5), 10) == 5
    assert worker_count(Loading(workers=0), 10**9) == 0


FEED_WITHOUT_PROCESSES = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from sketch_jax.data.doodles import load_doodles
from sketch_jax.data.files import FileReader
from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.prefetch import Prefetcher
from sketch_jax.data.records import Examples
from sketch_jax.preprocessing import Preprocessing

read = FileReader(root=sys.argv[1], paths=("1.png",))
examples = Examples(ids=("1.png",), labels=np.zeros(1, int), class_names=("a",), read=read)
batches = evaluation_batches(examples, np.arange(1), Preprocessing(image_size=8), batch_size=1)
with Prefetcher(batches, lambda batch: batch, depth=1) as staged:
    assert len(list(staged)) == 1
print([name for name in ("jax", "flax", "grain", "optax") if name in sys.modules])
"""


def test_feeding_without_processes_imports_neither_jax_nor_grain(examples):
    root = examples.read(0).parent
    command = [sys.executable, "-c", FEED_WITHOUT_PROCESSES, root, *sys.path]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    assert answer.stdout.strip() == "[]"
