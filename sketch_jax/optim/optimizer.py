"""Optimizers as optax transformations, with the rule which weights decay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jaxtyping import Array, Float

from sketch_jax.optim.options import AdamW
from sketch_jax.optim.small_leaves import pack, with_packed_leaves
from sketch_jax.trees import Tree, map_with_path, own_dimensions

RateOf = Callable[[str], float | tuple[float, ...]]

UNDECAYED = ("cls_token", "dist_token", "reg_token", "pos_embed")


def is_decayed(path: str, leaf: Any) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to norms, biases, tokens and positions.

    References:
        timm/optim/_param_groups.py and the models' `no_weight_decay`.
    """
    return own_dimensions(path, leaf) > 1 and path.rsplit("/", 1)[-1] not in UNDECAYED


def decay_group(path: str, leaf: Any) -> str:
    """The small leaves that an update treats alike (`packing`)."""
    return "decayed" if is_decayed(path, leaf) else "undecayed"


def decay_mask(packed: Tree) -> Tree:
    """The tree of bools that tells which leaves of a packed tree decay."""
    small = {group: group == "decayed" for group in packed["small"]}
    return {"small": small, "large": map_with_path(is_decayed, packed["large"])}


def global_norm(gradients: Tree) -> Float[Array, ""]:
    """The Euclidean norm over all leaves; the one that clipping looks at."""
    return optax.tree.norm(pack(gradients, decay_group))


def create_optimizer(
    options: AdamW, schedule: optax.Schedule, rate_of: RateOf = lambda path: 1.0
) -> optax.GradientTransformation:
    """The transformation from gradients to updates; its state has small leaves packed.

    Args:
        options: numbers of the optimizer.
        schedule: learning rate by step.
        rate_of: factor of the learning rate by path; a tuple of one a block where blocks are stacked.

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019), algorithm 2.
    """
    adamw = optax.adamw(
        schedule,
        b1=options.beta1,
        b2=options.beta2,
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        mask=decay_mask,
    )
    if options.clip_norm is not None:
        adamw = optax.chain(optax.clip_by_global_norm(options.clip_norm), adamw)
    return optax.chain(with_packed_leaves(adamw, decay_group), scale_updates(rate_of))


def scale_updates(rate_of: RateOf) -> optax.GradientTransformation:
    """Multiplies the update of each leaf, decay of weights included, by the factor of its path."""

    def scale(path: str, leaf: Any) -> Any:
        factor = np.asarray(rate_of(path), np.float32)
        return leaf if (factor == 1.0).all() else leaf * factor.reshape(-1, *[1] * (leaf.ndim - 1))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return map_with_path(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
