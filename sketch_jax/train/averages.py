"""Averages of weights over the steps of training: pure functions over trees.

References:
    Exponential: timm/utils/model_ema.py (ModelEmaV3 with `use_warmup`).
    Plain: Izmailov et al., Averaging Weights Leads to Wider Optima (arXiv:1803.05407), algorithm 1; torch's
    `swa_utils.update_bn` for the statistics.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.batch_norms import measure_norms
from sketch_jax.models.model import Model
from sketch_jax.train.options import Averaging, Ema, Swa
from sketch_jax.trees import Tree

Count = Int[Array, ""] | int

Average = Callable[[Tree, Tree, Count], Tree]
"""(average, values, steps taken) -> average after the step that gave these values."""


def ema_decay(options: Ema, count: Count) -> Float[Array, ""]:
    """The weight of the old average after a step; 0 after the first, which replaces the start.

    Args:
        options: decay and warm-up.
        count: steps taken, this one included.
    """
    if not options.warmup_power:
        return jnp.where(count > 1, options.decay, 0.0)
    warmed = 1.0 - jnp.asarray(count, jnp.float32) ** -options.warmup_power
    return jnp.minimum(warmed, options.decay)


def move_average(average: Tree, values: Tree, weight: Any) -> Tree:
    """The average moved towards the values, by a weight of 0 to 1; at 1 it is the values, bit for bit."""
    return jax.tree.map(
        lambda old, new: jnp.where(weight == 1.0, new, old + weight * (new - old)), average, values
    )


def mean_count(options: Swa, count: Count, steps_per_epoch: int, first_step: int = 0) -> Any:
    """How many ends of epochs the mean is over after so many steps, this one included; 0: none yet.

    Args:
        options: when the mean begins.
        count: steps taken, this one included.
        steps_per_epoch: of the run.
        first_step: with which the average began anew.
    """
    epochs_before = max(options.first_epoch, first_step // steps_per_epoch)
    return jnp.maximum(count // steps_per_epoch - epochs_before, 0)


def create_average(options: Averaging, steps_per_epoch: int, first_step: int = 0) -> Average:
    """The function that the train step calls after each update.

    Args:
        options: of the average.
        steps_per_epoch: of the run.
        first_step: with which the average begins anew.
    """
    if isinstance(options, Ema):
        return lambda average, values, count: move_average(
            average, values, 1.0 - ema_decay(options, count - first_step)
        )

    def at_ends_of_epochs(average: Tree, values: Tree, count: Count) -> Tree:
        number = mean_count(options, count, steps_per_epoch, first_step)
        due = (count % steps_per_epoch == 0) & (number > 0)
        weight = 1.0 / jnp.maximum(number, 1)
        return lax.cond(due, lambda: move_average(average, values, weight), lambda: average)

    return at_ends_of_epochs


def make_measure_step(model: Model) -> Callable[..., Tree]:
    """Builds the step that measures the statistics of batch norms over batches, each weighed alike.

    Returns:
        (params, statistics, measured, number, inputs, key) -> the mean of the statistics of this batch, which
        has a number from 1, and of those before it, `measured`. Norms of frozen parameters keep `statistics`.
    """
    measuring = measure_norms(model)

    def step(params: Tree, statistics: Tree, measured: Tree, number: Any, inputs: Any, key: Any) -> Tree:
        _, own = measuring.features(params, statistics, inputs, key, True)
        return move_average(measured, own, 1.0 / number)

    return step
