"""AdamP and SGDP: steps that leave the length of scale-invariant weights alone."""

from typing import Any

import jax
import optax
from jax import numpy as jnp

from sketch_jax.optim.options import AdamP, Sgdp
from sketch_jax.optim.treatments import Treatment, as_units, by_block, from_units
from sketch_jax.trees import Tree


def adamp_steps(options: AdamP, treatments: Tree) -> optax.GradientTransformation:
    """Gradients -> steps in units of the learning rate, weight decay included.

    References:
        Heo et al., AdamP (2021), algorithm 2; timm/optim/adamp.py.
    """
    adam = optax.scale_by_adam(options.beta1, options.beta2, options.epsilon)
    inner = _looking_ahead(adam, options) if options.nesterov else adam
    return _with_projection(inner, options, options.weight_decay, treatments)


def sgdp_steps(options: Sgdp, treatments: Tree) -> optax.GradientTransformation:
    """Gradients -> steps in units of the learning rate, weight decay included.

    References:
        Heo et al., AdamP (2021), algorithm 1; timm/optim/sgdp.py.
    """
    inner = optax.trace(options.momentum, options.nesterov)
    return _with_projection(inner, options, options.weight_decay / (1 - options.momentum), treatments)


def _looking_ahead(adam: optax.GradientTransformation, options: AdamP) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        directions, state = adam.update(updates, state, params)
        share = (1 - options.beta1) / (1 - options.beta1**state.count)

        def ahead(direction: Any, gradient: Any, square: Any) -> Any:
            size = jnp.sqrt(square / (1 - options.beta2**state.count)) + options.epsilon
            return options.beta1 * direction + share * gradient / size

        return jax.tree.map(ahead, directions, updates, state.nu), state

    return optax.GradientTransformation(adam.init, update)


def _with_projection(
    inner: optax.GradientTransformation, options: AdamP | Sgdp, decay: float, treatments: Tree
) -> optax.GradientTransformation:
    def step(treatment: Treatment, gradient: Any, direction: Any, weight: Any) -> Any:
        own_decay = decay if treatment.decays else 0.0
        if treatment.vector:
            return direction + own_decay * weight

        def of_block(gradient: Any, direction: Any, weight: Any) -> Any:
            units = (as_units(array, treatment) for array in (weight, gradient, direction))
            projected, invariant = project(*units, delta=options.delta, epsilon=options.epsilon)
            share = jnp.where(invariant, options.decay_ratio, 1.0)
            return from_units(projected, weight, treatment) + own_decay * share * weight

        return by_block(of_block, treatment)(gradient, direction, weight)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        directions, state = inner.update(updates, state, params)
        return jax.tree.map(step, treatments, updates, directions, params), state

    return optax.GradientTransformation(inner.init, update)


def project(
    weights: Any, gradients: Any, directions: Any, *, delta: float, epsilon: float
) -> tuple[Any, Any]:
    """Takes out of the directions what lies along scale-invariant weights.

    Each unit by itself is looked at first, then all of them as one vector.

    Args:
        weights: [units, weights of a unit].
        gradients: at these weights.
        directions: to project.
        delta: cosine, times the root of the number of weights, below which they are scale-invariant.
        epsilon: added to norms of weights.

    Returns:
        Directions, and whether the weights were found scale-invariant.
    """
    units = _tangential(weights, gradients, directions, delta, epsilon)
    whole = _tangential(
        weights.reshape(1, -1), gradients.reshape(1, -1), directions.reshape(1, -1), delta, epsilon
    )
    projected = jnp.where(whole[1], whole[0].reshape(directions.shape), directions)
    return jnp.where(units[1], units[0], projected), units[1] | whole[1]


def _tangential(
    weights: Any, gradients: Any, directions: Any, delta: float, epsilon: float
) -> tuple[Any, Any]:
    lengths = jnp.linalg.norm(weights, axis=1)
    sizes = jnp.maximum(lengths, epsilon) * jnp.maximum(jnp.linalg.norm(gradients, axis=1), epsilon)
    cosines = jnp.abs(jnp.sum(weights * gradients, axis=1)) / sizes
    radial = weights / (lengths[:, None] + epsilon)
    along = jnp.sum(radial * directions, axis=1, keepdims=True)
    return directions - radial * along, jnp.max(cosines) < delta / weights.shape[1] ** 0.5
