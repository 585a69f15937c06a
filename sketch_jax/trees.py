"""Nested dictionaries of arrays, addressed by paths such as `blocks_3/attn/qkv/kernel`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

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


def map_with_path(function: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> Tree:
    """The tree of `function(path, leaf)` over all leaves."""
    return unflatten({path: function(path, leaf) for path, leaf in flatten(tree).items()})


def count_elements(tree: Any) -> int:
    """Number of array elements over all leaves."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def count_bytes(tree: Any) -> int:
    """Bytes of all leaves."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
