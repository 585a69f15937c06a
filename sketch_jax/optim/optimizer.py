"""Optimizers as optax transformations, with the rule which weights decay."""

from typing import Any

import optax

from sketch_jax.optim.options import AdamW
from sketch_jax.trees import Tree, map_with_path

UNDECAYED = ("cls_token", "dist_token", "reg_token", "pos_embed")


def is_decayed(path: str, leaf: Any) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to norms, biases, tokens and positions.

    References:
        timm/optim/_param_groups.py and the models' `no_weight_decay`.
    """
    return leaf.ndim > 1 and path.rsplit("/", 1)[-1] not in UNDECAYED


def decay_mask(params: Tree) -> Tree:
    """The tree of bools that tells which leaves decay."""
    return map_with_path(is_decayed, params)


def create_optimizer(options: AdamW, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The transformation from gradients to updates.

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
    if options.clip_norm is None:
        return adamw
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adamw)
