"""Mixing within windows that may lie shifted, and merging squares of cells: what both Swin generations share.

References:
    Swin Transformer (arXiv:2103.14030); timm/models/swin_transformer.py.
"""

from collections.abc import Callable

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.pooling import NewMap
from sketch_jax.models.windows import Cells, FeatureMap, Pair, cut_windows, join_windows

Mask = Float[Array, "kinds 1 asking asked"]
"""Added to attention scores, for each window of an image."""

APART = -100.0
"""Added to the score of cells that are neighbours in a shifted window alone."""


def mix_in_windows(
    features: FeatureMap, window: Pair, shift: Pair, mix: Callable[[Cells, Mask | None], Cells]
) -> FeatureMap:
    """Mixes the cells of each window; a map that windows do not divide is padded with zeros for that.

    Args:
        features: of any size.
        window: height and width in cells.
        shift: how far down and right the windows lie shifted; what leaves the map returns on the other side.
        mix: (cells, mask) -> mixed cells; the mask keeps apart what the shift brought together; None:
            windows are not shifted.
    """
    height, width = features.shape[1:3]
    shifts = any(shift)
    rolled = jnp.roll(features, (-shift[0], -shift[1]), (1, 2)) if shifts else features
    padded = jnp.pad(rolled, ((0, 0), (0, -height % window[0]), (0, -width % window[1]), (0, 0)))
    size = padded.shape[1], padded.shape[2]
    mixed = mix(cut_windows(padded, window), shift_mask(size, window, shift) if shifts else None)
    joined = join_windows(mixed, window, size)[:, :height, :width]
    return jnp.roll(joined, shift, (1, 2)) if shifts else joined


def shift_mask(size: Pair, window: Pair, shift: Pair) -> Mask:
    """Keeps cells apart that come from different sides of a shifted map.

    Args:
        size: height and width of the map in cells, multiples of the window's.
        window: height and width in cells.
        shift: how far down and right the windows lie shifted.
    """
    rows, columns = map(shift_regions, size, window, shift)
    regions = jnp.asarray(rows[:, None] * rows.size + columns[None, :], jnp.float32)
    cells = cut_windows(regions[None, :, :, None], window)
    return jnp.where(cells == cells.transpose(0, 2, 1), 0.0, APART)[:, None]


def shift_regions(size: int, window: int, shift: int) -> np.ndarray:
    """The number of the region that each row or column of a shifted map is of.

    >>> shift_regions(6, 3, 1).tolist(), shift_regions(6, 3, 0).tolist()
    ([0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0])
    """
    places = np.arange(size)
    return np.where(places < size - shift, places >= size - window, 2) if shift else np.zeros_like(places)


def gather_squares(features: FeatureMap) -> NewMap:
    """The cells of each square of 2 by 2 side by side: left ones first, of these the upper first.

    An odd last row or column is filled up with zeros.
    """
    batch, height, width, channels = features.shape
    padded = jnp.pad(features, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    squares = padded.reshape(batch, rows, 2, columns, 2, channels).transpose(0, 1, 3, 4, 2, 5)
    return squares.reshape(batch, rows, columns, 4 * channels)
