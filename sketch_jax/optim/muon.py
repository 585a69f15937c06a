"""Muon: steps that are orthogonal matrices."""

import functools
import math
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.optim.options import Muon
from sketch_jax.optim.treatments import Treatment, as_units, by_block, from_units
from sketch_jax.trees import Tree

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a quintic that drives singular values towards 1 as fast as may be; most end within 0.7 to 1.2."""

SMALLEST_NORM = 1e-7


def muon_directions(options: Muon, treatments: Tree) -> optax.GradientTransformation:
    """Gradients -> directions: Muon's for hidden matrices and kernels, Adam's for the rest.

    References:
        Keller Jordan, Muon: An optimizer for hidden layers in neural networks (2024); torch/optim/_muon.py.
    """
    hidden = jax.tree.map(lambda treatment: treatment if treatment.hidden else optax.MaskedNode(), treatments)
    return optax.partition(
        {
            "muon": orthogonal_momentum(options, hidden),
            "adam": optax.scale_by_adam(options.beta1, options.beta2, options.epsilon),
        },
        jax.tree.map(lambda treatment: "muon" if treatment.hidden else "adam", treatments),
    )


def orthogonal_momentum(options: Muon, treatments: Tree) -> optax.GradientTransformation:
    """Gradients -> their running means, made orthogonal; all leaves are matrices or kernels.

    optax.contrib's Muon corrects the mean for its start before it looks ahead, Keller Jordan's and torch's
    does not.
    """
    average = optax.ema(options.momentum, debias=False)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        means, state = average.update(updates, state)
        if options.nesterov:
            means = jax.tree.map(
                lambda mean, gradient: options.momentum * mean + (1 - options.momentum) * gradient,
                means,
                updates,
            )

        def orthogonal(treatment: Treatment, mean: Any) -> Any:
            return by_block(functools.partial(_of_block, options, treatment), treatment)(mean)

        return jax.tree.map(orthogonal, treatments, means), state

    return optax.GradientTransformation(average.init, update)


def _of_block(options: Muon, treatment: Treatment, mean: Any) -> Any:
    units = as_units(mean, treatment)
    outputs, inputs = units.shape
    scales = {"adamw": 0.2 * math.sqrt(max(outputs, inputs)), "shape": math.sqrt(max(1.0, outputs / inputs))}
    return from_units(scales[options.scale] * orthogonalize(units, options.iterations), mean, treatment)


def orthogonalize(matrix: Float[Array, "rows columns"], iterations: int) -> Float[Array, "rows columns"]:
    """A matrix with the singular vectors of another and singular values near 1."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T, iterations).T
    first, third, fifth = COEFFICIENTS
    result = matrix / jnp.maximum(jnp.linalg.norm(matrix), SMALLEST_NORM)
    for _ in range(iterations):
        gram = result @ result.T
        result = first * result + (third * gram + fifth * gram @ gram) @ result
    return result
