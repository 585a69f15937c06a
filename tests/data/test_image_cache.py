"""Decoded images in memory: what is kept, what is refused."""

import os

import numpy as np
import pytest
from batch_cases import (
    COUNT,
    PREPROCESSING,
    THREADS,
    assert_same,
    missing_file,
    strange_failure,
    with_faults,
    write_images,
)

from sketch_jax.data.cache import available_bytes, fill_cache, group_bytes, keeps_images
from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("workers", [None, 1])
def test_filling_the_cache_reports_its_progress_and_keeps_what_decoding_gives(examples, workers):
    rows = np.random.default_rng(0).permutation(COUNT)[:45]
    progress = []
    cache = fill_cache(
        examples,
        rows,
        PREPROCESSING,
        loading=Loading(workers=workers),
        progress=lambda done, total: progress.append((done, total)),
    )
    assert progress == [(32, 45), (45, 45)]
    assert cache is not None
    options = {"batch_size": 8, "loading": THREADS}
    kept = evaluation_batches(examples, rows, PREPROCESSING, cache=cache, **options)
    assert_same(kept, evaluation_batches(examples, rows, PREPROCESSING, **options))


def test_filling_the_cache_lists_all_unreadable_images(examples):
    faulty = with_faults(examples, missing_file, 2, 5, 40)
    with pytest.raises(InputError) as caught:
        fill_cache(faulty, np.arange(COUNT), PREPROCESSING, loading=Loading())
    assert str(caught.value) == (
        "images cannot be read (3):\n"
        "  2.png: there is no such file\n"
        "  5.png: there is no such file\n"
        "  40.png: there is no such file\n"
        "replace these files or leave them out"
    )


def test_filling_the_cache_names_the_row_of_any_other_failure(examples):
    with pytest.raises(RuntimeError, match=r"^9\.jpg: reading this image failed: LookupError"):
        fill_cache(
            with_faults(examples, strange_failure, 9), np.arange(COUNT), PREPROCESSING, loading=Loading()
        )


def test_a_row_that_was_not_cached_is_refused_and_never_mistaken(examples):
    cache = fill_cache(examples, np.arange(10), PREPROCESSING, loading=Loading())
    with pytest.raises(ValueError, match=r"rows \[10, 11\] are not in the cache of 10 images"):
        list(evaluation_batches(examples, np.arange(12), PREPROCESSING, batch_size=6, cache=cache))


def test_nothing_is_kept_where_the_policy_or_the_limit_says_no(examples):
    rows = np.arange(COUNT)
    for loading in (Loading(cache="none"), Loading(cache_limit_gigabytes=1e-6)):
        assert fill_cache(examples, rows, PREPROCESSING, loading=loading) is None
    assert fill_cache(examples, rows, PREPROCESSING, loading=Loading(cache_limit_gigabytes=1.0)) is not None


@pytest.mark.parametrize(
    ("cache", "limit", "needed", "kept"),
    [
        ("auto", None, 50, True),
        ("auto", None, 51, False),
        ("auto", 70e-9, 70, True),
        ("auto", 70e-9, 71, False),
        ("auto", 200e-9, 101, False),
        ("memory", 1e-9, 100, True),
        ("none", None, 1, False),
    ],
)
def test_images_are_kept_within_the_limit_and_the_memory_that_is_there(cache, limit, needed, kept):
    loading = Loading(cache=cache, cache_limit_gigabytes=limit)
    assert keeps_images(needed, available=100, loading=loading) is kept


def test_a_cache_that_cannot_fit_is_refused():
    with pytest.raises(InputError) as caught:
        keeps_images(15_100_000_000, 8_000_000_000, Loading(cache="memory"))
    assert str(caught.value) == (
        "--loading.cache memory needs 15.1 GB, but 8.0 GB are available; use auto or none, "
        "or a smaller image size"
    )


def test_the_memory_left_in_a_control_group_counts_file_caches_as_free(tmp_path):
    assert group_bytes(tmp_path) is None
    for name, text in (("memory.current", "600\n"), ("memory.stat", "anon 400\ninactive_file 150\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.max").write_text("max\n")
    assert group_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert group_bytes(tmp_path) == 550


def test_available_memory_is_some_but_not_more_than_the_machine_has():
    assert 0 < available_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
