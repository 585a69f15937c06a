"""The state of training: all that a step reads and writes, and so all that a checkpoint holds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import numpy as jnp

from sketch_jax.trees import STACKED, Tree, stack_blocks, unstack_blocks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """Values that change in training (a pytree)."""

    step: Any
    """Number of steps taken, an int32; as in all leaves a shape or a placement may stand for it."""
    trainable: Tree
    """Parameters that are trained, float32; gradients, optimizer state and averages exist for these alone."""
    statistics: Tree
    """Running statistics of batch norms; empty for transformers."""
    opt_state: Any
    averaged: Tree = dataclasses.field(default_factory=dict)
    """Averages over the steps of the trees `trainable` and `statistics`; empty when none is kept."""


def for_disk(state: TrainState) -> TrainState:
    """The state with parameters as they lie on disk: each block has its own. Leaves may be shapes."""
    return _change_parameters(state, unstack_blocks)


def _change_parameters(state: TrainState, change: Callable[[Tree], Tree]) -> TrainState:
    averaged = state.averaged and {**state.averaged, "trainable": change(state.averaged["trainable"])}
    return dataclasses.replace(state, trainable=change(state.trainable), averaged=averaged)


def from_disk(stored: TrainState, like: TrainState) -> TrainState:
    """The inverse of `for_disk`.

    Args:
        stored: as read.
        like: a state in the layout, and with the placement, of training.
    """
    if STACKED not in like.trainable:
        return stored

    def stacked_as_there(tree: Tree) -> Tree:
        return jax.tree.map(
            lambda leaf, target: jax.device_put(leaf, target.sharding), stack_blocks(tree), like.trainable
        )

    return _change_parameters(stored, stacked_as_there)


def create_state(
    trainable: Tree,
    statistics: Tree,
    optimizer: optax.GradientTransformation,
    *,
    step: int = 0,
    averages: bool = False,
) -> TrainState:
    """The state before the first step, or with a new optimizer before a later one.

    Args:
        trainable: parameters that are trained.
        statistics: running statistics.
        optimizer: whose state is new.
        step: number of steps taken.
        averages: whether averages are kept; they begin with the values given.
    """
    averaged = {"trainable": trainable, "statistics": statistics} if averages else {}
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        trainable=trainable,
        statistics=statistics,
        opt_state=optimizer.init(trainable),
        averaged=jax.tree.map(jnp.copy, averaged),
    )
