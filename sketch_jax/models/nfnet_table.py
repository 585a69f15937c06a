"""The architectures of timm's nfnet.py, as records."""

import dataclasses
from typing import Any, Literal

from sketch_jax.models.image_sizes import sizes_by_name

StemType = Literal["", "deep", "deep_tiered", "deep_quad", "3x3", "7x7", "deep_pool", "3x3_pool", "7x7_pool"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NfNet:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    depths: tuple[int, ...]
    """Blocks of each stage."""
    channels: tuple[int, ...]
    """Channels that leave each stage, before `width_factor`."""
    alpha: float = 0.2
    """Factor of the residual branches."""
    stem_type: StemType = "3x3"
    """`deep`: three 3×3 convolutions, `deep_tiered`: of growing width, `deep_quad`: four, two of them
    strided; else one of the size named, `""`: 7×7. `pool`: a max-pool follows."""
    stem_chs: int | None = None
    """Channels that leave the stem, before `width_factor`; None: as the first stage's."""
    group_size: int | None = None
    """Channels of each group of the 3×3 convolutions; None: one group."""
    attn_layer: Literal["se", "eca"] | None = None
    """Channel attention of the blocks."""
    rd_ratio: float = 1 / 16
    """Channels of the bottleneck of `se`, to those of the map; in timm one of `attn_kwargs`."""
    attn_gain: float = 2.0
    """Factor after channel attention, whose gates halve the map."""
    width_factor: float = 1.0
    bottle_ratio: float = 0.5
    """Channels inside a block, to those that leave it, or where `reg` is set to those that enter it."""
    num_features: int = 0
    """Channels of a convolution after the last stage, before `width_factor`; 0: there is none."""
    ch_div: int = 8
    """Numbers of channels are multiples of this."""
    reg: bool = False
    """Whether blocks are RegNet's: inner widths by what enters, attention before the last convolution."""
    extra_conv: bool = False
    """Whether blocks have a second 3×3 convolution."""
    gamma_in_act: bool = False
    """Whether activations, not kernels, make up for the variance that they take away."""
    same_padding: bool = False
    """Whether convolutions pad as TensorFlow does."""
    std_conv_eps: float = 1e-5
    """Added to the variance of a kernel's weights."""
    skipinit: bool = False
    """Whether a learnt factor that starts at zero ends each residual branch; without it the gains of the
    last convolution start at zero."""
    zero_init_fc: bool = False
    """Whether a new classifier's weights are zero."""
    act_layer: str = "silu"
    global_pool: str = "avg"


def _nfnet(depth: int, **changes: Any) -> NfNet:
    """NFNet-F, of which F0 has depth 1; act_layer, attention and widths may differ."""
    record = NfNet(
        depths=(depth, 2 * depth, 6 * depth, 3 * depth),
        channels=(256, 512, 1536, 1536),
        stem_type="deep_quad",
        stem_chs=128,
        group_size=128,
        extra_conv=True,
        num_features=3072,
        act_layer="gelu",
        attn_layer="se",
        rd_ratio=0.5,
    )
    return dataclasses.replace(record, **changes)


def _deepmind(depth: int) -> NfNet:
    """NFNet-F of DeepMind's own weights."""
    return _nfnet(depth, gamma_in_act=True, same_padding=True, skipinit=True)


def _light(depth: int, **changes: Any) -> NfNet:
    """NFNet-L, leaner than NFNet-F."""
    return _nfnet(depth, **{"act_layer": "silu", "group_size": 64, "bottle_ratio": 0.25, **changes})


def _eca_light(depth: int, num_features: int = 3072) -> NfNet:
    return _light(depth, num_features=num_features, attn_layer="eca", rd_ratio=NfNet.rd_ratio)


def _regnet(depths: tuple[int, ...], channels: tuple[int, ...] = (48, 104, 208, 440)) -> NfNet:
    return NfNet(
        depths=depths,
        channels=channels,
        group_size=8,
        width_factor=0.75,
        bottle_ratio=2.25,
        num_features=1280 * channels[-1] // 440,
        reg=True,
        attn_layer="se",
        rd_ratio=0.5,
    )


def _resnet(depths: tuple[int, ...], attn_layer: Literal["se", "eca"] | None = None) -> NfNet:
    return NfNet(
        depths=depths,
        channels=(256, 512, 1024, 2048),
        stem_type="7x7_pool",
        stem_chs=64,
        bottle_ratio=0.25,
        act_layer="relu",
        attn_layer=attn_layer,
    )


RESNET_DEPTHS = {"26": (2, 2, 2, 2), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}

ARCHITECTURES: dict[str, NfNet] = {
    **{f"dm_nfnet_f{number}": _deepmind(number + 1) for number in range(7)},
    **{f"nfnet_f{number}": _nfnet(number + 1) for number in range(8)},
    "nfnet_l0": _light(1, num_features=2304, rd_ratio=0.25),
    "eca_nfnet_l0": _eca_light(1, num_features=2304),
    "eca_nfnet_l1": _eca_light(2),
    "eca_nfnet_l2": _eca_light(3),
    "eca_nfnet_l3": _eca_light(4),
    "nf_regnet_b0": _regnet((1, 3, 6, 6)),
    "nf_regnet_b1": _regnet((2, 4, 7, 7)),
    "nf_regnet_b2": _regnet((2, 4, 8, 8), (56, 112, 232, 488)),
    "nf_regnet_b3": _regnet((2, 5, 9, 9), (56, 128, 248, 528)),
    "nf_regnet_b4": _regnet((2, 6, 11, 11), (64, 144, 288, 616)),
    "nf_regnet_b5": _regnet((3, 7, 14, 14), (80, 168, 336, 704)),
    **{f"nf_resnet{size}": _resnet(depths) for size, depths in RESNET_DEPTHS.items()},
    **{f"nf_seresnet{size}": _resnet(depths, "se") for size, depths in RESNET_DEPTHS.items()},
    **{f"nf_ecaresnet{size}": _resnet(depths, "eca") for size, depths in RESNET_DEPTHS.items()},
    "test_nfnet": _light(
        1,
        depths=(1, 1, 1, 1),
        channels=(32, 64, 96, 128),
        group_size=8,
        num_features=192,
        rd_ratio=0.25,
    ),
}
"""timm's names, all of them."""

IMAGE_SIZES = sizes_by_name(
    {
        160: ("test_nfnet",),
        192: ("dm_nfnet_f0", "nf_regnet_b0", "nfnet_f0"),
        240: ("nf_regnet_b2",),
        256: ("dm_nfnet_f2", "eca_nfnet_l1", "nf_regnet_b1", "nf_resnet50", "nfnet_f2"),
        288: ("nf_regnet_b3",),
        320: ("dm_nfnet_f3", "eca_nfnet_l2", "nf_regnet_b4", "nfnet_f3"),
        352: ("eca_nfnet_l3",),
        384: ("dm_nfnet_f4", "nf_regnet_b5", "nfnet_f4"),
        416: ("dm_nfnet_f5", "nfnet_f5"),
        448: ("dm_nfnet_f6", "nfnet_f6"),
        480: ("nfnet_f7",),
    }
)
"""Height and width of the images in pixels, where it is not 224."""
