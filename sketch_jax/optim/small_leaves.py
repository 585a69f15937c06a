"""Many small leaves as a few vectors while an optimizer works on them.

A convolutional network has hundreds of scales, biases and small kernels. An update of each by itself is a
handful of kernels a leaf: to compile, to launch, to wait for. As one vector they are a handful in all.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import optax
from jax import numpy as jnp

from sketch_jax.trees import Tree, flatten, unflatten

SMALL_ELEMENTS = 2**16
"""Leaves of fewer elements are packed; larger ones keep a device busy by themselves. Another number makes
another optimizer state: checkpoints of before then fit no more."""

GroupOf = Callable[[str, Any], str]


def grouped_paths(tree: Mapping[str, Any], group_of: GroupOf) -> dict[str, list[str]]:
    """Paths of the small leaves by group, in alphabetical order, whatever the order of the tree."""
    groups: dict[str, list[str]] = {}
    for path, leaf in sorted(flatten(tree).items(), key=lambda item: item[0]):
        if is_small(leaf):
            groups.setdefault(group_of(path, leaf), []).append(path)
    return groups


def is_small(leaf: Any) -> bool:
    """Whether a leaf is packed with others."""
    return math.prod(leaf.shape) < SMALL_ELEMENTS


def pack(tree: Mapping[str, Any], group_of: GroupOf) -> Tree:
    """The small leaves of each group as one vector, beside the large leaves.

    Args:
        tree: nested dictionaries of float32 arrays.
        group_of: (path, leaf) -> name of the group of a small leaf.

    Returns:
        {"small": {group: vector}, "large": the other leaves where they were}.

    >>> packed = pack({"a": jnp.ones(2), "b": {"c": jnp.zeros((1, 1))}}, lambda path, leaf: "all")
    >>> packed["small"]["all"].tolist(), packed["large"]
    ([1.0, 1.0, 0.0], {})
    """
    leaves = flatten(tree)
    vectors = {
        group: jnp.concatenate([leaves[path].reshape(-1) for path in paths])
        for group, paths in grouped_paths(tree, group_of).items()
    }
    large = {path: leaf for path, leaf in leaves.items() if not is_small(leaf)}
    return {"small": vectors, "large": unflatten(large)}


def unpack(packed: Tree, like: Mapping[str, Any], group_of: GroupOf) -> Tree:
    """The inverse of `pack`.

    Args:
        packed: what `pack` made, or values of the same shapes.
        like: leaves with the shapes to come back to, such as those that were packed.
        group_of: as it was for packing.
    """
    shapes = {path: leaf.shape for path, leaf in flatten(like).items()}
    found = flatten(packed["large"])
    for group, paths in grouped_paths(like, group_of).items():
        first = 0
        for path in paths:
            last = first + math.prod(shapes[path])
            found[path] = packed["small"][group][first:last].reshape(shapes[path])
            first = last
    return unflatten({path: found[path] for path in shapes})


def with_packed_leaves(
    optimizer: optax.GradientTransformation, group_of: GroupOf
) -> optax.GradientTransformation:
    """An optimizer that works on packed trees, for trees as they are; its state stays packed.

    Args:
        optimizer: elementwise but for norms over all leaves; sees `{"small": …, "large": …}`.
        group_of: (path, leaf) -> name of the group of a small leaf.
    """

    def init(params: Any) -> Any:
        return optimizer.init(pack(params, group_of))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        packed_params = None if params is None else pack(params, group_of)
        packed: Any
        packed, state = optimizer.update(pack(updates, group_of), state, packed_params)
        return unpack(packed, updates, group_of), state

    return optax.GradientTransformation(init, update)
