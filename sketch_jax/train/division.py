"""The division of a model's parameters: the leaves that are trained, and those that the step only reads."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Key

from sketch_jax.errors import InputError
from sketch_jax.models.low_rank import create_factors, merge_factors
from sketch_jax.models.model import Model
from sketch_jax.models.trained_parameters import low_rank_targets, stack_paths, trained_paths
from sketch_jax.models.tuning_options import Lora, StageTuning
from sketch_jax.trees import STACKED, Tree, flatten, join, map_with_path, separate, unflatten, unstack_blocks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Division:
    """Which leaves are trained, in the layout of training."""

    trained: frozenset[str]
    """Paths of the model's own parameters."""
    low_rank: Lora | None = None
    """The low-rank changes; None: there are none."""
    changed: frozenset[str] = frozenset()
    """Paths of the kernels that low-rank changes are added to."""

    def is_trained(self, path: str) -> bool:
        """Whether the model's own parameter at a path is trained."""
        return path in self.trained


def divide(tuning: StageTuning, model: Model, params: Mapping[str, Any]) -> Division:
    """What a choice comes to for a model.

    Args:
        tuning: the choice.
        model: any.
        params: arrays or shapes of all parameters; those of blocks may be stacked.

    Raises:
        InputError: the choice does not suit the model, or not stacked blocks.
    """
    paths = list(flatten(unstack_blocks(params)))
    trained = trained_paths(tuning, model, paths)
    changed = low_rank_targets(tuning, paths) - trained if isinstance(tuning, Lora) else frozenset()
    if STACKED in params:
        trained, changed = stack_paths(trained, paths), stack_paths(changed, paths)
    return Division(trained=trained, low_rank=tuning if isinstance(tuning, Lora) else None, changed=changed)


def begin(division: Division, params: Mapping[str, Any], key: Key[Array, ""]) -> tuple[Tree, Tree]:
    """The two trees that training begins with: trainable, and frozen.

    Args:
        division: of the parameters.
        params: of the whole model.
        key: of what low-rank changes begin with.
    """
    trainable, frozen = separate(params, division.is_trained)
    if division.low_rank is None:
        return trainable, frozen
    kernels = {path: leaf for path, leaf in flatten(frozen).items() if path in division.changed}
    return join(trainable, create_factor_tree(kernels, division.low_rank.rank, key)), frozen


def create_factor_tree(kernels: Mapping[str, Any], rank: int, key: Key[Array, ""]) -> Tree:
    """New factors of low-rank changes, computed on the devices in one program."""
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in kernels.items()}
    factors = jax.jit(lambda key: create_factors(shapes, rank, key))(key)
    return unflatten(factors)


def whole(division: Division, trainable: Mapping[str, Any], frozen: Mapping[str, Any]) -> Tree:
    """The parameters of the model, float32: both trees joined, low-rank changes added to their kernels."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), join(trainable, frozen))
    return params if division.low_rank is None else merge_factors(params, division.low_rank.alpha)


def overlay(params: Mapping[str, Any], trainable: Mapping[str, Any]) -> Tree:
    """The parameters with the values of what was trained in place of the start's; factors are left out."""
    values = flatten(trainable)
    return map_with_path(lambda path, leaf: values.get(path, leaf), params)


def keep_frozen_as(params: Mapping[str, Any], divisions: Sequence[Division], dtype: Any) -> Tree:
    """The parameters with those that no division trains in another type."""
    trained = frozenset().union(*(division.trained for division in divisions))
    return map_with_path(lambda path, leaf: leaf if path in trained else leaf.astype(dtype), params)


def refuse_shrinking(divisions: Sequence[Division]) -> None:
    """Checks that each division trains what the one before it does.

    Raises:
        InputError: one does not.
    """
    for number, (earlier, later) in enumerate(itertools.pairwise(divisions), 2):
        if lost := sorted(earlier.trained - later.trained):
            raise InputError(
                f"--tuning.stages: stage {number} freezes what stage {number - 1} trains, such as {lost[0]}; "
                "checkpoints hold trained values alone, so let each stage train all that earlier ones did"
            )
