"""Which training examples are held out, and in which fold: pure functions of labels, groups and a seed."""

import dataclasses

import numpy as np
from jaxtyping import Int

from sketch_jax.data.group_folds import divide_groups
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError

ALWAYS_TRAINED = -1
"""Fold of the rows that are never held out."""
HELD_OUT = 0
"""Fold that `HoldOut` keeps out of training."""

Folds = Int[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HoldOut:
    """One part of the training examples is held out; groups, where the source has them, stay whole."""

    fraction: float = 0.1
    """Share that is held out, from 0 to below 1; 0 trains on everything."""
    stratified: bool = True
    """Whether every class gives the same share."""
    seed: int | None = None
    """Seed of the draw, at least 0; None: the seed of the run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KFold:
    """The training examples fall into folds, one of which is held out; groups stay whole."""

    count: int = 5
    """Number of folds, at least 2."""
    fold: int = 0
    """The fold that is held out, from 0 to `count` - 1."""
    stratified: bool = True
    """Whether every class is spread evenly over the folds."""
    seed: int | None = None
    """Seed of the draw, at least 0; None: the seed of the run."""


Split = HoldOut | KFold


def create_folds(split: Split, examples: Examples, seed: int) -> Folds:
    """The fold of each row; -1 where a row is always trained on.

    It depends on the set of ids, not on their order. Rows of a group share a fold, and every class keeps rows
    to train on whichever fold is held out: where it would lose all, its smallest group is always trained on.

    Args:
        split: how to divide.
        examples: labelled examples.
        seed: used where the split has none of its own.

    Raises:
        InputError: a field of the split is out of range, there are fewer groups than folds, or nothing is
            held out that should be.
    """
    seed = seed if split.seed is None else split.seed
    _check_split(split, examples, seed)
    order = np.array(sorted(range(len(examples)), key=lambda row: examples.ids[row]), np.int64)
    labels = examples.labels[order] if split.stratified else np.zeros(len(examples), np.int32)
    groups = np.arange(len(examples)) if examples.groups is None else np.array(examples.groups)[order]
    if examples.groups is None:
        drawn = _draw_rows(split, labels, seed)
    else:
        drawn = _draw_groups(split, labels, groups, seed)
    folds = np.empty(len(examples), np.int32)
    folds[order] = keep_classes_trained(drawn, examples.labels[order], groups)
    _check_held_out(split, folds)
    return folds


def held_out_fold(split: Split) -> int:
    """The fold that a split holds out."""
    match split:
        case HoldOut():
            return HELD_OUT
        case KFold(fold=fold):
            return fold


def split_rows(
    folds: Folds, fold: int
) -> tuple[Int[np.ndarray, " trained_rows"], Int[np.ndarray, " held_out_rows"]]:
    """Rows to train on and rows held out.

    >>> split_rows(np.array([0, 1, -1, 0]), 0)
    (array([1, 2]), array([0, 3]))
    """
    return np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def stratified_folds(labels: Int[np.ndarray, " rows"], count: int, seed: int) -> Folds:
    """Folds whose sizes, and whose numbers of rows of each class, differ by at most 1.

    >>> np.bincount(stratified_folds(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0))
    array([2, 2, 2])
    """
    folds = np.empty(len(labels), np.int32)
    folds[_shuffled_by_class(labels, seed)] = np.arange(len(labels)) % count
    return folds


def stratified_hold_out(labels: Int[np.ndarray, " rows"], fraction: float, seed: int) -> Folds:
    """Fold 0 for a share of every class, as near to the fraction as whole rows allow; -1 elsewhere.

    >>> stratified_hold_out(np.zeros(4, np.int32), 0.5, seed=1)
    array([ 0, -1,  0, -1], dtype=int32)
    """
    steps = np.floor(np.arange(len(labels) + 1) * fraction + 0.5)
    folds = np.empty(len(labels), np.int32)
    folds[_shuffled_by_class(labels, seed)] = np.where(np.diff(steps) > 0, HELD_OUT, ALWAYS_TRAINED)
    return folds


def grouped_folds(groups: np.ndarray, count: int, seed: int) -> Folds:
    """Folds of whole groups, of sizes as equal as the groups allow."""
    return stratified_grouped_folds(np.zeros(len(groups), np.int32), groups, count, seed)


def stratified_grouped_folds(
    labels: Int[np.ndarray, " rows"], groups: np.ndarray, count: int, seed: int
) -> Folds:
    """Folds of whole groups, with every class spread as evenly as the groups allow."""
    return divide_groups(labels, groups, np.full(count, 1.0 / count), seed)


def stratified_grouped_hold_out(
    labels: Int[np.ndarray, " rows"], groups: np.ndarray, fraction: float, seed: int
) -> Folds:
    """Fold 0 for whole groups with about a share of the rows of every class; -1 elsewhere."""
    if fraction == 0.0:
        return np.full(len(labels), ALWAYS_TRAINED, np.int32)
    parts = divide_groups(labels, groups, np.array([fraction, 1.0 - fraction]), seed)
    return np.where(parts == 0, HELD_OUT, ALWAYS_TRAINED).astype(np.int32)


def keep_classes_trained(folds: Folds, labels: Int[np.ndarray, " rows"], groups: np.ndarray) -> Folds:
    """Folds in which no class lies in one fold alone: its smallest group, if so, is always trained on.

    >>> keep_classes_trained(np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([0, 1, 2]))
    array([ 0,  1, -1])
    """
    folds = folds.copy()
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        if folds[of_class[0]] != ALWAYS_TRAINED and np.ptp(folds[of_class]) == 0:
            names, sizes = np.unique(groups[np.isin(groups, groups[of_class])], return_counts=True)
            folds[groups == names[np.argmin(sizes)]] = ALWAYS_TRAINED
    return folds


def _draw_rows(split: Split, labels: Int[np.ndarray, " rows"], seed: int) -> Folds:
    match split:
        case HoldOut(fraction=fraction):
            return stratified_hold_out(labels, fraction, seed)
        case KFold(count=count):
            return stratified_folds(labels, count, seed)


def _draw_groups(split: Split, labels: Int[np.ndarray, " rows"], groups: np.ndarray, seed: int) -> Folds:
    match split:
        case HoldOut(fraction=fraction):
            return stratified_grouped_hold_out(labels, groups, fraction, seed)
        case KFold(count=count):
            return stratified_grouped_folds(labels, groups, count, seed)


def _shuffled_by_class(labels: Int[np.ndarray, " rows"], seed: int) -> Int[np.ndarray, " rows"]:
    """Rows in the order of their class, shuffled within each."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _check_split(split: Split, examples: Examples, seed: int) -> None:
    if seed < 0:
        raise InputError(f"--split.seed {seed}: must be at least 0")
    if isinstance(split, HoldOut):
        if not 0.0 <= split.fraction < 1.0:
            raise InputError(f"--split.fraction {split.fraction}: must be from 0 to below 1")
        return
    if split.count < 2:
        raise InputError(
            f"--split.count {split.count}: must be at least 2; for one part only, use a hold-out split"
        )
    if not 0 <= split.fold < split.count:
        raise InputError(f"--split.fold {split.fold}: must be from 0 to {split.count - 1}")
    units = len(examples) if examples.groups is None else len(set(examples.groups))
    if units < split.count:
        kind = "images" if examples.groups is None else "groups"
        raise InputError(f"--split.count {split.count}: there are only {units} {kind}; make fewer folds")


def _check_held_out(split: Split, folds: Folds) -> None:
    trains_on_all = isinstance(split, HoldOut) and split.fraction == 0.0
    if not trains_on_all and not np.any(folds == held_out_fold(split)):
        raise InputError(
            f"{split}: holds out none of the {len(folds)} training images; hold out a larger share or make "
            "fewer folds, or train on everything with --split.fraction 0"
        )
