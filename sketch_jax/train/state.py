"""The state of training: all that a step reads and writes, and so all that a checkpoint holds."""

import dataclasses
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Int

from sketch_jax.trees import Tree


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


def create_state(params: Tree, statistics: Tree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=params,
        statistics=statistics,
        opt_state=optimizer.init(params),
    )
