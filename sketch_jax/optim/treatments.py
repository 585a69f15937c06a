"""How an optimizer treats each parameter: whether it decays, its own rate, and what its axes are."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp

from sketch_jax.trees import STACKED, lies_under, own_dimensions

UNDECAYED = ("cls_token", "dist_token", "reg_token", "pos_embed")
UNDECAYED_PARTS = ("relative_position_bias_table", "cpb_mlp", "logit_scale", "rel_pos/mlp", "rope/freqs")
"""Of paths: what attention adds to its scores for distances, multiplies them by, and turns tokens by."""

CLASSIFIERS = ("head", "head_dist", "fc", "classifier")
"""Where the architectures keep what maps features to classes."""

MUON_SMALLEST_SIDE = 4
MUON_LARGEST_RATIO = 128

Rate = float | tuple[float, ...]
"""Factor of the learning rate; a tuple has one for each of the blocks that a leaf stacks."""

RateOf = Callable[[str], Rate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Treatment:
    """What an optimizer knows of a leaf beside its values."""

    decays: bool
    rate: Rate
    """Factor of the learning rate."""
    stacked: bool
    """Whether the first axis is that along which blocks are stacked."""
    vector: bool
    """Whether a block's own part has one axis or none."""
    kernel: bool
    """Whether the output axis is the last one; it is the first elsewhere."""
    classifies: bool
    """Whether it is part of a classifier."""
    hidden: bool
    """Whether it is a matrix or kernel between features, as Muon wants them."""


def rate_of_one(path: str) -> Rate:
    """The factor where all parameters have the schedule's rate."""
    return 1.0


def is_decayed(path: str, leaf: Any) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to norms, biases, tokens and positions.

    References:
        timm/optim/_param_groups.py and the models' `no_weight_decay`.
    """
    spared = path.rsplit("/", 1)[-1] in UNDECAYED or any(part in path for part in UNDECAYED_PARTS)
    return own_dimensions(path, leaf) > 1 and not spared


def is_hidden(path: str, leaf: Any) -> bool:
    """Whether Muon applies: to kernels, but not those of classifiers, those that read pixels, slender ones.

    References:
        Keller Jordan, Muon (2024), "empirical considerations"; the limits of shapes are those of
        timm/optim/muon.py.
    """
    own = leaf.shape[leaf.ndim - own_dimensions(path, leaf) :]
    if path.rsplit("/", 1)[-1] != "kernel" or len(own) < 2 or lies_under(path, CLASSIFIERS):
        return False
    *window, inputs, outputs = own
    if inputs == 1 or (window and inputs == 3):
        return False
    short, long = sorted((math.prod(own[:-1]), outputs))
    return short >= MUON_SMALLEST_SIDE and long / short <= MUON_LARGEST_RATIO


def treatment_of(path: str, leaf: Any, rate_of: RateOf) -> Treatment:
    """How the parameter at a path is treated.

    Args:
        path: of the parameter.
        leaf: an array or a shape.
        rate_of: path -> factor of the learning rate.

    Raises:
        ValueError: a tuple of rates has not one for each stacked block.
    """
    rate = rate_of(path)
    stacked = path.startswith(f"{STACKED}/")
    if isinstance(rate, tuple) and not (stacked and len(rate) == leaf.shape[0]):
        raise ValueError(
            f"{path}: {len(rate)} rates for a leaf of shape {leaf.shape}; give one a stacked block"
        )
    return Treatment(
        decays=is_decayed(path, leaf),
        rate=rate,
        stacked=stacked,
        vector=own_dimensions(path, leaf) < 2,
        kernel=path.rsplit("/", 1)[-1] == "kernel",
        classifies=lies_under(path, CLASSIFIERS),
        hidden=is_hidden(path, leaf),
    )


def own_rate(treatment: Treatment, rate: Any, leaf: Any) -> Any:
    """The learning rate of a leaf, of a shape that multiplies it."""
    if not isinstance(treatment.rate, tuple):
        return rate * treatment.rate
    return rate * jnp.asarray(treatment.rate, jnp.float32).reshape(-1, *[1] * (leaf.ndim - 1))


def by_block(function: Callable[..., Any], treatment: Treatment) -> Callable[..., Any]:
    """A function of one block's arrays, for leaves as they are: stacked blocks go through it one by one."""
    return jax.vmap(function) if treatment.stacked else function


def as_units(array: Any, treatment: Treatment) -> Any:
    """The weights of a block as [units, weights of a unit]; a unit makes one output."""
    if treatment.kernel:
        return array.reshape(-1, array.shape[-1]).T
    return array.reshape(array.shape[0], -1)


def from_units(units: Any, like: Any, treatment: Treatment) -> Any:
    """The inverse of `as_units`; `like` has the shape to come back to."""
    return (units.T if treatment.kernel else units).reshape(like.shape)
