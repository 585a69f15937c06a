"""The architectures of timm's resnet.py, as records."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from flax import linen as nn

from sketch_jax.models import pruned_widths
from sketch_jax.models.convolutional import BatchNorm, GroupNorm
from sketch_jax.models.image_sizes import sizes_by_name
from sketch_jax.models.pruned_widths import Kept

Block = Literal["BasicBlock", "Bottleneck"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    block: Block | tuple[Block, ...] = "Bottleneck"
    """Kind of the blocks, of all stages or of each."""
    layers: tuple[int, ...]
    """Blocks of each stage."""
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Width of each stage before the block's expansion."""
    cardinality: int = 1
    """Groups of the 3×3 convolution in a `Bottleneck`."""
    base_width: int = 64
    """Width of a `Bottleneck`, in 64ths of its stage's, for each of the groups."""
    stem_width: int = 64
    """Channels of the first convolutions of a deep stem, which ends with twice as many."""
    stem_type: Literal["", "deep", "deep_tiered"] = ""
    """`""`: one 7×7 convolution; `deep`: three 3×3; `deep_tiered`: three, the first of 3/4 the width."""
    replace_stem_pool: bool = False
    """Whether a strided 3×3 convolution takes the place of the stem's max-pool."""
    block_reduce_first: int = 1
    """Divisor of the width of each block's first convolution."""
    down_kernel_size: int = 1
    """Kernel size of the strided convolution on the shortcut."""
    avg_down: bool = False
    """Whether the shortcut is averaged to the smaller size, not strided."""
    act_layer: str = "relu"
    norm_layer: Callable[..., nn.Module] = BatchNorm
    aa_layer: str | None = None
    """Anti-aliasing that takes over the strides: `avg`, `blur` or `blurpc`; None: strided convolutions."""
    attn_layer: Literal["se", "eca"] | None = None
    """Channel attention that ends each residual branch; in timm one of `block_args`."""
    rd_ratio: float = 1 / 16
    """Channels of the bottleneck of `se`, to those of the branch."""
    zero_init_last: bool = True
    """Whether new residual branches start at zero: the scale of the last norm does."""
    global_pool: str = "avg"
    pruned: Kept | None = None
    """Channels that pruning left of each stage, and in each `Bottleneck` after its first and second
    convolution; None: all."""


R10 = ResNet(layers=(1, 1, 1, 1))
R26 = ResNet(layers=(2, 2, 2, 2))
R50 = ResNet(layers=(3, 4, 6, 3))
R101 = ResNet(layers=(3, 4, 23, 3))
R152 = ResNet(layers=(3, 8, 36, 3))
R200 = ResNet(layers=(3, 24, 36, 3))
R269 = ResNet(layers=(3, 30, 48, 8))
R18 = dataclasses.replace(R26, block="BasicBlock")
R34 = dataclasses.replace(R50, block="BasicBlock")


def _deep(base: ResNet, stem_width: int = 32) -> ResNet:
    """The `c` (width 32) and `s` (width 64) variants: a stem of three convolutions."""
    return dataclasses.replace(base, stem_width=stem_width, stem_type="deep")


def _d(base: ResNet) -> ResNet:
    """The `d` variant: a deep stem, and shortcuts averaged to the smaller size."""
    return dataclasses.replace(_deep(base), avg_down=True)


def _t(base: ResNet) -> ResNet:
    """The `t` variant: as `d`, with a tiered stem."""
    return dataclasses.replace(_d(base), stem_type="deep_tiered")


def _next(base: ResNet, cardinality: int, base_width: int) -> ResNet:
    """ResNeXt: grouped 3×3 convolutions."""
    return dataclasses.replace(base, cardinality=cardinality, base_width=base_width)


def _wide(base: ResNet) -> ResNet:
    return dataclasses.replace(base, base_width=128)


def _se(base: ResNet) -> ResNet:
    return dataclasses.replace(base, attn_layer="se")


def _eca(base: ResNet) -> ResNet:
    return dataclasses.replace(base, attn_layer="eca")


def _blur(base: ResNet) -> ResNet:
    return dataclasses.replace(base, aa_layer="blur")


def _aa(base: ResNet) -> ResNet:
    return dataclasses.replace(base, aa_layer="avg")


def _rs(*layers: int) -> ResNet:
    """ResNet-RS (arXiv:2103.07579)."""
    return dataclasses.replace(_se(_d(ResNet(layers=layers))), replace_stem_pool=True, rd_ratio=0.25)


ARCHITECTURES: dict[str, ResNet] = {
    "resnet10t": dataclasses.replace(_t(R10), block="BasicBlock"),
    "resnet14t": _t(R10),
    "resnet18": R18,
    "resnet18d": _d(R18),
    "resnet26": R26,
    "resnet26d": _d(R26),
    "resnet26t": _t(R26),
    "resnet34": R34,
    "resnet34d": _d(R34),
    "resnet50": R50,
    "resnet50c": _deep(R50),
    "resnet50d": _d(R50),
    "resnet50s": _deep(R50, 64),
    "resnet50t": _t(R50),
    "resnet50_gn": dataclasses.replace(R50, norm_layer=GroupNorm),
    "resnet101": R101,
    "resnet101c": _deep(R101),
    "resnet101d": _d(R101),
    "resnet101s": _deep(R101, 64),
    "resnet152": R152,
    "resnet152c": _deep(R152),
    "resnet152d": _d(R152),
    "resnet152s": _deep(R152, 64),
    "resnet200": R200,
    "resnet200d": _d(R200),
    "wide_resnet50_2": _wide(R50),
    "wide_resnet101_2": _wide(R101),
    "resnext50_32x4d": _next(R50, 32, 4),
    "resnext50d_32x4d": _next(_d(R50), 32, 4),
    "resnext101_32x4d": _next(R101, 32, 4),
    "resnext101_32x8d": _next(R101, 32, 8),
    "resnext101_32x16d": _next(R101, 32, 16),
    "resnext101_32x32d": _next(R101, 32, 32),
    "resnext101_64x4d": _next(R101, 64, 4),
    "ecaresnet26t": _eca(_t(R26)),
    "ecaresnet50d": _eca(_d(R50)),
    "ecaresnet50t": _eca(_t(R50)),
    "ecaresnetlight": dataclasses.replace(_eca(_d(R50)), layers=(1, 1, 11, 3), stem_type=""),
    "ecaresnet101d": _eca(_d(R101)),
    "ecaresnet200d": _eca(_d(R200)),
    "ecaresnet50d_pruned": dataclasses.replace(_eca(_d(R50)), pruned=pruned_widths.ECARESNET50D),
    "ecaresnet101d_pruned": dataclasses.replace(_eca(_d(R101)), pruned=pruned_widths.ECARESNET101D),
    "ecaresnet269d": _eca(_d(R269)),
    "ecaresnext26t_32x4d": _eca(_next(_t(R26), 32, 4)),
    "ecaresnext50t_32x4d": _eca(_next(_t(R50), 32, 4)),
    "seresnet18": _se(R18),
    "seresnet34": _se(R34),
    "seresnet50": _se(R50),
    "seresnet50t": _se(_t(R50)),
    "seresnet101": _se(R101),
    "seresnet152": _se(R152),
    "seresnet152d": _se(_d(R152)),
    "seresnet200d": _se(_d(R200)),
    "seresnet269d": _se(_d(R269)),
    "seresnext26d_32x4d": _se(_next(_d(R26), 32, 4)),
    "seresnext26t_32x4d": _se(_next(_t(R26), 32, 4)),
    "seresnext50_32x4d": _se(_next(R50, 32, 4)),
    "seresnext101_32x4d": _se(_next(R101, 32, 4)),
    "seresnext101_32x8d": _se(_next(R101, 32, 8)),
    "seresnext101d_32x8d": _se(_next(_d(R101), 32, 8)),
    "seresnext101_64x4d": _se(_next(R101, 64, 4)),
    "senet154": dataclasses.replace(
        _se(_next(_deep(R152, 64), 64, 4)), down_kernel_size=3, block_reduce_first=2
    ),
    "resnetblur18": _blur(R18),
    "resnetblur50": _blur(R50),
    "resnetblur50d": _blur(_d(R50)),
    "resnetblur101d": _blur(_d(R101)),
    "resnetaa34d": _aa(_d(R34)),
    "resnetaa50": _aa(R50),
    "resnetaa50d": _aa(_d(R50)),
    "resnetaa101d": _aa(_d(R101)),
    "seresnetaa50d": _se(_aa(_d(R50))),
    "seresnextaa101d_32x8d": _se(_aa(_next(_d(R101), 32, 8))),
    "seresnextaa201d_32x8d": dataclasses.replace(
        _se(_aa(_next(_d(R101), 32, 8))), layers=(3, 24, 36, 4), stem_width=64
    ),
    "resnetrs50": _rs(3, 4, 6, 3),
    "resnetrs101": _rs(3, 4, 23, 3),
    "resnetrs152": _rs(3, 8, 36, 3),
    "resnetrs200": _rs(3, 24, 36, 3),
    "resnetrs270": _rs(4, 29, 53, 4),
    "resnetrs350": _rs(4, 36, 72, 4),
    "resnetrs420": _rs(4, 44, 87, 4),
    "test_resnet": ResNet(
        block=("BasicBlock", "BasicBlock", "Bottleneck", "BasicBlock"),
        layers=(1, 1, 1, 1),
        channels=(32, 48, 48, 96),
        stem_width=16,
        stem_type="deep",
        avg_down=True,
    ),
}
"""timm's names."""

IMAGE_SIZES = sizes_by_name(
    {
        160: ("resnetrs50", "test_resnet"),
        176: ("resnet10t", "resnet14t"),
        192: ("resnetrs101",),
        256: (
            "ecaresnet26t",
            "ecaresnet50t",
            "ecaresnet200d",
            "resnet26t",
            "resnet101d",
            "resnet152d",
            "resnet200d",
            "resnetrs152",
            "resnetrs200",
            "resnetrs270",
            "seresnet152d",
            "seresnet200d",
            "seresnet269d",
        ),
        288: ("resnetrs350", "seresnextaa101d_32x8d"),
        320: ("ecaresnet269d", "resnetrs420"),
        384: ("seresnextaa201d_32x8d",),
    }
)
"""Height and width of the images in pixels, where it is not 224."""
