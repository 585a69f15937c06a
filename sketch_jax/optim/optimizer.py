"""Optimizers as optax transformations, with rates and decay by path."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import optax.contrib
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.optim.clipping import clip
from sketch_jax.optim.cores import core_of
from sketch_jax.optim.options import (
    AdamP,
    BaseOptimizer,
    Muon,
    Optimizer,
    ScheduleFreeAdamW,
    Sgdp,
    base_of,
)
from sketch_jax.optim.small_leaves import GroupOf, pack, unpack, with_leaves_as_they_are, with_packed_leaves
from sketch_jax.optim.treatments import RateOf, is_decayed, rate_of_one, treatment_of
from sketch_jax.trees import Tree


class OptimizerState(NamedTuple):
    """What an optimizer keeps from step to step: arrays alone."""

    count: Int[Array, ""]
    """Updates made."""
    rate_factor: Float[Array, ""]
    """By which the schedule's rate is multiplied; 1 until something sets it."""
    core: Any


def global_norm(gradients: Tree) -> Float[Array, ""]:
    """The Euclidean norm over all leaves; the one that clipping looks at."""
    return optax.tree.norm(pack(gradients, group_by(rate_of_one)))


def group_by(rate_of: RateOf) -> GroupOf:
    """(path, leaf) -> group of the small leaves that an update treats alike."""

    def group_of(path: str, leaf: Any) -> str | None:
        rate = rate_of(path)
        if isinstance(rate, tuple):
            return None
        name = "decayed" if is_decayed(path, leaf) else "undecayed"
        return name if rate == 1.0 else f"{name}_{rate!r}"

    return group_of


def is_elementwise(options: BaseOptimizer) -> bool:
    """Whether the update of an entry depends on no other, but for norms over all leaves."""
    return options.clip_ratio is None and not isinstance(options, AdamP | Sgdp | Muon)


def create_optimizer(
    options: Optimizer, schedule: optax.Schedule, rate_of: RateOf = rate_of_one
) -> optax.GradientTransformation:
    """The transformation from gradients to updates; its state has small leaves packed where that is exact.

    Args:
        options: which one; of `Sam` its base, whose gradients `sharpness.create_gradients` takes.
        schedule: step -> learning rate.
        rate_of: path of a parameter -> factor of its learning rate, and so of its decay where that is
            decoupled; a tuple of them, one a block, where blocks are stacked.
    """
    base = base_of(options)
    optimizer_of = functools.partial(_create_scheduled, base, schedule)
    treat = functools.partial(treatment_of, rate_of=rate_of)
    if is_elementwise(base):
        return with_packed_leaves(optimizer_of, group_by(rate_of), treat)
    return with_leaves_as_they_are(optimizer_of, treat)


def _create_scheduled(
    options: BaseOptimizer, schedule: optax.Schedule, treatments: Tree
) -> optax.GradientTransformation:
    def init(params: Any) -> OptimizerState:
        return OptimizerState(
            count=jnp.zeros((), jnp.int32),
            rate_factor=jnp.ones((), jnp.float32),
            core=core_of(options, treatments, 0.0).init(params),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        rate = schedule(state.count) * state.rate_factor
        limited = clip(options, updates, params, treatments)
        steps, core = core_of(options, treatments, rate).update(limited, state.core, params)
        return steps, OptimizerState(count=state.count + 1, rate_factor=state.rate_factor, core=core)

    return optax.GradientTransformation(init, update)


def rate_factor(state: Any) -> Any:
    """The factor of the schedule's rate in the state of an optimizer; 1 where it keeps none."""
    return state.rate_factor if isinstance(state, OptimizerState) else 1.0


def with_rate_factor(state: OptimizerState, factor: float) -> OptimizerState:
    """The state whose next updates have the schedule's rate times a factor; placed as before."""
    placed = jax.device_put(np.float32(factor), state.rate_factor.sharding)
    return state._replace(rate_factor=placed)


def predicting_params(options: Optimizer, params: Tree, state: Any, rate_of: RateOf = rate_of_one) -> Tree:
    """The parameters to predict with: the mean that schedule-free training keeps, else the trained ones.

    Args:
        options: of the optimizer.
        params: that are trained.
        state: of the optimizer, after the update that made these parameters.
        rate_of: as the optimizer was created with.
    """
    if not isinstance(base_of(options), ScheduleFreeAdamW):
        return params
    if not is_elementwise(base_of(options)):
        return optax.contrib.schedule_free_eval_params(state.core, params)
    group_of = group_by(rate_of)
    packed: Any = optax.contrib.schedule_free_eval_params(state.core, pack(params, group_of))
    return unpack(packed, params, group_of)
