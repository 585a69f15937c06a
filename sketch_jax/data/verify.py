"""Decoding every image once before a run, so that bad ones are known, all at once, before time is spent."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Int

from sketch_jax.data.classes import check_classes
from sketch_jax.data.decode import ImageError, check_image
from sketch_jax.data.options import usable_cores
from sketch_jax.data.records import Dataset, Examples, Picture
from sketch_jax.errors import refuse_faults

OnBadImage = Literal["error", "skip", "trust"]

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

BLANK_SIZE = 32
CHUNK = 64
"""Images checked between two reports of progress."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ChosenRows:
    """Some rows of another reader, with blank paper where the chosen row is -1."""

    read: Callable[[int], Picture]
    rows: Int[np.ndarray, " rows"]

    def __call__(self, row: int) -> Picture:
        """Picture of a chosen row, or blank paper."""
        chosen = int(self.rows[row])
        return self.read(chosen) if chosen >= 0 else np.full((BLANK_SIZE, BLANK_SIZE, 3), 255, np.uint8)


def verify_dataset(
    dataset: Dataset, place: str, on_bad_image: OnBadImage, *, progress: Progress | None = None
) -> Dataset:
    """Decodes all images, and refuses or leaves out the bad ones.

    A bad test image is never left out, so that rows stay rows of the test table: it is read as blank paper.

    Args:
        dataset: of any source that reads files.
        place: folder of the data set, for messages.
        on_bad_image: `error` refuses bad images, `skip` records them in `Dataset.skipped`, `trust` checks
            nothing.
        progress: called now and then.

    Raises:
        InputError: lists every bad image, or every class that has none left.
    """
    if on_bad_image == "trust":
        return dataset
    test_count = 0 if dataset.test is None else len(dataset.test)
    total = len(dataset.train) + test_count
    bad_train = check_images(dataset.train, progress=_part(progress, 0, total))
    bad_test = (
        {}
        if dataset.test is None
        else check_images(dataset.test, progress=_part(progress, total - test_count, total))
    )
    found = _by_id(dataset.train, bad_train) | _by_id(dataset.test, bad_test, "test image ")
    if on_bad_image == "error":
        refuse_faults(
            f"{place}: images that cannot be read",
            [f"{name}: {reason}" for name, reason in found.items()],
            "replace these files, or go on without them by --source.on-bad-image skip",
        )
    return _without(dataset, place, bad_train, bad_test, found)


def check_images(
    examples: Examples, *, progress: Progress | None = None, threads: int | None = None
) -> dict[int, str]:
    """Decodes all images and returns what is wrong: row to reason, in the order of rows.

    Args:
        examples: of any source that reads files.
        progress: called now and then, and at the end.
        threads: images decoded at a time; None: one for each core that this process may use.
    """
    rows = range(len(examples))
    chunks = [rows[start : start + CHUNK] for start in rows[::CHUNK]]
    pool = concurrent.futures.ThreadPoolExecutor(threads or usable_cores())
    bad: dict[int, str] = {}
    done = 0
    try:
        for chunk, found in zip(
            chunks, pool.map(lambda chunk: _check_rows(examples, chunk), chunks), strict=True
        ):
            bad |= found
            done += len(chunk)
            if progress is not None:
                progress(done, len(examples))
    finally:
        pool.shutdown(cancel_futures=True)
    return bad


def _check_rows(examples: Examples, rows: range) -> dict[int, str]:
    bad = {}
    for row in rows:
        try:
            check_image(examples.read(row))
        except ImageError as error:
            bad[row] = error.reason
    return bad


def _part(progress: Progress | None, start: int, total: int) -> Progress | None:
    """Progress of a part, from `start`, told as progress of the whole."""
    return None if progress is None else lambda done, _: progress(start + done, total)


def _by_id(examples: Examples | None, bad: Mapping[int, str], prefix: str = "") -> dict[str, str]:
    return {} if examples is None else {f"{prefix}{examples.ids[row]}": bad[row] for row in bad}


def _without(
    dataset: Dataset,
    place: str,
    bad_train: Mapping[int, str],
    bad_test: Mapping[int, str],
    found: Mapping[str, str],
) -> Dataset:
    """The data set without its bad training images, and with blank paper for its bad test images."""
    train = _choose(dataset.train, np.setdiff1d(np.arange(len(dataset.train)), list(bad_train)))
    check_classes(train, f"{place}, bad images left out", dataset.tasks)
    return dataclasses.replace(
        dataset,
        train=train,
        test=None if dataset.test is None else _blank(dataset.test, list(bad_test)),
        skipped={**dataset.skipped, **found},
    )


def _choose(examples: Examples, rows: Int[np.ndarray, " rows"]) -> Examples:
    """Some of the rows."""
    if len(rows) == len(examples):
        return examples
    return dataclasses.replace(
        examples,
        ids=tuple(examples.ids[row] for row in rows),
        labels=examples.labels[rows],
        numbers=None if examples.numbers is None else examples.numbers[rows],
        groups=None if examples.groups is None else tuple(examples.groups[row] for row in rows),
        read=ChosenRows(read=examples.read, rows=rows),
    )


def _blank(examples: Examples, rows: list[int]) -> Examples:
    """All rows, some of them read as blank paper."""
    if not rows:
        return examples
    chosen = np.arange(len(examples))
    chosen[rows] = -1
    return dataclasses.replace(examples, read=ChosenRows(read=examples.read, rows=chosen))
