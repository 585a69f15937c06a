"""Where each block of an EfficientNet stands: widths, strides and rates, worked out from the rows.

References:
    timm/models/_efficientnet_builder.py.
"""

import dataclasses
import itertools

from sketch_jax.models.convolutional import make_divisible
from sketch_jax.models.efficientnet_rows import Row
from sketch_jax.models.efficientnet_table import EfficientNet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One block where it stands, widths scaled."""

    row: Row
    in_channels: int
    out_channels: int
    stride: int
    exp_ratio: float
    expand_from: int
    """Channels that `exp_ratio` refers to."""
    folds: bool
    """Whether the block begins by folding 2×2 cells into channels."""
    drop_path: float
    """Probability, 0 to below 1."""
    kept: tuple[int, int] | None = None
    """Channels that pruning left of the spatial convolution and of the squeeze; None: all."""

    @property
    def has_skip(self) -> bool:
        """Whether a shortcut goes around the block."""
        return self.row.skip and self.stride == 1 and self.in_channels == self.out_channels

    @property
    def inner_channels(self) -> int:
        """Channels inside a block that widens."""
        return make_divisible(self.expand_from * self.exp_ratio) if self.kept is None else self.kept[0]

    @property
    def squeeze_ratio(self) -> float:
        """Channels of the squeeze to those inside the block."""
        if self.kept is not None:
            return self.kept[1] / self.kept[0]
        return self.row.se_ratio / self.exp_ratio / (4 if self.folds else 1)


def scale_width(architecture: EfficientNet, width: int) -> int:
    """A width times the multiplier, rounded."""
    divisor, limit = architecture.channel_divisor, architecture.round_limit
    return make_divisible(width * architecture.channel_multiplier, divisor, limit)


def stem_channels(architecture: EfficientNet) -> int:
    """Channels that enter the first stage."""
    size = architecture.stem_size
    return size if architecture.fix_stem else scale_width(architecture, size)


def plan_stages(architecture: EfficientNet, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0: of n blocks, the i-th has i / n of the rate.

    A stage that folds 2×2 cells into channels works at four times its width. The next one gives that back:
    its first block has no stride, and widens a quarter as much.
    """
    pruned = architecture.pruned
    block_count = sum(row.repeats for stage in architecture.block_args for row in stage)
    in_channels, index, folded = stem_channels(architecture), 0, False
    stages: list[list[Place]] = []
    for number, stage in enumerate(architecture.block_args):
        unfolds, folded = folded, stage[0].s2d
        stages.append([])
        for row in itertools.chain.from_iterable([row] * row.repeats for row in stage):
            first = not stages[-1]
            full = scale_width(architecture, row.out_chs) * (4 if folded else 1)
            place = Place(
                row=row,
                in_channels=in_channels,
                out_channels=full if pruned is None else pruned[number][0],
                stride=row.stride if first and not unfolds else 1,
                exp_ratio=row.exp_ratio / (4 if first and unfolds else 1),
                expand_from=scale_width(architecture, row.force_in_chs) if row.force_in_chs else in_channels,
                folds=folded and first,
                drop_path=drop_path * index / block_count,
                kept=None if pruned is None else pruned[number][1][len(stages[-1])],
            )
            stages[-1].append(place)
            in_channels, index = place.out_channels, index + 1
    return stages
