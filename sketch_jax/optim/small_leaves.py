"""Many small leaves as a few vectors while an optimizer works on them.

A convolutional network has hundreds of scales, biases and small kernels. An update of each by itself is a
handful of kernels a leaf: to compile, to launch, to wait for. As one vector they are a handful in all.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import optax
from jax import numpy as jnp

from sketch_jax.trees import Tree, flatten, map_with_path, unflatten

SMALL_ELEMENTS = 2**16
"""Leaves of fewer elements are packed; larger ones keep a device busy by themselves. Another number makes
another optimizer state: checkpoints of before then fit no more."""

GroupOf = Callable[[str, Any], str | None]
"""(path, leaf) -> name of the group of a small leaf; None: the leaf is never packed."""

OptimizerOf = Callable[[Tree], optax.GradientTransformation]
"""Treatments, a tree like the parameters' -> the optimizer of these."""


def grouped_paths(tree: Mapping[str, Any], group_of: GroupOf) -> dict[str, list[str]]:
    """Paths of the small leaves by group, in alphabetical order, whatever the order of the tree."""
    groups: dict[str, list[str]] = {}
    for path, leaf in sorted(flatten(tree).items(), key=lambda item: item[0]):
        group = group_of(path, leaf) if is_small(leaf) else None
        if group is not None:
            groups.setdefault(group, []).append(path)
    return groups


def is_small(leaf: Any) -> bool:
    """Whether a leaf is packed with others."""
    return math.prod(leaf.shape) < SMALL_ELEMENTS


def pack(tree: Mapping[str, Any], group_of: GroupOf) -> Tree:
    """The small leaves of each group as one vector, beside the large leaves.

    Args:
        tree: nested dictionaries of float32 arrays.
        group_of: groups of small leaves.

    Returns:
        {"small": {group: vector}, "large": the other leaves where they were}.

    >>> packed = pack({"a": jnp.ones(2), "b": {"c": jnp.zeros((1, 1))}}, lambda path, leaf: "all")
    >>> packed["small"]["all"].tolist(), packed["large"]
    ([1.0, 1.0, 0.0], {})
    """
    leaves = flatten(tree)
    groups = grouped_paths(tree, group_of)
    vectors = {
        group: jnp.concatenate([leaves[path].reshape(-1) for path in paths])
        for group, paths in groups.items()
    }
    return {"small": vectors, "large": _ungrouped(leaves, groups)}


def pack_treatments(
    tree: Mapping[str, Any], group_of: GroupOf, treatment_of: Callable[[str, Any], Any]
) -> Tree:
    """How the leaves of a packed tree are treated.

    Args:
        tree: the leaves before they are packed.
        group_of: groups of small leaves that are treated alike.
        treatment_of: (path, leaf) -> its treatment.
    """
    leaves = flatten(tree)
    groups = grouped_paths(tree, group_of)
    small = {group: treatment_of(paths[0], leaves[paths[0]]) for group, paths in groups.items()}
    return {"small": small, "large": map_with_path(treatment_of, _ungrouped(leaves, groups))}


def _ungrouped(leaves: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Tree:
    packed = {path for paths in groups.values() for path in paths}
    return unflatten({path: leaf for path, leaf in leaves.items() if path not in packed})


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
    optimizer_of: OptimizerOf, group_of: GroupOf, treatment_of: Callable[[str, Any], Any]
) -> optax.GradientTransformation:
    """An optimizer that works on packed trees, for trees as they are; its state stays packed.

    Args:
        optimizer_of: makes one that is elementwise but for norms over all leaves; it sees
            `{"small": …, "large": …}`.
        group_of: groups of small leaves that are treated alike.
        treatment_of: (path, leaf) -> its treatment.
    """

    def optimizer(params: Any) -> optax.GradientTransformation:
        return optimizer_of(pack_treatments(params, group_of, treatment_of))

    def init(params: Any) -> Any:
        return optimizer(params).init(pack(params, group_of))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        packed: Any
        packed, state = optimizer(params).update(pack(updates, group_of), state, pack(params, group_of))
        return unpack(packed, updates, group_of), state

    return optax.GradientTransformation(init, update)


def with_leaves_as_they_are(
    optimizer_of: OptimizerOf, treatment_of: Callable[[str, Any], Any]
) -> optax.GradientTransformation:
    """An optimizer that works on each leaf by itself.

    Args:
        optimizer_of: makes one, from treatments.
        treatment_of: (path, leaf) -> its treatment.
    """

    def optimizer(params: Any) -> optax.GradientTransformation:
        return optimizer_of(map_with_path(treatment_of, params))

    def init(params: Any) -> Any:
        return optimizer(params).init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return optimizer(params).update(updates, state, params)

    return optax.GradientTransformation(init, update)
