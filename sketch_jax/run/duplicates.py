"""Near-duplicates of a run's data: found, kept on one side of the split, and listed."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from sketch_jax.data.duplicates import find_duplicates, join_groups, read_thumbnails
from sketch_jax.data.options import NearDuplicates
from sketch_jax.data.records import UNKNOWN_LABEL, Dataset, Examples
from sketch_jax.files import write_atomically

DUPLICATES_NAME = "duplicates.csv"
COLUMNS = ("first", "first_part", "first_class", "second", "second_part", "second_class", "similarity")


class Listed(NamedTuple):
    """An image of a pair."""

    id: str
    part: str
    """`train` or `test`."""
    class_name: str
    """Empty where it is not known."""


class Pair(NamedTuple):
    """Two near-duplicates."""

    first: Listed
    second: Listed
    similarity: float
    """Correlation of their thumbnails."""


class Grouped(NamedTuple):
    """Training images with their near-duplicates in one group."""

    train: Examples
    pairs: tuple[Pair, ...]
    """The most similar first."""


def group_near_duplicates(dataset: Dataset, options: NearDuplicates, console: Console) -> Grouped:
    """Looks for near-duplicates among all images, training and test, and groups those that are trained on.

    Args:
        dataset: of any source.
        options: what counts as near.
        console: for the progress bar.

    Raises:
        ImageError: an image cannot be decoded.
    """
    parts = {"train": dataset.train, **({} if dataset.test is None else {"test": dataset.test})}
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("looking for near-duplicates", total=sum(map(len, parts.values())))
        thumbnails = []
        for examples in parts.values():
            before = sum(map(len, thumbnails))
            thumbnails.append(
                read_thumbnails(
                    examples, lambda done, _, before=before: bar.update(task, completed=before + done)
                )
            )
        found = find_duplicates(np.concatenate(thumbnails), options.similarity)
    train = dataset.train
    listed = [image for part, examples in parts.items() for image in _listed(part, examples)]
    order = np.argsort(-found.similarity, kind="stable")
    pairs = [
        Pair(listed[found.first[place]], listed[found.second[place]], float(found.similarity[place]))
        for place in order
    ]
    groups = join_groups(train.ids, train.groups, found, len(listed))
    return Grouped(dataclasses.replace(train, groups=groups), tuple(pairs))


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Writes a table with a row for each pair, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((*pair.first, *pair.second, f"{pair.similarity:.4f}") for pair in pairs)
    write_atomically(path, text.getvalue())


def pairs_text(pairs: Sequence[Pair]) -> str:
    """How many pairs there are, and how many of a kind that a user should look at.

    >>> pairs_text([])
    'no near-duplicates found'
    """
    if not pairs:
        return "no near-duplicates found"
    across = sum(pair.first.part != pair.second.part for pair in pairs)
    known = [pair for pair in pairs if pair.first.class_name and pair.second.class_name]
    two_classes = sum(pair.first.class_name != pair.second.class_name for pair in known)
    noted = [
        f"{count:,} of {what}"
        for count, what in ((across, "a training and a test image"), (two_classes, "two classes"))
        if count
    ]
    of_them = f", {' and '.join(noted)}" if noted else ""
    counted = f"{len(pairs):,} {'pair' if len(pairs) == 1 else 'pairs'} of near-duplicates"
    return f"{counted}{of_them}, listed in {DUPLICATES_NAME}"


def _listed(part: str, examples: Examples) -> Sequence[Listed]:
    names = examples.class_names
    return [
        Listed(image, part, "" if label == UNKNOWN_LABEL else names[label])
        for image, label in zip(examples.ids, examples.labels.tolist(), strict=True)
    ]
