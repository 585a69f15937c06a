"""What tells one Swin transformer of timm's from another, and what follows from it for each stage."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from sketch_jax.errors import InputError
from sketch_jax.models.layers import Norm
from sketch_jax.models.windows import Pair

TORCH_NORM = Norm(epsilon=1e-5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swin:
    """What tells one architecture from another; the fields are timm's arguments."""

    img_size: int = 224
    """Height and width of the images, in pixels."""
    patch_size: int = 4
    """Height and width of a patch, in pixels."""
    num_classes: int = 1000
    """Classes of the head; 0: no classifier, the answer is the pooled features."""
    global_pool: str = "avg"
    """How the last map becomes one vector: `avg`, `max`, `avgmax` or `catavgmax`."""
    embed_dim: int = 96
    """Channels of the first stage; each later one has twice as many as the one before."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of each stage."""
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    """Heads in each stage."""
    window_size: int | tuple[int | Pair, ...] = 7
    """Height and width of the windows in cells, one number for both; of all stages, or of each."""
    always_partition: bool = False
    """Whether windows keep their size and shift on maps that are smaller than a window, too."""
    mlp_ratio: float | tuple[float, ...] = 4.0
    """Hidden channels of a perceptron, to those of its stage; of all stages, or of each."""
    qkv_bias: bool = True
    """Whether queries and values have biases."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    proj_drop_rate: float = 0.0
    """Dropout after projections and in perceptrons."""
    attn_drop_rate: float = 0.0
    """Dropout of attention weights."""
    drop_path_rate: float = 0.0
    """Rate of left-out residual branches in the last block; grows from 0 in the first."""
    norm_layer: Norm = TORCH_NORM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What the blocks of a stage share."""

    index: int
    """From 0; all but the first start by merging squares of cells."""
    width: int
    """Channels."""
    num_heads: int
    window: Pair
    """Height and width of the windows, in cells."""
    shift: Pair
    """How far every second block's windows lie shifted."""
    mlp_ratio: float
    drop_paths: tuple[float, ...]
    """Rate of each block."""


def plan_stages(architecture: Swin) -> list[Stage]:
    """The stages of an architecture at its image size.

    Raises:
        InputError: the windows are not those of so many stages.
    """
    depths, grid = architecture.depths, architecture.img_size // architecture.patch_size
    rates = np.linspace(0.0, architecture.drop_path_rate, sum(depths))
    drop_paths = np.split(rates, np.cumsum(depths)[:-1])
    sizes = [-(-grid // 2**index) for index in range(len(depths))]
    windows = [
        place_windows(window, size, architecture.always_partition)
        for window, size in zip(window_sizes(architecture.window_size, len(depths)), sizes, strict=True)
    ]
    return [
        Stage(
            index=index,
            width=architecture.embed_dim * 2**index,
            num_heads=architecture.num_heads[index],
            window=windows[index].size,
            shift=windows[index].shift,
            mlp_ratio=of_stage(architecture.mlp_ratio, index),
            drop_paths=tuple(drop_paths[index].tolist()),
        )
        for index in range(len(depths))
    ]


def of_stage(stated: Any, index: int) -> Any:
    """An argument's value for a stage, where it may be stated for all stages or for each."""
    return stated[index] if isinstance(stated, tuple) else stated


class Windows(NamedTuple):
    """Size and shift of windows, in cells."""

    size: Pair
    shift: Pair


def place_windows(window: Pair, size: int, always_partition: bool) -> Windows:
    """Windows on a map; where it is no longer than one, they are as long as the map and not shifted.

    Args:
        window: height and width wanted.
        size: rows and columns of the map.
        always_partition: whether windows are as wanted on small maps, too.

    >>> place_windows((7, 14), 14, False)
    Windows(size=(7, 14), shift=(3, 0))
    """
    if always_partition:
        return Windows(window, (window[0] // 2, window[1] // 2))
    height, width = window
    shift = (height // 2 if size > height else 0, width // 2 if size > width else 0)
    return Windows((min(size, height), min(size, width)), shift)


def pair(stated: Any) -> Pair:
    """Height and width; one number is both."""
    return (stated, stated) if isinstance(stated, int) else stated


def window_sizes(stated: int | tuple[int | Pair, ...], stage_count: int) -> tuple[Pair, ...]:
    """Height and width of the windows of each stage; two plain numbers are those of all stages.

    Raises:
        InputError: they are not of so many stages.

    >>> window_sizes(7, 2), window_sizes((7, 14), 2), window_sizes((7, 14, 7), 3)
    (((7, 7), (7, 7)), ((7, 14), (7, 14)), ((7, 7), (14, 14), (7, 7)))
    """
    if isinstance(stated, int) or (len(stated) == 2 and isinstance(stated[0], int)):
        return window_sizes((pair(stated),) * stage_count, stage_count)
    windows = tuple(map(pair, stated))
    if len(windows) != stage_count or min(map(min, windows)) < 1:
        raise InputError(
            f"model argument window_size: {stated} are not window sizes of {stage_count} stages; give a "
            "positive number, two for height and width, or one of these for each stage"
        )
    return windows
