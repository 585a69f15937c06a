"""The data stage: a source is loaded, split, and decoded into memory where it fits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int
from rich.console import Console
from rich.progress import Progress

from sketch_jax.config import Config
from sketch_jax.data.cache import ImageCache, fill_cache
from sketch_jax.data.fingerprint import fingerprint
from sketch_jax.data.options import Loading
from sketch_jax.data.records import Dataset, Examples
from sketch_jax.data.sources import load_source
from sketch_jax.data.split_file import read_split, write_split
from sketch_jax.data.splits import HoldOut, create_folds, held_out_fold, split_rows
from sketch_jax.errors import InputError
from sketch_jax.losses.numbers import Numbers
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.run.duplicates import Duplicates, find_near_duplicates, write_pairs
from sketch_jax.train.run_directory import DUPLICATES_NAME, SPLIT_NAME, is_abandoned


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """A data set and its split."""

    dataset: Dataset
    folds: Int[np.ndarray, " rows"]
    """Fold of each row of the training table."""
    train_rows: Int[np.ndarray, " train_rows"]
    validation_rows: Int[np.ndarray, " validation_rows"]
    fingerprint: str
    duplicates: Duplicates | None
    """The near-duplicates that the split heeds; None: not looked for, or in an earlier start."""


def load_data(config: Config, directory: Path, console: Console) -> Data:
    """Loads the source and its split: that of the run's directory where it goes on, a new one else.

    Raises:
        InputError: the source breaks a rule, the split does not fit it, or too few images are left to train.
    """
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("checking images", total=None)
        dataset = load_source(
            config.source, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    split = HoldOut(fraction=0.0) if config.train_on_all else config.split
    split_file = directory / SPLIT_NAME
    duplicates = None
    if split_file.is_file() and not is_abandoned(directory):
        folds = read_split(split_file, dataset.train)
    else:
        if config.duplicates is not None:
            duplicates = find_near_duplicates(dataset, config.duplicates, console)
        grouped = dataset.train if duplicates is None else duplicates.grouped
        folds = create_folds(split, grouped, config.seed)
    train_rows, validation_rows = split_rows(folds, held_out_fold(split))
    if len(train_rows) < config.batch_size:
        raise InputError(
            f"--batch-size {config.batch_size}: there are only {len(train_rows)} training images; "
            f"choose at most {len(train_rows)}, or hold out fewer"
        )
    return Data(
        dataset=dataset,
        folds=folds,
        train_rows=train_rows,
        validation_rows=validation_rows,
        fingerprint=fingerprint(dataset.train),
        duplicates=duplicates,
    )


def keep_split(directory: Path, data: Data) -> None:
    """Writes the split beside the run, and the near-duplicates that it heeds, unless it is there."""
    if not (directory / SPLIT_NAME).is_file():
        if data.duplicates is not None:
            write_pairs(directory / DUPLICATES_NAME, data.duplicates)
        write_split(directory / SPLIT_NAME, data.dataset.train, data.folds)


def decode_to_memory(
    examples: Examples,
    rows: Int[np.ndarray, " rows"],
    preprocessing: Preprocessing,
    loading: Loading,
    console: Console,
    check: Callable[[], None],
) -> ImageCache | None:
    """The decoded images of some rows, or None where they are to be decoded again in each epoch.

    Args:
        examples: the table of images.
        rows: of the table.
        preprocessing: of the images.
        loading: with how many processes, and how much memory may be filled.
        console: for the progress bar.
        check: called now and then; what it raises ends the work.
    """
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("decoding images", total=len(rows))

        def progress(done: int, total: int) -> None:
            check()
            bar.update(task, completed=done, total=total)

        return fill_cache(examples, rows, preprocessing, loading=loading, progress=progress)


def numbers_of(data: Data) -> Numbers | None:
    """Labels and numbers of the training images; None: the source tells no numbers."""
    train = data.dataset.train
    if train.numbers is None:
        return None
    rows = data.train_rows
    return Numbers(train.labels[rows], train.numbers[rows], train.class_names)


def class_counts(data: Data) -> Int[np.ndarray, " classes"]:
    """Training images of each class."""
    labels = data.dataset.train.labels[data.train_rows]
    return np.bincount(labels, minlength=len(data.dataset.train.class_names))
