"""Nested dictionaries of arrays, addressed by paths such as `blocks_3/attn/qkv/kernel`."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

Tree = dict[str, Any]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by their path.

    >>> flatten({"stem": {"kernel": 1, "bias": 2}, "token": 3})
    {'stem/kernel': 1, 'stem/bias': 2, 'token': 3}
    """
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves |= flatten(value, f"{path}/") if isinstance(value, Mapping) else {path: value}
    return leaves


def unflatten(leaves: Mapping[str, Any]) -> Tree:
    """The tree whose leaves have these paths; the inverse of `flatten`.

    >>> unflatten({"stem/kernel": 1, "token": 3})
    {'stem': {'kernel': 1}, 'token': 3}
    """
    tree: Tree = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def lies_under(path: str, places: tuple[str, ...]) -> bool:
    """Whether a parameter's path is one of these places or within one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def map_with_path(function: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> Tree:
    """The tree of `function(path, leaf)` over all leaves."""
    return unflatten({path: function(path, leaf) for path, leaf in flatten(tree).items()})


def separate(tree: Mapping[str, Any], is_chosen: Callable[[str], bool]) -> tuple[Tree, Tree]:
    """The leaves whose paths are chosen, and the others; a branch without a leaf is in neither.

    >>> separate({"stem": {"kernel": 1, "bias": 2}, "head": {"bias": 3}}, lambda path: path.endswith("bias"))
    ({'stem': {'bias': 2}, 'head': {'bias': 3}}, {'stem': {'kernel': 1}})
    """
    leaves = flatten(tree)
    chosen = {path: leaf for path, leaf in leaves.items() if is_chosen(path)}
    others = {path: leaf for path, leaf in leaves.items() if path not in chosen}
    return unflatten(chosen), unflatten(others)


def join(first: Mapping[str, Any], second: Mapping[str, Any]) -> Tree:
    """The tree with the leaves of both; the inverse of `separate`.

    Raises:
        ValueError: a path is in both.

    >>> join({"head": {"bias": 3}}, {"head": {"kernel": 4}})
    {'head': {'bias': 3, 'kernel': 4}}
    """
    leaves, others = flatten(first), flatten(second)
    if both := leaves.keys() & others.keys():
        raise ValueError(f"{sorted(both)[0]} is in both trees")
    return unflatten(leaves | others)


STACKED = "blocks"
"""Name of the subtree with the parameters of all blocks, `blocks_0` and so on, along a new first axis."""


def stack(trees: Sequence[Any]) -> Any:
    """One tree from trees of equal shapes: leaves along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def stack_blocks(tree: Mapping[str, Any]) -> Tree:
    """A tree of parameters with those of all blocks stacked.

    >>> stack_blocks({"blocks_1": {"bias": 7}, "blocks_0": {"bias": 5}})["blocks"]["bias"].tolist()
    [5, 7]
    """
    count = sum(name.startswith(f"{STACKED}_") for name in tree)
    rest = {name: value for name, value in tree.items() if not name.startswith(f"{STACKED}_")}
    return {**rest, STACKED: stack([tree[f"{STACKED}_{index}"] for index in range(count)])}


def unstack_blocks(tree: Mapping[str, Any]) -> Tree:
    """The inverse of `stack_blocks`; leaves may be shapes; a tree that is not stacked stays as it is."""
    if STACKED not in tree:
        return dict(tree)
    leaves = jax.tree.leaves(tree[STACKED])
    blocks = {
        f"{STACKED}_{index}": jax.tree.map(functools.partial(_entry, index=index), tree[STACKED])
        for index in range(leaves[0].shape[0])
    }
    return {name: value for name, value in tree.items() if name != STACKED} | blocks


def _entry(leaf: Any, index: int) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=leaf.sharding)
    return leaf[index]


def stacked_path(path: str) -> str:
    """The path of a parameter where those of all blocks are stacked.

    >>> stacked_path("blocks_11/mlp/fc1/bias"), stacked_path("head/bias")
    ('blocks/mlp/fc1/bias', 'head/bias')
    """
    return re.sub(rf"^{STACKED}_\d+/", f"{STACKED}/", path)


def own_dimensions(path: str, leaf: Any) -> int:
    """Axes of a parameter, without that along which blocks are stacked."""
    return leaf.ndim - path.startswith(f"{STACKED}/")


def count_elements(tree: Any) -> int:
    """Number of array elements over all leaves."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def count_bytes(tree: Any) -> int:
    """Bytes of all leaves."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
