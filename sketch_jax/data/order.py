"""Which rows make up each batch: pure functions of the step, so that any run can go on from any step."""

import dataclasses
import functools
import sys
import zlib

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.errors import InputError

PADDING = -1
"""Stands where a batch has no row."""
_STREAM = zlib.crc32(b"training order")


def steps_per_epoch(row_count: int, batch_size: int) -> int:
    """Full batches in an epoch; the rows left over are others in each epoch, as each is shuffled anew.

    >>> steps_per_epoch(10, 4)
    2
    """
    return row_count // batch_size


@functools.lru_cache(maxsize=2)
def shuffled(count: int, seed: int, epoch: int) -> Int[np.ndarray, " count"]:
    """The order of an epoch: positions 0 to count - 1, each once; read-only, as it is shared."""
    order = np.random.default_rng([seed, _STREAM, epoch]).permutation(count)
    order.setflags(write=False)
    return order


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RowWeights:
    """How often each row is drawn, relative to the others."""

    values: Float[np.ndarray, " rows"]
    """Above 0."""


@functools.lru_cache(maxsize=2)
def drawn(weights: RowWeights, count: int, seed: int, epoch: int) -> Int[np.ndarray, " count"]:
    """The order of an epoch of `count` draws: positions of rows; read-only, as it is shared.

    A row of share s of the weights is drawn s * count times: the whole part of that always, once more with
    the probability of the rest. Where no row is due more than once, none is drawn twice.

    References:
        Madow, On the Theory of Systematic Sampling II (1949): one random start, equal steps through the
        rows in a random order, each as long as its weight.
    """
    random = np.random.default_rng([seed, _STREAM, epoch])
    rows = random.permutation(len(weights.values))
    ends = np.cumsum(weights.values[rows])
    points = (random.random() + np.arange(count)) * (ends[-1] / count)
    places = np.minimum(np.searchsorted(ends, points, side="right"), len(rows) - 1)
    order = random.permutation(rows[places])
    order.setflags(write=False)
    return order


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainingOrder:
    """Rows of the batch of each step, from `start_step` on; each epoch is drawn anew.

    Without weights an epoch takes no row twice; with them it is as long. The global batch of a step depends
    on rows, weights, batch size and seed alone; each host takes its part of it.
    """

    rows: Int[np.ndarray, " rows"]
    weights: RowWeights | None = None
    """How often each row is drawn; None: all equally often."""
    batch_size: int
    """Over all hosts."""
    seed: int
    start_step: int
    steps: int | None
    """Step to stop before; None: never."""
    process_index: int
    process_count: int

    def __len__(self) -> int:
        return sys.maxsize if self.steps is None else max(0, self.steps - self.start_step)

    def __getitem__(self, index: int) -> Int[np.ndarray, " batch"]:
        """Rows of step `start_step + index`."""
        an_epoch = steps_per_epoch(len(self.rows), self.batch_size)
        epoch, place = divmod(self.start_step + index, an_epoch)
        if self.weights is None:
            order = shuffled(len(self.rows), self.seed, epoch)
        else:
            order = drawn(self.weights, an_epoch * self.batch_size, self.seed, epoch)
        batch = self.rows[order[place * self.batch_size : (place + 1) * self.batch_size]]
        return host_part(batch, self.process_index, self.process_count)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationOrder:
    """Rows of each batch in their order; the last batch is padded with -1."""

    rows: Int[np.ndarray, " rows"]
    batch_size: int
    """Over all hosts."""
    process_index: int
    process_count: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> Int[np.ndarray, " batch"]:
        """Rows of batch `index`."""
        part = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        batch = np.pad(part, (0, self.batch_size - len(part)), constant_values=PADDING)
        return host_part(batch, self.process_index, self.process_count)


Order = TrainingOrder | EvaluationOrder


def host_part(batch: Int[np.ndarray, " batch"], process_index: int, process_count: int) -> np.ndarray:
    """The rows of one host: equal consecutive parts of the global batch.

    >>> host_part(np.arange(6), 1, 3).tolist()
    [2, 3]
    """
    size = len(batch) // process_count
    return batch[process_index * size : (process_index + 1) * size]


def check_batch_size(batch_size: int, process_count: int, row_count: int | None = None) -> None:
    """Refuses a batch size that cannot be shared out, or that no epoch can fill.

    Args:
        batch_size: over all hosts.
        process_count: number of hosts.
        row_count: rows of the training set; None where padding fills the last batch.

    Raises:
        InputError: says which.
    """
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            f"batch size {batch_size} cannot be shared equally by {process_count} hosts; "
            f"change --batch-size to a multiple of {process_count}"
        )
    if row_count is not None and row_count < batch_size:
        raise InputError(
            f"batch size {batch_size} is more than the {row_count} training images, so that no epoch "
            f"has a full batch; lower --batch-size to {row_count} or less"
        )
