"""The state of training: all that a step reads and writes, and so all that a checkpoint holds."""

import dataclasses
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Int

from sketch_jax.trees import STACKED, Tree, stack_blocks, unstack_blocks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """Values that change in training (a pytree)."""

    step: Int[Array, ""]
    """Number of steps taken."""
    trainable: Tree
    """Parameters that are trained, float32; gradients and optimizer state exist for these alone."""
    statistics: Tree
    """Running statistics of batch norms; empty for transformers."""
    opt_state: Any


def for_disk(state: TrainState) -> TrainState:
    """The state with parameters as they lie on disk: each block has its own. Leaves may be shapes."""
    return dataclasses.replace(state, trainable=unstack_blocks(state.trainable))


def disk_template(state: TrainState) -> TrainState:
    """Shapes, types and placement of what `for_disk` would give; nothing is computed."""

    def describe(leaf: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

    return for_disk(jax.tree.map(describe, state))


def from_disk(stored: TrainState, like: TrainState) -> TrainState:
    """The inverse of `for_disk`.

    Args:
        stored: as read.
        like: a state in the layout, and with the placement, of training.
    """
    if STACKED not in like.trainable:
        return stored
    trainable = jax.tree.map(
        lambda leaf, target: jax.device_put(leaf, target.sharding),
        stack_blocks(stored.trainable),
        like.trainable,
    )
    return dataclasses.replace(stored, trainable=trainable)


def create_state(params: Tree, statistics: Tree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=params,
        statistics=statistics,
        opt_state=optimizer.init(params),
    )
