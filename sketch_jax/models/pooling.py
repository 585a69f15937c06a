"""Pooling of [batch, height, width, channels], with the borders of torch and timm."""

from collections.abc import Callable

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

FeatureMap = Float[Array, "batch height width channels"]
NewMap = Float[Array, "batch new_height new_width new_channels"]
"""A feature map of another size."""


def window_count(size: int, window: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Number of windows along an axis; the last one starts inside the input or its left padding.

    >>> window_count(7, 2, 2, 0, False), window_count(7, 2, 2, 0, True), window_count(5, 3, 2, 1, True)
    (3, 4, 3)
    """
    span = size + 2 * padding - window
    count = (-(-span // stride) if ceil_mode else span // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def cell_counts(
    size: int, window: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool
) -> Int[np.ndarray, " windows"]:
    """How many cells of each window along an axis count in its average.

    >>> cell_counts(5, 2, 2, 0, True, False).tolist()
    [2, 2, 1]
    >>> cell_counts(4, 3, 2, 1, False, False).tolist(), cell_counts(4, 3, 2, 1, False, True).tolist()
    ([2, 3], [3, 3])
    """
    starts = np.arange(window_count(size, window, stride, padding, ceil_mode)) * stride - padding
    border = padding if count_include_pad else 0
    return np.minimum(starts + window, size + border) - np.maximum(starts, -border)


def window_paddings(
    inputs: FeatureMap, window: int, stride: int, padding: int, ceil_mode: bool
) -> tuple[tuple[int, int], ...]:
    """Padding of the four axes before and after, so that plain windows reach as far as torch's."""
    axes = []
    for size in inputs.shape[1:3]:
        count = window_count(size, window, stride, padding, ceil_mode)
        axes.append((padding, max((count - 1) * stride + window - size - padding, 0)))
    return ((0, 0), *axes, (0, 0))


def average_pool(
    inputs: FeatureMap,
    window: int,
    stride: int,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> NewMap:
    """Mean of each window.

    Args:
        inputs: the feature map.
        window: cells.
        stride: cells.
        padding: cells on each of the four sides.
        ceil_mode: whether a last window that hangs over the border counts, averaged over its cells inside.
        count_include_pad: whether padding counts as cells of value 0.
    """
    _, *borders, _ = window_paddings(inputs, window, stride, padding, ceil_mode)
    # XLA's CPU compiler (jaxlib 0.10) counts the cell of a 1×1 map four times where a window of 2×2 hangs
    # over it, so a single window ends at the border instead.
    windows = [
        (size, (0, 0)) if size < window and border == (0, window - size) else (window, border)
        for size, border in zip(inputs.shape[1:3], borders, strict=True)
    ]
    (height, above), (width, beside) = windows
    sums = lax.reduce_window(
        inputs, 0.0, lax.add, (1, height, width, 1), (1, stride, stride, 1), ((0, 0), above, beside, (0, 0))
    )
    rows, columns = (
        cell_counts(size, window, stride, padding, ceil_mode, count_include_pad) for size in inputs.shape[1:3]
    )
    cells = rows[:, None, None] * columns[None, :, None]
    return sums / jnp.asarray(cells[None], inputs.dtype)


def halve(inputs: FeatureMap) -> NewMap:
    """Averages to half the height and width, rounded up; what hangs over the border does not count."""
    return average_pool(inputs, 2, 2, ceil_mode=True, count_include_pad=False)


def window_shares(size: int, count: int) -> Float[np.ndarray, "windows size"]:
    """How much each cell of an axis counts in each of so many means; windows overlap where they must.

    >>> window_shares(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    windows, cells = np.arange(count)[:, None], np.arange(size)[None]
    inside = (cells >= windows * size // count) & (cells < -(-(windows + 1) * size // count))
    return inside / inside.sum(1, keepdims=True)


def adaptive_average_pool(inputs: FeatureMap, height: int, width: int) -> NewMap:
    """Means of evenly spread windows, of as many rows and columns as wanted, also more than there are.

    Args:
        inputs: the feature map.
        height: rows of the outputs.
        width: columns of the outputs.

    References:
        torch.nn.functional.adaptive_avg_pool2d.
    """
    rows, columns = window_shares(inputs.shape[1], height), window_shares(inputs.shape[2], width)
    shares = jnp.asarray(rows, inputs.dtype), jnp.asarray(columns, inputs.dtype)
    return jnp.einsum("rh,bhwc,sw->brsc", shares[0], inputs, shares[1])


def blur_pool(inputs: FeatureMap, stride: int, mode: str) -> NewMap:
    """Blurs by the binomial filter (1, 2, 1) / 4 along both axes, then takes every `stride`-th cell.

    Args:
        inputs: the feature map.
        stride: cells.
        mode: what lies beyond the border, as `jnp.pad` names it: `reflect` or `constant` (zeros).

    References:
        Making Convolutional Networks Shift-Invariant Again (arXiv:1904.11486); timm/layers/blur_pool.py.
    """
    border = (stride + 1) // 2
    padded = jnp.pad(inputs, ((0, 0), (border, border), (border, border), (0, 0)), mode=mode)
    return _blurred(_blurred(padded, stride, 1), stride, 2)


def _blurred(padded: FeatureMap, stride: int, axis: int) -> NewMap:
    size = padded.shape[axis]
    left, middle, right = (
        lax.slice_in_dim(padded, offset, size - 2 + offset, stride, axis) for offset in range(3)
    )
    return (left + right) / 4 + middle / 2


ANTI_ALIASING: dict[str, Callable[..., NewMap]] = {
    "avg": lambda inputs, stride: average_pool(inputs, stride, stride),
    "blur": lambda inputs, stride: blur_pool(inputs, stride, "reflect"),
    "blurpc": lambda inputs, stride: blur_pool(inputs, stride, "constant"),
}
"""(inputs, stride) -> the smaller feature map, by timm's name of the anti-aliasing layer."""


def _average(features: FeatureMap) -> Float[Array, "batch channels"]:
    return features.mean((1, 2))


def _maximum(features: FeatureMap) -> Float[Array, "batch channels"]:
    return largest_values(features.reshape(features.shape[0], -1, features.shape[3]))


def largest_values(places: Float[Array, "batch place channels"]) -> Float[Array, "batch channels"]:
    """The maximum of each channel over all places.

    Its gradient goes to the first place that has it. That of `jnp.max` goes to all values that equal it,
    which are none where XLA computes them a second time and rounds otherwise: it is 0 / 0 then.
    """
    winners = jnp.argmax(places, axis=1, keepdims=True)
    return jnp.take_along_axis(places, winners, axis=1)[:, 0]


GLOBAL_POOLS: dict[str, Callable[[FeatureMap], Float[Array, "batch width"]]] = {
    "avg": _average,
    "max": _maximum,
    "avgmax": lambda features: (_average(features) + _maximum(features)) / 2,
    "catavgmax": lambda features: jnp.concatenate([_average(features), _maximum(features)], -1),
}
"""Feature map -> pooled features, by timm's `global_pool`."""


def pooled_width(channels: int, global_pool: str) -> int:
    """Width of the pooled features.

    >>> pooled_width(512, "avg"), pooled_width(512, "catavgmax")
    (512, 1024)
    """
    return channels * 2 if global_pool == "catavgmax" else channels
