"""Limits to gradients: their global norm, their values, or their size beside the weights'."""

from typing import Any

import jax
import optax
from jax import numpy as jnp

from sketch_jax.optim.options import Descent
from sketch_jax.optim.treatments import Treatment, as_units, by_block, from_units
from sketch_jax.trees import Tree

SMALLEST_WEIGHT_NORM = 1e-3
"""Units of smaller norm are treated as if they had this one: else new, zero weights would never move."""

SMALLEST_GRADIENT_NORM = 1e-6


def clip(options: Descent, gradients: Tree, params: Tree, treatments: Tree) -> Tree:
    """The gradients within the limits that a user set; as they are where there is none."""
    limited: Any = gradients
    if options.clip_norm is not None:
        limited, _ = optax.clip_by_global_norm(options.clip_norm).update(gradients, optax.EmptyState())
    if options.clip_value is not None:
        limited, _ = optax.clip(options.clip_value).update(gradients, optax.EmptyState())
    if options.clip_ratio is not None:
        limited = clip_by_units(options.clip_ratio, gradients, params, treatments)
    return limited


def clip_by_units(ratio: float, gradients: Tree, params: Tree, treatments: Tree) -> Tree:
    """Limits the norm of each unit's gradient to a share of the norm of its weights; classifiers stay out.

    References:
        Brock et al., High-Performance Large-Scale Image Recognition Without Normalization (2021),
        equation 3; timm/utils/agc.py.
    """

    def clipped(treatment: Treatment, gradient: Any, weight: Any) -> Any:
        if treatment.classifies:
            return gradient

        def of_block(gradient: Any, weight: Any) -> Any:
            units = gradient.reshape(1, -1) if treatment.vector else as_units(gradient, treatment)
            weights = weight.reshape(1, -1) if treatment.vector else as_units(weight, treatment)
            limited = _limit(ratio, units, weights)
            return (
                limited.reshape(gradient.shape)
                if treatment.vector
                else from_units(limited, gradient, treatment)
            )

        return by_block(of_block, treatment)(gradient, weight)

    return jax.tree.map(clipped, treatments, gradients, params)


def _limit(ratio: float, gradients: Any, weights: Any) -> Any:
    largest = ratio * jnp.maximum(jnp.linalg.norm(weights, axis=1, keepdims=True), SMALLEST_WEIGHT_NORM)
    norms = jnp.linalg.norm(gradients, axis=1, keepdims=True)
    return jnp.where(
        norms < largest, gradients, gradients * largest / jnp.maximum(norms, SMALLEST_GRADIENT_NORM)
    )
