"""The number of the layer that each parameter belongs to, from 0 in the stem up to the head.

Layer-wise decay of the learning rate and training of the last blocks go by it. A number is the rank of a
parameter's place: the stem, then the blocks in order, then all that no pattern knows (head and neck).
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from sketch_jax.models.architectures import family_name

Place = tuple[float, ...]
"""0 for the stem; 1 and the numbers in the path for blocks; infinity for what is left."""

JOINED = 99999.0
"""Ends the place of what belongs to the layer before it, as the final norm does to the last block."""

STEM, BLOCKS, REST = 0.0, 1.0, math.inf


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Where parameters lie whose paths begin like this."""

    start: str
    """Regular expression; its groups are numbers of stages and blocks."""
    suffix: tuple[float, ...] = ()
    """Further numbers of the place."""
    part: float = BLOCKS


def _stem(start: str) -> Pattern:
    return Pattern(start, part=STEM)


def _joined(start: str) -> Pattern:
    return Pattern(start, (JOINED,))


_TRANSFORMER_BLOCKS = (Pattern(r"blocks_(\d+)/"), _joined("norm"))
_BLOCKS_OF_STAGES = (_stem("stem"), Pattern(r"stages_(\d+)_(\d+)/"), _joined("final_conv"))
_STAGES_OF_BLOCKS = (
    _stem("stem"),
    Pattern(r"stages_(\d+)/downsample", (0.0,)),
    Pattern(r"stages_(\d+)/blocks_(\d+)/"),
)
_WINDOWED = (
    Pattern(r"layers_(\d+)/downsample", (0.0,)),
    Pattern(r"layers_(\d+)/blocks_(\d+)/"),
    _joined("norm"),
)

PATTERNS: Mapping[str, tuple[Pattern, ...]] = MappingProxyType(
    {
        "vision_transformer": (
            _stem("cls_token|reg_token|dist_token|pos_embed|patch_embed|norm_pre"),
            *_TRANSFORMER_BLOCKS,
        ),
        "eva": (_stem("cls_token|reg_token|pos_embed|patch_embed|norm_pre"), *_TRANSFORMER_BLOCKS),
        "beit": (_stem("cls_token|pos_embed|patch_embed|rel_pos_bias"), *_TRANSFORMER_BLOCKS),
        "resnet": (_stem("conv1|bn1|maxpool"), Pattern(r"layer(\d+)_(\d+)/")),
        "efficientnet": (
            _stem("conv_stem|bn1"),
            Pattern(r"blocks_(\d+)_(\d+)/"),
            _joined("conv_head|bn2"),
        ),
        "convnext": (*_STAGES_OF_BLOCKS, _joined("norm_pre")),
        "swin_transformer": (_stem("patch_embed"), *_WINDOWED),
        "swin_transformer_v2": (_stem("absolute_pos_embed|patch_embed"), *_WINDOWED),
        "regnet": (_stem("stem"), Pattern(r"s(\d+)/b(\d+)/")),
        "vgg": (_stem("features_0/"), Pattern(r"features_(\d+)/")),
        "nfnet": _BLOCKS_OF_STAGES,
        "metaformer": _STAGES_OF_BLOCKS,
        "mobilevit": _BLOCKS_OF_STAGES,
        "maxxvit": (_stem("stem"), Pattern(r"stages_(\d+)/"), _joined("norm")),
    }
)
"""Of each family; the first pattern that fits the start of a path counts.

They are those of the `group_matcher` of timm's models, which metaformers lack: there timm cuts the list of
parameters into dozens wherever they end, while here each block is a layer, as in all other families.
"""


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of one model."""

    patterns: tuple[Pattern, ...]
    numbers: Mapping[Place, int]
    """Of each place."""

    @property
    def count(self) -> int:
        """Number of layers, stem and head included."""
        return max(self.numbers.values()) + 1


def number_layers(name: str, paths: Iterable[str]) -> Layers:
    """The layers of an architecture.

    Args:
        name: timm's, of the architecture.
        paths: of all its parameters, blocks not stacked.

    References:
        timm/models/_manipulate.py: group_with_matcher.
    """
    patterns = PATTERNS[family_name(name)]
    numbers: dict[Place, int] = {}
    number = -1
    for place in sorted({_place(patterns, path) for path in paths}):
        number += number < 0 or place[-1] != JOINED
        numbers[place] = number
    return Layers(patterns, numbers)


def layer_of(layers: Layers, path: str) -> int:
    """The layer of a parameter, or of another value that lies beside one."""
    return layers.numbers[_place(layers.patterns, path)]


def _place(patterns: tuple[Pattern, ...], path: str) -> Place:
    for pattern in patterns:
        if match := re.match(pattern.start, path):
            return (pattern.part, *map(float, match.groups()), *pattern.suffix)
    return (REST,)
