"""SAM: gradients from where the loss is worst nearby."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import numpy as jnp

from sketch_jax.optim.options import Optimizer, Sam
from sketch_jax.trees import Tree

ValueAndGradient = Callable[[Tree], tuple[Any, Tree]]
"""Parameters -> (value, gradients), as `jax.value_and_grad` makes it."""

SMALLEST_NORM = 1e-12


def sam_gradients(
    value_and_gradient: ValueAndGradient, params: Tree, rho: float, adaptive: bool
) -> tuple[Any, Tree]:
    """The value at the parameters, and the gradients a step of length rho uphill of them.

    What else the value holds, such as statistics of batch norms, is that of the parameters, too: those of the
    point uphill are thrown away. Dropout must be the same at both, so the key is the function's own.

    Args:
        value_and_gradient: called twice.
        params: where the value is taken.
        rho: how far uphill.
        adaptive: whether the distance is measured in units of each weight's size.

    References:
        Foret et al., Sharpness-Aware Minimization (2021), algorithm 1; Kwon et al., ASAM (2021), equation 8.
    """
    value, gradients = value_and_gradient(params)
    units = jax.tree.map(jnp.abs if adaptive else jnp.ones_like, params)
    directions = jax.tree.map(jnp.multiply, gradients, units)
    length = rho / (optax.tree.norm(directions) + SMALLEST_NORM)
    uphill = jax.tree.map(
        lambda weight, direction, unit: weight + length * direction * unit, params, directions, units
    )
    _, sharp = value_and_gradient(uphill)
    return value, sharp


def gradients_at_params(value_and_gradient: ValueAndGradient, params: Tree) -> tuple[Any, Tree]:
    """The value and the gradients at the parameters: what every optimizer but SAM wants."""
    return value_and_gradient(params)


def create_gradients(options: Optimizer) -> Callable[[ValueAndGradient, Tree], tuple[Any, Tree]]:
    """(value_and_gradient, params) -> (value, gradients), as the optimizer wants them."""
    if isinstance(options, Sam):
        return functools.partial(sam_gradients, rho=options.rho, adaptive=options.adaptive)
    return gradients_at_params
