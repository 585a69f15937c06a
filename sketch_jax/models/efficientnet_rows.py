"""Rows of blocks, of which the EfficientNet family's stages are made, and how their depth scales."""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, Literal

Kernel = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Blocks of one kind, one after the other; the fields are timm's block arguments."""

    block: Literal["ConvBnAct", "DepthwiseSeparable", "InvertedResidual", "EdgeResidual", "CondConvResidual"]
    repeats: int
    """Blocks, before depth scaling."""
    kernel_size: Kernel
    """Size of the kernel of the spatial convolution; several: the channels are split among them (MixConv)."""
    stride: int
    """Stride of the first block of a stage; the others have 1."""
    out_chs: int
    """Channels that leave each block, before width scaling."""
    exp_ratio: int = 1
    """Channels inside the block, to those that enter it."""
    se_ratio: float = 0.0
    """Channels of the squeeze, to those that enter the block; 0: no channel attention."""
    skip: bool = True
    """Whether blocks that keep the shape have a shortcut."""
    act_layer: str | None = None
    """Activation; None: the architecture's."""
    exp_kernel_size: Kernel = 1
    """Kernel of the expansion of an `InvertedResidual`."""
    pw_kernel_size: Kernel = 1
    """Kernel of the projection."""
    pw_act: bool = False
    """Whether an activation follows the projection of a `DepthwiseSeparable`."""
    group_size: int | None = None
    """Channels a group of the spatial convolution; None: the architecture's, or the kind's own."""
    force_in_chs: int = 0
    """Channels that `exp_ratio` refers to, before width scaling; 0: those that enter."""
    num_experts: int = 0
    """Kernels of a `CondConvResidual`."""
    s2d: bool = False
    """Whether a stage of `DepthwiseSeparable` folds 2×2 cells into channels; the next one unfolds."""

    @property
    def plain_kernel_size(self) -> int:
        """The kernel, for blocks that do not mix several."""
        if isinstance(self.kernel_size, tuple):
            raise ValueError(f"{self.block} has one kernel size, not {self.kernel_size}")
        return self.kernel_size


Stages = tuple[tuple[Row, ...], ...]

cn = functools.partial(Row, block="ConvBnAct")
ds = functools.partial(Row, block="DepthwiseSeparable")
ir = functools.partial(Row, block="InvertedResidual")
er = functools.partial(Row, block="EdgeResidual")


def scale_depth(
    stages: Stages,
    multiplier: float | tuple[float, ...],
    *,
    truncate: Literal["ceil", "round"] = "ceil",
    fix_first_last: bool = False,
) -> Stages:
    """The stages with more or fewer repeats.

    Args:
        stages: rows of each stage.
        multiplier: of the blocks, for all stages or for each.
        truncate: how the number of blocks of a stage becomes whole.
        fix_first_last: whether the first and the last stage keep their depth.

    >>> stages = tuple((ir(repeats=n, kernel_size=3, stride=1, out_chs=8),) for n in (1, 2, 3, 1))
    >>> [row.repeats for (row,) in scale_depth(stages, 1.8, fix_first_last=True)]
    [1, 4, 6, 1]
    """
    multipliers = list(multiplier) if isinstance(multiplier, tuple) else [multiplier] * len(stages)
    if fix_first_last:
        multipliers[0] = multipliers[-1] = 1.0
    return tuple(
        _scale_stage(stage, factor, truncate) for stage, factor in zip(stages, multipliers, strict=True)
    )


def _scale_stage(stage: tuple[Row, ...], multiplier: float, truncate: str) -> tuple[Row, ...]:
    """Shares the new number of blocks out in proportion, from the last row on, so the first grows least."""
    left = sum(row.repeats for row in stage)
    scaled_left = math.ceil(left * multiplier) if truncate == "ceil" else max(1, round(left * multiplier))
    rows: list[Row] = []
    for row in reversed(stage):
        repeats = max(1, round(row.repeats / left * scaled_left))
        rows.insert(0, dataclasses.replace(row, repeats=repeats))
        left, scaled_left = left - row.repeats, scaled_left - repeats
    return tuple(rows)


def replace_rows(stages: Stages, indices: Iterable[int], **changes: Any) -> Stages:
    """The stages with fields of all rows of some of them changed."""
    changed = {
        index: tuple(dataclasses.replace(row, **changes) for row in stages[index]) for index in indices
    }
    return tuple(changed.get(index, stage) for index, stage in enumerate(stages))
