"""Heads over stored features, trained side by side: folds, seeds and learning rates in one program."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.heads import PooledHead
from sketch_jax.optim.optimizer import create_optimizer, predicting_params
from sketch_jax.optim.options import Optimizer
from sketch_jax.optim.sharpness import create_gradients
from sketch_jax.trees import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How heads are trained: what their trials share."""

    head: PooledHead
    loss: Callable[..., Any]
    """(logits, soft targets, mask) -> mean over the rows."""
    optimizer: Optimizer
    """Its learning rate is not read: that of each step is given."""
    class_count: int
    dropout_samples: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Orders:
    """What each trial sees, epoch by epoch; the first axis is the trials'."""

    rows: Int[np.ndarray, "trials steps batch"]
    views: Int[np.ndarray, "trials steps batch"]


Rates = Float[np.ndarray, "rates steps"]


def train_heads(
    training: HeadTraining,
    params: Tree,
    features: Float[Array, "rows views width"],
    labels: Int[Array, " rows"],
    orders: Orders,
    rates: Rates,
    steps_per_epoch: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Any:
    """Trains a head for each trial and each learning rate.

    Args:
        training: what they share.
        params: of the heads; leaves [trials, …], which every rate begins with.
        features: of every row through every view, any float type.
        labels: of the rows.
        orders: of the trials.
        rates: of each step, by learning rate.
        steps_per_epoch: steps between reports.
        report: called with (steps done, steps).

    Returns:
        Parameters that predict, leaves [trials, rates, …], on the devices.
    """
    steps = orders.rows.shape[1]
    table = jnp.asarray(rates, jnp.float32)
    carry, train_epoch = _begin(training)(params, table), _train_epoch(training)
    for first in range(0, steps, steps_per_epoch):
        part = slice(first, min(first + steps_per_epoch, steps))
        shared = table, features, labels, jnp.arange(part.start, part.stop)
        carry = train_epoch(carry, orders.rows[:, part], orders.views[:, part], shared)
        jax.block_until_ready(carry)
        report(part.stop, steps)
    return _finish(training)(*carry)


def _optimizer_of(training: HeadTraining, rates: Any) -> optax.GradientTransformation:
    return create_optimizer(training.optimizer, lambda count: rates[count])


def _begin(training: HeadTraining) -> Callable[..., Any]:
    """Builds (params of trials, table of rates) -> params and optimizer states of trials and rates."""

    def begin_one(params: Tree, rates: Any) -> tuple[Tree, Any]:
        return params, _optimizer_of(training, rates).init(params)

    of_rates = jax.vmap(begin_one, in_axes=(None, 0))
    return jax.jit(jax.vmap(of_rates, in_axes=(0, None)))


def _finish(training: HeadTraining) -> Callable[..., Any]:
    """Builds (params, optimizer states) -> params that predict."""

    def finish_one(params: Tree, state: Any) -> Tree:
        return predicting_params(training.optimizer, params, state)

    return jax.jit(jax.vmap(jax.vmap(finish_one)))


def _update(training: HeadTraining) -> Callable[..., Any]:
    """Builds (params, optimizer state, rates, pooled, targets, key) -> both after a step."""
    take_gradients = create_gradients(training.optimizer)

    def objective(params: Tree, pooled: Any, targets: Any, key: Any) -> Any:
        mask = jnp.ones(len(pooled), bool)
        losses = [
            training.loss(training.head.apply(params, pooled, sample, True), targets, mask)
            for sample in jax.random.split(key, training.dropout_samples)
        ]
        return sum(losses) / training.dropout_samples

    def update(params: Tree, state: Any, rates: Any, pooled: Any, targets: Any, key: Any) -> Any:
        differentiate = jax.value_and_grad(objective)
        _, gradients = take_gradients(
            lambda trainable: differentiate(trainable, pooled, targets, key), params
        )
        updates, state = _optimizer_of(training, rates).update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return update


def _train_epoch(training: HeadTraining) -> Callable[..., Any]:
    """Builds the program of some steps of all trials and rates."""
    over_rates = jax.vmap(_update(training), in_axes=(0, 0, 0, None, None, None))

    def train_trial(carry: Any, rows: Any, views: Any, trial: Any, shared: tuple[Any, Any, Any, Any]) -> Any:
        table, features, labels, numbers = shared

        def step(carry: Any, seen: Any) -> tuple[Any, None]:
            row, view, number = seen
            pooled = features[row, view].astype(jnp.float32)
            targets = jax.nn.one_hot(labels[row], training.class_count)
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), trial), number)
            return over_rates(*carry, table, pooled, targets, key), None

        return jax.lax.scan(step, carry, (rows, views, numbers))[0]

    def train_epoch(carry: Any, rows: Any, views: Any, shared: tuple[Any, Any, Any, Any]) -> Any:
        of_trials = jax.vmap(train_trial, in_axes=(0, 0, 0, 0, None))
        return of_trials(carry, rows, views, jnp.arange(len(rows)), shared)

    return jax.jit(train_epoch, donate_argnums=0)


def predict_heads(
    head: PooledHead, params: Tree, features: Float[Array, "rows width"], chosen: Int[np.ndarray, " chosen"]
) -> np.ndarray:
    """Logits of some rows by one head.

    Args:
        head: its functions.
        params: its leaves.
        features: of all rows.
        chosen: rows.
    """
    return np.asarray(_answer(head.apply, params, features[jnp.asarray(chosen)].astype(jnp.float32)))


@functools.partial(jax.jit, static_argnums=0)
def _answer(apply: Any, params: Tree, pooled: Any) -> Any:
    return apply(params, pooled, None, False)
