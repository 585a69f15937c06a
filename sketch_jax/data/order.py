"""Which rows make up each batch: pure functions of the step, so that any run can go on from any step."""

import dataclasses
import functools
import sys
import zlib

import numpy as np
from jaxtyping import Int

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
class TrainingOrder:
    """Rows of the batch of each step, from `start_step` on; an epoch is shuffled and takes no row twice.

    The global batch of a step depends on rows, batch size and seed alone; each host takes its part of it.
    """

    rows: Int[np.ndarray, " rows"]
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
        epoch, place = divmod(self.start_step + index, steps_per_epoch(len(self.rows), self.batch_size))
        order = shuffled(len(self.rows), self.seed, epoch)
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
