"""A bias of attention scores for each distance between two cells of a window.

References:
    timm/layers/pos_embed_rel.py.
"""

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.layers import TRUNCATED_NORMAL, Initializer

Pair = tuple[int, int]
Bias = Float[Array, "heads asking asked"]

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
        entries = distance_count(self.window) + PREFIX_ENTRIES * self.prefix_token
        table = self.param(
            "relative_position_bias_table", self.table_init, (entries, self.num_heads), jnp.float32
        )
        return table[distance_indices(self.window, self.prefix_token)].transpose(2, 0, 1)
