"""The architectures of timm's efficientnet.py, as records."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

from flax import linen as nn

from sketch_jax.models import efficientnet_stages as stages
from sketch_jax.models import pruned_widths
from sketch_jax.models.convolutional import ChannelNorm, EvoNorm, GroupNorm, make_divisible
from sketch_jax.models.efficientnet_rows import Stages, scale_depth
from sketch_jax.models.image_sizes import sizes_by_name
from sketch_jax.models.pruned_widths import Kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNet:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    block_args: Stages
    """Rows of each stage, depth scaled."""
    num_features: int = 1280
    """Channels of the last 1×1 convolution; 0: none, the last block's channels are the features."""
    stem_size: int = 32
    """Channels of the first convolution, before width scaling."""
    stem_kernel_size: int = 3
    fix_stem: bool = False
    """Whether `stem_size` escapes width scaling."""
    channel_multiplier: float = 1.0
    """Width scaling."""
    channel_divisor: int = 8
    """What scaled widths are multiples of."""
    round_limit: float = 0.9
    """The least a width may lose by rounding, as a part of it."""
    pad_type: str = ""
    """`""`: the same on both sides; `same`: TensorFlow's, by size; `valid`: none."""
    act_layer: str = "relu"
    norm_layer: Callable[..., nn.Module] | None = None
    """Norm other than batch norm with the two values below."""
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    """Share of the new batch in the running statistics."""
    aa_layer: str | None = None
    """Anti-aliasing that takes over the strides of blocks: `avg`, `blur` or `blurpc`."""
    group_size: int | None = None
    """Channels a group in the spatial convolutions; None: what the kind of block has."""
    se_layer: Literal["gc"] | None = None
    """Channel attention: `gc` reads a weighted mean, None a plain one."""
    global_pool: str = "avg"
    pruned: Kept | None = None
    """Channels that pruning left of each stage, and in each block of the spatial convolution and of the
    squeeze of the attention; None: all."""


def _tf(base: EfficientNet) -> EfficientNet:
    """The variant that computes as the TensorFlow original."""
    return dataclasses.replace(base, pad_type="same", bn_eps=1e-3)


def _pruned(base: EfficientNet, kept: Kept) -> EfficientNet:
    return dataclasses.replace(_tf(base), pruned=kept)


def _mnasnet(rows: Stages, width: float, stem_size: int = 32) -> EfficientNet:
    return EfficientNet(block_args=rows, channel_multiplier=width, stem_size=stem_size)


def _mobilenet_v1(width: float, head: bool = False) -> EfficientNet:
    features = max(1024, make_divisible(1024 * width)) if head else 0
    return EfficientNet(
        block_args=stages.MOBILENET_V1, channel_multiplier=width, num_features=features, act_layer="relu6"
    )


def _mobilenet_v2(width: float, depth: float = 1.0, fix: bool = False) -> EfficientNet:
    return EfficientNet(
        block_args=scale_depth(stages.MOBILENET_V2, depth, fix_first_last=fix),
        channel_multiplier=width,
        num_features=1280 if fix else max(1280, make_divisible(1280 * width)),
        fix_stem=fix,
        act_layer="relu6",
    )


def _scaled(
    rows: Stages, width: float, depth: float | tuple[float, ...], act_layer: str = "swish", divisor: int = 8
) -> EfficientNet:
    """EfficientNet's compound scaling: width, depth, and the head with the width."""
    return EfficientNet(
        block_args=scale_depth(rows, depth),
        channel_multiplier=width,
        channel_divisor=divisor,
        num_features=make_divisible(1280 * width, divisor),
        act_layer=act_layer,
    )


def _lite(width: float, depth: float) -> EfficientNet:
    rows = scale_depth(stages.LITE, depth, fix_first_last=True)
    return EfficientNet(block_args=rows, channel_multiplier=width, fix_stem=True, act_layer="relu6")


def _v2_base(width: float, depth: float) -> EfficientNet:
    base = _scaled(stages.V2_BASE, width, depth)
    return dataclasses.replace(
        base, round_limit=0.0, num_features=make_divisible(1280 * width, round_limit=0.0)
    )


def _v2_s(rows: Stages, width: float, depth: float | tuple[float, ...], features: int = 1280) -> EfficientNet:
    base = _scaled(rows, width, depth)
    return dataclasses.replace(base, stem_size=24, num_features=make_divisible(features * width))


def _v2(rows: Stages, stem_size: int) -> EfficientNet:
    return EfficientNet(block_args=rows, stem_size=stem_size, act_layer="silu")


def _mixnet(rows: Stages, stem_size: int, width: float = 1.0, depth: float = 1.0) -> EfficientNet:
    return EfficientNet(
        block_args=scale_depth(rows, depth, truncate="round"),
        num_features=1536,
        stem_size=stem_size,
        channel_multiplier=width,
    )


def _tinynet(width: float, depth: float) -> EfficientNet:
    return EfficientNet(
        block_args=scale_depth(stages.EFFICIENTNET, depth, truncate="round"),
        channel_multiplier=width,
        fix_stem=True,
        act_layer="swish",
    )


def _edgetpu_v2(
    *out_chs: int, stem: int = 64, kernel: int = 5, group: int = 64, features: int = 1280
) -> EfficientNet:
    return EfficientNet(
        block_args=stages.edgetpu_v2(out_chs, group),
        num_features=features,
        stem_size=stem,
        stem_kernel_size=kernel,
    )


_SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "b8": (2.2, 3.6),
    "l2": (4.3, 5.3),
}
_B = {size: _scaled(stages.EFFICIENTNET, *scale) for size, scale in _SCALES.items()}
_LITE = {size: _lite(*_SCALES[f"b{size}"]) for size in range(5)}
_ES, _EM, _EL = (_scaled(stages.EDGE, *scale, "relu") for scale in ((1.0, 1.0), (1.0, 1.1), (1.2, 1.4)))
_CC_B0_4E, _CC_B0_8E = _scaled(stages.condconv(4), 1.0, 1.0), _scaled(stages.condconv(8), 1.0, 1.0)
_CC_B1_8E = _scaled(stages.condconv(8), 1.0, 1.1)
_V2_S, _V2_M = _v2_s(stages.V2_S, 1.0, 1.0), _v2(stages.V2_M, 24)
_V2_L, _V2_XL = _v2(stages.V2_L, 32), _v2(stages.V2_XL, 32)
_MIXNET_S, _MIXNET_M = _mixnet(stages.MIXNET_S, 16), _mixnet(stages.MIXNET_M, 24)
_MIXNET_L = _mixnet(stages.MIXNET_M, 24, 1.3)
_G8, _G16 = functools.partial(GroupNorm, group_size=8), functools.partial(GroupNorm, group_size=16)
_B3_16 = dataclasses.replace(_scaled(stages.EFFICIENTNET, 1.2, 1.4, divisor=16), norm_layer=_G16)
_TEST = dataclasses.replace(_v2_base(1.0, 1.0), block_args=stages.V2_TEST, num_features=256, stem_size=24)

ARCHITECTURES: dict[str, EfficientNet] = {
    "mnasnet_050": _mnasnet(stages.MNASNET_B1, 0.5),
    "mnasnet_075": _mnasnet(stages.MNASNET_B1, 0.75),
    "mnasnet_100": _mnasnet(stages.MNASNET_B1, 1.0),
    "mnasnet_140": _mnasnet(stages.MNASNET_B1, 1.4),
    "semnasnet_050": _mnasnet(stages.MNASNET_A1, 0.5),
    "semnasnet_075": _mnasnet(stages.MNASNET_A1, 0.75),
    "semnasnet_100": _mnasnet(stages.MNASNET_A1, 1.0),
    "semnasnet_140": _mnasnet(stages.MNASNET_A1, 1.4),
    "mnasnet_small": _mnasnet(stages.MNASNET_SMALL, 1.0, 8),
    "spnasnet_100": _mnasnet(stages.SPNASNET, 1.0),
    "fbnetc_100": EfficientNet(block_args=stages.FBNETC, num_features=1984, stem_size=16, bn_eps=1e-3),
    "mobilenetv1_100": _mobilenet_v1(1.0),
    "mobilenetv1_100h": _mobilenet_v1(1.0, head=True),
    "mobilenetv1_125": _mobilenet_v1(1.25),
    "mobilenetv2_035": _mobilenet_v2(0.35),
    "mobilenetv2_050": _mobilenet_v2(0.5),
    "mobilenetv2_075": _mobilenet_v2(0.75),
    "mobilenetv2_100": _mobilenet_v2(1.0),
    "mobilenetv2_140": _mobilenet_v2(1.4),
    "mobilenetv2_110d": _mobilenet_v2(1.1, 1.2, fix=True),
    "mobilenetv2_120d": _mobilenet_v2(1.2, 1.4, fix=True),
    **{f"efficientnet_{size}": architecture for size, architecture in _B.items()},
    **{f"tf_efficientnet_{size}": _tf(architecture) for size, architecture in _B.items()},
    **{f"efficientnet_lite{size}": architecture for size, architecture in _LITE.items()},
    **{f"tf_efficientnet_lite{size}": _tf(architecture) for size, architecture in _LITE.items()},
    "efficientnet_b0_gn": dataclasses.replace(_B["b0"], norm_layer=_G8),
    "efficientnet_b0_g8_gn": dataclasses.replace(_B["b0"], norm_layer=_G8, group_size=8),
    "efficientnet_b0_g16_evos": dataclasses.replace(
        _scaled(stages.EFFICIENTNET, 1.0, 1.0, divisor=16), group_size=16
    ),
    "efficientnet_b3_gn": _B3_16,
    "efficientnet_b3_g8_gn": dataclasses.replace(_B3_16, group_size=8),
    "efficientnet_b1_pruned": _pruned(_B["b1"], pruned_widths.EFFICIENTNET_B1),
    "efficientnet_b2_pruned": _pruned(_B["b2"], pruned_widths.EFFICIENTNET_B2),
    "efficientnet_b3_pruned": _pruned(_B["b3"], pruned_widths.EFFICIENTNET_B3),
    "efficientnet_blur_b0": dataclasses.replace(_B["b0"], aa_layer="blurpc"),
    "efficientnet_es": _ES,
    "efficientnet_es_pruned": _ES,
    "efficientnet_em": _EM,
    "efficientnet_el": _EL,
    "efficientnet_el_pruned": _EL,
    "tf_efficientnet_es": _tf(_ES),
    "tf_efficientnet_em": _tf(_EM),
    "tf_efficientnet_el": _tf(_EL),
    "efficientnet_cc_b0_4e": _CC_B0_4E,
    "efficientnet_cc_b0_8e": _CC_B0_8E,
    "efficientnet_cc_b1_8e": _CC_B1_8E,
    "tf_efficientnet_cc_b0_4e": _tf(_CC_B0_4E),
    "tf_efficientnet_cc_b0_8e": _tf(_CC_B0_8E),
    "tf_efficientnet_cc_b1_8e": _tf(_CC_B1_8E),
    "efficientnet_x_b3": _scaled(stages.EFFICIENTNET_X, 1.2, 1.4),
    "efficientnet_x_b5": _scaled(stages.EFFICIENTNET_X, 1.6, 2.2),
    "efficientnet_h_b5": _scaled(stages.EFFICIENTNET_H, 1.92, 2.2),
    "efficientnetv2_rw_t": _v2_s(stages.V2_S, 0.8, 0.9),
    "gc_efficientnetv2_rw_t": dataclasses.replace(_v2_s(stages.V2_S, 0.8, 0.9), se_layer="gc"),
    "efficientnetv2_rw_s": _v2_s(stages.V2_RW, 1.0, 1.0, 1792),
    "efficientnetv2_rw_m": _v2_s(stages.V2_RW, 1.2, (1.2, 1.2, 1.2, 1.2, 1.6, 1.6), 1792),
    "efficientnetv2_s": _V2_S,
    "efficientnetv2_m": _V2_M,
    "efficientnetv2_l": _V2_L,
    "efficientnetv2_xl": _V2_XL,
    "tf_efficientnetv2_s": _tf(_V2_S),
    "tf_efficientnetv2_m": _tf(_V2_M),
    "tf_efficientnetv2_l": _tf(_V2_L),
    "tf_efficientnetv2_xl": _tf(_V2_XL),
    "tf_efficientnetv2_b0": _tf(_v2_base(1.0, 1.0)),
    "tf_efficientnetv2_b1": _tf(_v2_base(1.0, 1.1)),
    "tf_efficientnetv2_b2": _tf(_v2_base(1.1, 1.2)),
    "tf_efficientnetv2_b3": _tf(_v2_base(1.2, 1.4)),
    "mixnet_s": _MIXNET_S,
    "mixnet_m": _MIXNET_M,
    "mixnet_l": _MIXNET_L,
    "mixnet_xl": _mixnet(stages.MIXNET_M, 24, 1.6, 1.2),
    "mixnet_xxl": _mixnet(stages.MIXNET_M, 24, 2.4, 1.3),
    "tf_mixnet_s": _tf(_MIXNET_S),
    "tf_mixnet_m": _tf(_MIXNET_M),
    "tf_mixnet_l": _tf(_MIXNET_L),
    "tinynet_a": _tinynet(1.0, 1.2),
    "tinynet_b": _tinynet(0.75, 1.1),
    "tinynet_c": _tinynet(0.54, 0.85),
    "tinynet_d": _tinynet(0.54, 0.695),
    "tinynet_e": _tinynet(0.51, 0.6),
    "mobilenet_edgetpu_100": EfficientNet(block_args=stages.EDGETPU_V1),
    "mobilenet_edgetpu_v2_xs": _edgetpu_v2(16, 32, 48, 96, 144, 160, 192, stem=32, kernel=3),
    "mobilenet_edgetpu_v2_s": _edgetpu_v2(24, 48, 64, 128, 160, 192, 256),
    "mobilenet_edgetpu_v2_m": _edgetpu_v2(32, 64, 80, 160, 192, 240, 320, features=1344),
    "mobilenet_edgetpu_v2_l": _edgetpu_v2(32, 64, 96, 192, 240, 256, 384, kernel=7, group=128, features=1408),
    "test_efficientnet": _TEST,
    "test_efficientnet_evos": dataclasses.replace(_TEST, norm_layer=functools.partial(EvoNorm, group_size=8)),
    "test_efficientnet_gn": dataclasses.replace(_TEST, norm_layer=_G8),
    "test_efficientnet_ln": dataclasses.replace(_TEST, norm_layer=ChannelNorm),
}
"""timm's names.

`fbnetc_100` has the epsilon that timm gives it where it loads the pretrained weights.
"""

IMAGE_SIZES = sizes_by_name(
    {
        106: ("tinynet_e",),
        152: ("tinynet_d",),
        160: (
            "test_efficientnet",
            "test_efficientnet_evos",
            "test_efficientnet_gn",
            "test_efficientnet_ln",
        ),
        184: ("tinynet_c",),
        188: ("tinynet_b",),
        192: ("tf_efficientnetv2_b0", "tf_efficientnetv2_b1", "tinynet_a"),
        208: ("tf_efficientnetv2_b2",),
        240: (
            "efficientnet_b1",
            "efficientnet_b1_pruned",
            "efficientnet_cc_b1_8e",
            "efficientnet_em",
            "efficientnet_lite1",
            "tf_efficientnet_b1",
            "tf_efficientnet_cc_b1_8e",
            "tf_efficientnet_em",
            "tf_efficientnet_lite1",
            "tf_efficientnetv2_b3",
        ),
        256: ("efficientnet_b2",),
        260: (
            "efficientnet_b2_pruned",
            "efficientnet_lite2",
            "tf_efficientnet_b2",
            "tf_efficientnet_lite2",
        ),
        288: (
            "efficientnet_b3",
            "efficientnet_b3_g8_gn",
            "efficientnet_b3_gn",
            "efficientnet_x_b3",
            "efficientnetv2_rw_s",
            "efficientnetv2_s",
        ),
        300: (
            "efficientnet_b3_pruned",
            "efficientnet_el",
            "efficientnet_el_pruned",
            "efficientnet_lite3",
            "tf_efficientnet_b3",
            "tf_efficientnet_el",
            "tf_efficientnet_lite3",
            "tf_efficientnetv2_s",
        ),
        320: ("efficientnet_b4", "efficientnetv2_m", "efficientnetv2_rw_m"),
        380: ("efficientnet_lite4", "tf_efficientnet_b4", "tf_efficientnet_lite4"),
        384: (
            "efficientnetv2_l",
            "efficientnetv2_xl",
            "tf_efficientnetv2_l",
            "tf_efficientnetv2_m",
            "tf_efficientnetv2_xl",
        ),
        448: ("efficientnet_b5", "efficientnet_h_b5", "efficientnet_x_b5"),
        456: ("tf_efficientnet_b5",),
        475: ("tf_efficientnet_l2",),
        528: ("efficientnet_b6", "tf_efficientnet_b6"),
        600: ("efficientnet_b7", "tf_efficientnet_b7"),
        672: ("efficientnet_b8", "tf_efficientnet_b8"),
        800: ("efficientnet_l2",),
    }
)
"""Height and width of the images in pixels, where it is not 224."""
