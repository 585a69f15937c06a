"""Where each block of a RegNet stands: widths and depths of the stages follow from a line.

References:
    Designing Network Design Spaces (arXiv:2003.13678), section 3.3; timm/models/regnet.py.
"""

import dataclasses
import math

import numpy as np

from sketch_jax.models.convolutional import make_divisible
from sketch_jax.models.regnet_table import RegNet

WIDTH_DIVISOR = 8
"""Widths of the line are rounded to multiples of this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a block needs to know of its place."""

    in_channels: int
    out_channels: int
    stride: int
    group_size: int
    """Channels of each group of the 3×3 convolution."""
    drop_path: float
    """Probability, 0 to below 1."""


def line_widths(architecture: RegNet) -> list[int]:
    """Width of each block: a line, rounded to powers of a factor and then to multiples of 8; in float32."""
    line = np.arange(architecture.depth, dtype=np.float32) * np.float32(architecture.wa) + architecture.w0
    powers = np.round(np.log(line / np.float32(architecture.w0)) / np.float32(math.log(architecture.wm)))
    widths = architecture.w0 * np.power(np.float32(architecture.wm), powers)
    return (np.round(widths / WIDTH_DIVISOR) * WIDTH_DIVISOR).astype(int).tolist()


def fit_groups(width: int, architecture: RegNet) -> tuple[int, int]:
    """The width of a stage that groups divide, and the channels of a group.

    >>> fit_groups(64, RegNet(group_size=24)), fit_groups(16, RegNet(group_size=24))
    ((72, 24), (16, 16))
    """
    inner = int(width * architecture.bottle_ratio)
    group_size = min(architecture.group_size, inner)
    if architecture.group_min_ratio:
        inner = make_divisible(float(inner), group_size)
    else:
        inner = round(inner / group_size) * group_size
    return int(inner / architecture.bottle_ratio), group_size


def plan_stages(architecture: RegNet, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    widths = line_widths(architecture)
    rates = iter(np.linspace(0.0, drop_path, len(widths)).tolist())
    stages: list[list[Place]] = []
    in_channels = architecture.stem_width
    for width in sorted(set(widths)):
        out_channels, group_size = fit_groups(width, architecture)
        stages.append([])
        for index in range(widths.count(width)):
            place = Place(
                in_channels=in_channels,
                out_channels=out_channels,
                stride=2 if index == 0 else 1,
                group_size=group_size,
                drop_path=next(rates),
            )
            stages[-1].append(place)
            in_channels = out_channels
    return stages
