"""A bias of attention scores for each distance between two cells of a window.

References:
    timm/layers/pos_embed_rel.py.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.errors import InputError
from sketch_jax.models.layers import TRUNCATED_NORMAL, Initializer
from sketch_jax.models.positions import resize_plane
from sketch_jax.trees import Tree, map_with_path

Pair = tuple[int, int]
Bias = Float[Array, "heads asking asked"]
Table = Float[Array, "entries heads"]

TABLE = "relative_position_bias_table"

PREFIX_ENTRIES = 3
"""Entries of a table for the token before the cells: it asks, is asked, asks itself."""


def distance_count(window: Pair) -> int:
    """Distances, down and right, that two cells of a window can have.

    >>> distance_count((2, 3))
    15
    """
    return (2 * window[0] - 1) * (2 * window[1] - 1)


def distance_indices(window: Pair, prefix_token: bool = False) -> Int[np.ndarray, "asking asked"]:
    """The entry of a table for each pair of a window's cells.

    Args:
        window: height and width in cells.
        prefix_token: whether a token stands before the cells, with the last `PREFIX_ENTRIES`.

    >>> distance_indices((1, 2)).tolist()
    [[1, 0], [2, 1]]
    """
    rows, columns = np.divmod(np.arange(window[0] * window[1]), window[1])
    down = rows[:, None] - rows[None, :] + window[0] - 1
    right = columns[:, None] - columns[None, :] + window[1] - 1
    indices = down * (2 * window[1] - 1) + right
    if not prefix_token:
        return indices
    first = distance_count(window)
    indices = np.pad(indices, ((1, 0), (1, 0)))
    indices[0, :], indices[:, 0], indices[0, 0] = first, first + 1, first + 2
    return indices


def create_bias_table(
    module: nn.Module,
    window: Pair,
    num_heads: int,
    prefix_token: bool = False,
    init: Initializer = TRUNCATED_NORMAL,
) -> Table:
    """Makes, in a module, the parameter `relative_position_bias_table`: a bias for each distance and head.

    Args:
        module: what the parameter belongs to.
        window: height and width in cells.
        num_heads: of the attention.
        prefix_token: whether a token stands before the cells.
        init: start of the biases.
    """
    entries = distance_count(window) + PREFIX_ENTRIES * prefix_token
    return module.param(TABLE, init, (entries, num_heads), jnp.float32)


def look_up_bias(table: Table, window: Pair, prefix_token: bool = False) -> Bias:
    """The bias of each pair of cells, from a table of that window; arguments as for `create_bias_table`."""
    return table[distance_indices(window, prefix_token)].transpose(2, 0, 1)


class RelativePositionBias(nn.Module):
    """A learnt bias for each head and distance; parameter `relative_position_bias_table` [entries, heads].

    Attributes:
        window: height and width in cells.
        num_heads: of the attention.
        prefix_token: whether a token stands before the cells.
    """

    window: Pair
    num_heads: int
    prefix_token: bool = False
    table_init: Initializer = TRUNCATED_NORMAL

    @nn.compact
    def __call__(self) -> Bias:
        """The bias of each pair, float32."""
        table = create_bias_table(self, self.window, self.num_heads, self.prefix_token, self.table_init)
        return look_up_bias(table, self.window, self.prefix_token)


def resize_bias_table(
    table: np.ndarray | Array, window: Pair, prefix_token: bool = False
) -> Float[np.ndarray | Array, "entries heads"]:
    """A table of biases for another window; those of the token before the cells are kept.

    Args:
        table: may be traced; of a square window, or of one with as many distances as the new one's.
        window: the new height and width in cells.
        prefix_token: whether a token stands before the cells.

    Raises:
        InputError: the table is of no such window.

    References:
        `resize_rel_pos_bias_table` of timm/layers/pos_embed_rel.py.
    """
    count = table.shape[0] - PREFIX_ENTRIES * prefix_token
    side, new = math.isqrt(max(count, 0)), (2 * window[0] - 1, 2 * window[1] - 1)
    old = (side, side) if side**2 == count and side % 2 else new
    if old[0] * old[1] != count:
        raise InputError(
            f"relative_position_bias_table: {table.shape[0]} entries are not of a square window; take "
            f"weights of a square window, or of one of {window[0]}x{window[1]} cells"
        )
    if old == new:
        return table
    distances, rest = table[:count], table[count:]
    resized = resize_distances(distances.reshape(*old, -1), new).reshape(-1, table.shape[1])
    join = np.concatenate if isinstance(table, np.ndarray) else jnp.concatenate
    return join([resized, rest.astype(np.float32)])


def resize_bias_tables(params: Tree, windows: Mapping[str, Pair], prefix_token: bool = False) -> Tree:
    """Pretrained parameters with the tables of all attentions for other windows.

    Args:
        params: without some of the tables, too; everything else is left as it is.
        windows: height and width in cells, by the first part of the paths of tables that they are for.
        prefix_token: whether a token stands before the cells.

    Raises:
        InputError: a table is of no window that it can be resized from.
    """

    def fit(path: str, leaf: Any) -> Any:
        window = windows.get(path.partition("/")[0])
        if window is None or not path.endswith(f"/{TABLE}"):
            return leaf
        return resize_bias_table(leaf, window, prefix_token)

    return map_with_path(fit, params)


def resize_distances(
    values: Float[np.ndarray | Array, "down right heads"], size: Pair
) -> Float[np.ndarray | Array, "new_down new_right heads"]:
    """Biases of all distances down and right, for another count of distances.

    Args:
        values: of distances from far up to far down, and from far left to far right.
        size: the new counts, odd.
    """
    down, right = (distance_weights(old, new) for old, new in zip(values.shape[:2], size, strict=True))
    return resize_plane(down, right, values)


def distance_weights(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """The matrix that resizes the biases of the distances along an axis.

    The old distances are spread out, the farther apart the farther they are, until they reach as far as the
    new ones or the ratio of their gaps is 1.5; between two of them, biases are interpolated linearly, beyond
    the last they stay the same.

    Args:
        old: distances before, odd.
        new: distances after, odd.

    >>> distance_weights(3, 5).tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    positive = np.cumsum(_spread(old // 2, new // 2) ** np.arange(old // 2))
    places = np.concatenate([-positive[::-1], [0.0], positive]).astype(np.float32)
    wanted = np.arange(new, dtype=np.float32) - new // 2
    right = np.minimum(np.searchsorted(places, wanted), old - 1)
    left = np.maximum(right - 1, 0)
    past_left, short_of_right = (
        np.maximum(gap, 0.0) for gap in (wanted - places[left], places[right] - wanted)
    )
    span = past_left + short_of_right
    share = np.divide(past_left, span, out=np.ones_like(span), where=span > 0.0)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new), left), 1.0 - share)
    np.add.at(matrix, (np.arange(new), right), share)
    return matrix


def _spread(steps: int, reach: int) -> float:
    """The ratio, from 1.01 to 1.5, of a geometric series of so many steps from 1 on that sums to `reach`."""
    least, most, ratio = 1.01, 1.5, 1.0
    while most - least > 1e-6:
        ratio = (least + most) / 2.0
        if (1.0 - ratio**steps) / (1.0 - ratio) > reach:
            most = ratio
        else:
            least = ratio
    return ratio
