"""MADGRAD, with rates of their own for the leaves."""

from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Int

from sketch_jax.optim.options import Madgrad
from sketch_jax.optim.treatments import Treatment, own_rate
from sketch_jax.trees import Tree


class MadgradState(NamedTuple):
    """Sums over all steps."""

    count: Int[Array, ""]
    squares: Tree
    """Weighted sums of squared gradients."""
    sums: Tree
    """Weighted sums of gradients."""
    origin: Tree
    """The weights before the first step."""


def scale_by_madgrad(options: Madgrad, treatments: Tree, rate: Any) -> optax.GradientTransformation:
    """Gradients -> updates.

    The learning rate enters the sums, so that it cannot be multiplied in afterwards; optax.contrib's MADGRAD
    knows but one for all leaves.

    References:
        Defazio and Jelassi, Adaptivity without Compromise (2021), algorithm 1; timm/optim/madgrad.py.
    """

    def init(params: Any) -> MadgradState:
        # A copy: a step gives up the buffers of the weights, and no buffer can be given up twice.
        return MadgradState(
            count=jnp.zeros((), jnp.int32),
            squares=optax.tree.zeros_like(params),
            sums=optax.tree.zeros_like(params),
            origin=jax.tree.map(jnp.copy, params),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = state.count + 1

        def weighted(treatment: Treatment, gradient: Any) -> Any:
            return (own_rate(treatment, rate, gradient) + options.epsilon) * jnp.sqrt(count) * gradient

        def step(origin: Any, total: Any, square: Any, weight: Any) -> Any:
            target = origin - total / (jnp.cbrt(square) + options.epsilon)
            return (1 - options.momentum) * (target - weight)

        terms = jax.tree.map(weighted, treatments, updates)
        sums = jax.tree.map(jnp.add, state.sums, terms)
        squares = jax.tree.map(
            lambda square, term, gradient: square + term * gradient, state.squares, terms, updates
        )
        steps = jax.tree.map(step, state.origin, sums, squares, params)
        return steps, MadgradState(count=count, squares=squares, sums=sums, origin=state.origin)

    return optax.GradientTransformation(init, update)
