"""Near-duplicates of a run's data: found, kept on one side of the split, and listed."""

import collections
import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from sketch_jax.data.duplicates import SIDE, Pairs, find_duplicates, join_groups, read_thumbnails
from sketch_jax.data.options import NearDuplicates
from sketch_jax.data.records import UNKNOWN_LABEL, Dataset, Examples
from sketch_jax.files import write_atomically
from sketch_jax.train.run_directory import DUPLICATES_NAME

COLUMNS = ("first", "first_part", "first_class", "second", "second_part", "second_class", "similarity")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Duplicates:
    """The near-duplicates of a data set; images are numbered through the training and then the test table."""

    dataset: Dataset
    pairs: Pairs
    grouped: Examples
    """The training images, near-duplicates in one group."""


def find_near_duplicates(dataset: Dataset, options: NearDuplicates, console: Console) -> Duplicates:
    """Looks for near-duplicates among all images, training and test.

    Args:
        dataset: of any source.
        options: what counts as near.
        console: for the progress bar.

    Raises:
        ImageError: an image cannot be decoded.
        InputError: nearly all images are found to be alike.
    """
    train, tables = dataset.train, _tables(dataset)
    total = sum(map(len, tables))
    thumbnails = np.empty((total, SIDE, SIDE), np.uint8)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("looking for near-duplicates", total=2 * total)
        first = 0
        for table in tables:
            thumbnails[first : first + len(table)] = read_thumbnails(
                table, lambda done, _, first=first: bar.update(task, completed=first + done)
            )
            first += len(table)
        pairs = find_duplicates(
            thumbnails, options.similarity, lambda done, _: bar.update(task, completed=total + done)
        )
    groups = join_groups(train.ids, train.groups, pairs, total)
    return Duplicates(dataset=dataset, pairs=pairs, grouped=dataclasses.replace(train, groups=groups))


def write_pairs(path: Path, found: Duplicates) -> None:
    """Writes a table with a row for each pair, the most similar first, whole or not at all."""
    described = _described(found.dataset)
    pairs = found.pairs
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place in np.argsort(-pairs.similarity, kind="stable").tolist():
        first, second = described[int(pairs.first[place])], described[int(pairs.second[place])]
        writer.writerow((*first, *second, f"{pairs.similarity[place]:.4f}"))
    write_atomically(path, text.getvalue())


def pairs_text(found: Duplicates) -> str:
    """How many pairs there are, and how many of a kind that a user should look at."""
    pairs, train_count = found.pairs, len(found.dataset.train)
    if not len(pairs.first):
        return "no near-duplicates found"
    labels = np.concatenate([table.labels for table in _tables(found.dataset)])
    first, second = labels[pairs.first], labels[pairs.second]
    across = (pairs.first < train_count) & (pairs.second >= train_count)
    two_classes = (first != second) & (first != UNKNOWN_LABEL) & (second != UNKNOWN_LABEL)
    largest = max(collections.Counter(found.grouped.groups or ()).values(), default=1)
    counted = {
        "of a training and a test image": int(across.sum()),
        "of two classes": int(two_classes.sum()),
    }
    noted = " and ".join(f"{count:,} {what}" for what, count in counted.items() if count)
    return (
        f"{len(pairs.first):,} {'pair' if len(pairs.first) == 1 else 'pairs'} of near-duplicates"
        + (f", {noted}" if noted else "")
        + (f", in groups of up to {largest:,}" if found.dataset.train.groups is None and largest > 2 else "")
        + f", listed in {DUPLICATES_NAME}"
    )


def _tables(dataset: Dataset) -> Sequence[Examples]:
    return [dataset.train] if dataset.test is None else [dataset.train, dataset.test]


def _described(dataset: Dataset) -> Sequence[tuple[str, str, str]]:
    """Id, part and class of each image; the class is empty where it is not known."""
    names = dataset.train.class_names
    return [
        (image, part, "" if label == UNKNOWN_LABEL else names[label])
        for part, table in zip(("train", "test"), _tables(dataset), strict=False)
        for image, label in zip(table.ids, table.labels.tolist(), strict=True)
    ]
