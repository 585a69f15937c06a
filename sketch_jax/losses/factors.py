"""Classes made of tasks: targets of each task, and class logits from the tasks' log-probabilities."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.arrays import Targets
from sketch_jax.tasks import Tasks, membership

HeadLogits = Float[Array, "batch logits"]
"""Logits of all heads, side by side."""


def task_targets(targets: Targets, tasks: Tasks) -> dict[str, Float[Array, "batch _"]]:
    """Soft labels of each task; those of a row sum to what its class targets sum to."""
    return {name: targets @ membership(tasks, index) for index, name in enumerate(tasks.names)}


def split_logits(logits: HeadLogits, counts: Sequence[int]) -> list[Float[Array, "batch _"]]:
    """The logits of each head, which lie side by side.

    >>> [part.tolist() for part in split_logits(jnp.arange(5.0)[None, :], [3, 2])]
    [[[0.0, 1.0, 2.0]], [[3.0, 4.0]]]
    """
    ends = list(itertools.accumulate(counts))
    return [jnp.asarray(logits)[:, end - count : end] for count, end in zip(counts, ends, strict=True)]


def join_log_probabilities(
    parts: Sequence[Float[Array, "batch _"]], tasks: Tasks
) -> Float[Array, "batch classes"]:
    """Class logits: the sums of the tasks' log-probabilities, as tasks count as independent.

    Args:
        parts: log-probabilities of each task, in the order of the tasks.
        tasks: the classes.
    """
    columns = [part[:, np.array(members)] for part, members in zip(parts, tasks.members, strict=True)]
    return sum(columns[1:], columns[0])
