"""Gradients of a batch that is computed in parts, one after the other, so that their activations fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from sketch_jax.arrays import Inputs, Mask, Targets
from sketch_jax.trees import Tree

Differentiate = Callable[..., tuple[tuple[Any, Tree], Tree]]
"""(trainable, frozen, statistics, examples, key) -> ((loss, statistics), gradients)."""


class Examples(NamedTuple):
    """A batch after augmentation."""

    inputs: Inputs
    """Normalised images."""
    targets: Targets
    mask: Mask
    """False where a row does not count."""


def accumulated(differentiate: Differentiate, parts: int) -> Differentiate:
    """The same function, computed in so many parts of the batch and averaged by the rows that count.

    For a loss that is a mean over rows the result is that of the whole batch. Running statistics move with
    each part, and batch norms normalise by the part alone: smaller batches, noisier statistics.

    Args:
        differentiate: loss and gradients of a batch.
        parts: by which the number of rows can be divided; 1: the function itself.
    """
    if parts == 1:
        return differentiate

    def in_parts(trainable: Tree, frozen: Tree, statistics: Tree, examples: Examples, key: Any):
        counted = jnp.maximum(examples.mask.sum(), 1)

        def add(carry: tuple[Any, Tree, Tree], part: tuple[Examples, Any]):
            loss, statistics, gradients = carry
            of_part, part_key = part
            (new_loss, statistics), new = differentiate(trainable, frozen, statistics, of_part, part_key)
            weight = of_part.mask.sum() / counted
            added = jax.tree.map(lambda total, gradient: total + weight * gradient, gradients, new)
            return (loss + weight * new_loss, statistics, added), None

        nothing = jax.tree.map(jnp.zeros_like, trainable)
        start = (jnp.zeros((), jnp.float32), statistics, nothing)
        cut = Examples(*(cut_rows(leaf, parts) for leaf in examples))
        # XLA runs convolutions in a loop on a CPU up to 35 times slower (docs/log.md).
        unroll = parts if jax.default_backend() == "cpu" else 1
        keys = jax.random.split(key, parts)
        (loss, statistics, gradients), _ = lax.scan(add, start, (cut, keys), unroll=unroll)
        return (loss, statistics), gradients

    return in_parts


def cut_rows(rows: Any, parts: int) -> Any:
    """Rows as so many parts along a new first axis; every part has rows of each device's share.

    >>> cut_rows(jnp.arange(6), 3).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    return jnp.swapaxes(rows.reshape(-1, parts, *rows.shape[1:]), 0, 1)
