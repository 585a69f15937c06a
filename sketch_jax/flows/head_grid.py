"""Heads over stored features: folds, seeds and learning rates in one program, side by side or in turn."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.heads import PooledHead
from sketch_jax.optim.optimizer import create_optimizer, predicting_params
from sketch_jax.optim.options import Optimizer
from sketch_jax.optim.sharpness import create_gradients
from sketch_jax.trees import Tree, count_bytes

CACHE_BYTES = 12e6
"""Of heads and their optimizer states that are trained at a time on a CPU: large ones are faster one by one,
small ones side by side. An epoch of 30 steps of 60 heads, all at a time and one by one: with 512 units (8 MB
each) 5.8 and 3.0 s, with 128 units 1.25 and 1.31 s, linear ones 0.37 and 0.56 s."""


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
    carry = _begin(training)(params, table)
    train_epoch = _train_epoch(training, _side_by_side(carry))
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


class SideBySide(NamedTuple):
    """How many heads are trained at a time; the others wait."""

    trials: int
    rates: int
    """Of each of these trials."""


def choose_side_by_side(head_bytes: int, trials: int, rates: int, limit: float) -> SideBySide:
    """As many heads at a time as a limit of bytes has room for, at least one.

    Args:
        head_bytes: of one head's parameters and optimizer state.
        trials: all there are.
        rates: of each trial.
        limit: in bytes.

    >>> choose_side_by_side(10, trials=3, rates=4, limit=100.0), choose_side_by_side(60, 3, 4, limit=100.0)
    (SideBySide(trials=2, rates=4), SideBySide(trials=1, rates=1))
    """
    heads = max(1, int(min(limit // head_bytes, trials * rates)))
    return SideBySide(max(1, heads // rates), min(heads, rates))


def _side_by_side(carry: Any) -> SideBySide:
    """For a CPU as many heads as its caches hold; for an accelerator all."""
    limit = CACHE_BYTES if jax.default_backend() == "cpu" else float("inf")
    trials, rates = jax.tree.leaves(carry)[0].shape[:2]
    return choose_side_by_side(count_bytes(carry) // (trials * rates), trials, rates, limit)


def _map(function: Callable[[Any], Any], values: Any, at_a_time: int) -> Any:
    """The function of each value; one at a time without a batch axis, which halves products' speed."""
    return jax.lax.map(function, values, batch_size=at_a_time if at_a_time > 1 else None)


def _train_epoch(training: HeadTraining, at_a_time: SideBySide) -> Callable[..., Any]:
    """Builds the program of some steps of all trials and rates."""
    update = _update(training)

    def train_trial(seen_by: tuple[Any, Any, Any, Any], shared: tuple[Any, Any, Any, Any]) -> Any:
        carry, rows, views, trial = seen_by
        table, features, labels, numbers = shared

        def train_rate(begun: tuple[Any, Any]) -> Any:
            carry, rates = begun

            def step(carry: Any, seen: Any) -> tuple[Any, None]:
                row, view, number = seen
                pooled = features[row, view].astype(jnp.float32)
                targets = jax.nn.one_hot(labels[row], training.class_count)
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), trial), number)
                return update(*carry, rates, pooled, targets, key), None

            return jax.lax.scan(step, carry, (rows, views, numbers))[0]

        return _map(train_rate, (carry, table), at_a_time.rates)

    def train_epoch(carry: Any, rows: Any, views: Any, shared: tuple[Any, Any, Any, Any]) -> Any:
        trials = carry, rows, views, jnp.arange(len(rows))
        return _map(lambda trial: train_trial(trial, shared), trials, at_a_time.trials)

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
