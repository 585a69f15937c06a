"""The architectures of timm's regnet.py, as records."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

from flax import linen as nn

from sketch_jax.models.convolutional import BatchNorm, GroupNorm
from sketch_jax.models.image_sizes import sizes_by_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegNet:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    depth: int = 21
    """Number of blocks."""
    w0: int = 80
    """Width of the first block, in channels, before rounding."""
    wa: float = 42.63
    """Channels that each further block is wider by, before rounding."""
    wm: float = 2.66
    """Width of a stage to that of the stage before, before rounding."""
    group_size: int = 24
    """Channels of each group of the 3×3 convolutions."""
    bottle_ratio: float = 1.0
    """Channels inside a block, to those that leave it."""
    se_ratio: float = 0.0
    """Channels of the bottleneck of squeeze-and-excitation, to those that enter the block; 0: none."""
    group_min_ratio: float = 0.0
    """0: the width inside a block is rounded to the nearest multiple of the group size; else as torchvision
    does it, up where that takes more than a tenth away."""
    stem_width: int = 32
    """Channels that enter the first stage."""
    downsample: Literal["", "conv1x1", "avg"] | None = "conv1x1"
    """Shortcut of blocks that change the shape: a strided convolution, or one after averaging; `""` or None:
    such blocks have none."""
    linear_out: bool = False
    """Whether no activation follows the sum of branch and shortcut; one then follows the last block."""
    preact: bool = False
    """Whether norms and activations stand before the convolutions."""
    num_features: int = 0
    """Channels of a convolution after the last stage; 0: there is none."""
    act_layer: str = "relu"
    norm_layer: Callable[..., nn.Module] = BatchNorm
    zero_init_last: bool = True
    """Whether new residual branches start at zero: the scale of the last norm does."""
    global_pool: str = "avg"


def _row(w0: int, wa: float, wm: float, group_size: int, depth: int, **changes: Any) -> RegNet:
    return RegNet(w0=w0, wa=wa, wm=wm, group_size=group_size, depth=depth, **changes)


def _squeeze_excite(record: RegNet) -> RegNet:
    """RegNetY."""
    return dataclasses.replace(record, se_ratio=0.25)


def _torchvision(record: RegNet) -> RegNet:
    """Widths as torchvision rounds them."""
    return dataclasses.replace(record, group_min_ratio=0.9)


def _z(record: RegNet, num_features: int = 0) -> RegNet:
    """RegNetZ (arXiv:2103.06877): wide inside, linear outside."""
    return dataclasses.replace(
        _squeeze_excite(record),
        bottle_ratio=4.0,
        downsample=None,
        linear_out=True,
        num_features=num_features,
        act_layer="silu",
        zero_init_last=False,
    )


X004 = _row(24, 24.48, 2.54, 16, 22)
Y008 = _squeeze_excite(_row(56, 38.84, 2.4, 16, 14))
Y040 = _squeeze_excite(_row(96, 31.41, 2.24, 64, 22))
Y064 = _squeeze_excite(_row(112, 33.22, 2.27, 72, 25))
Y080 = _squeeze_excite(_row(192, 76.82, 2.19, 56, 17))
X120 = _row(168, 73.36, 2.37, 112, 19)
Z040 = _row(48, 14.5, 2.226, 8, 28)

ARCHITECTURES: dict[str, RegNet] = {
    "regnetx_002": _row(24, 36.44, 2.49, 8, 13),
    "regnetx_004": X004,
    "regnetx_004_tv": _torchvision(X004),
    "regnetx_006": _row(48, 36.97, 2.24, 24, 16),
    "regnetx_008": _row(56, 35.73, 2.28, 16, 16),
    "regnetx_016": _row(80, 34.01, 2.25, 24, 18),
    "regnetx_032": _row(88, 26.31, 2.25, 48, 25),
    "regnetx_040": _row(96, 38.65, 2.43, 40, 23),
    "regnetx_064": _row(184, 60.83, 2.07, 56, 17),
    "regnetx_080": _row(80, 49.56, 2.88, 120, 23),
    "regnetx_120": X120,
    "regnetx_160": _row(216, 55.59, 2.1, 128, 22),
    "regnetx_320": _row(320, 69.86, 2.0, 168, 23),
    "regnety_002": _squeeze_excite(_row(24, 36.44, 2.49, 8, 13)),
    "regnety_004": _squeeze_excite(_row(48, 27.89, 2.09, 8, 16)),
    "regnety_006": _squeeze_excite(_row(48, 32.54, 2.32, 16, 15)),
    "regnety_008": Y008,
    "regnety_008_tv": _torchvision(Y008),
    "regnety_016": _squeeze_excite(_row(48, 20.71, 2.65, 24, 27)),
    "regnety_032": _squeeze_excite(_row(80, 42.63, 2.66, 24, 21)),
    "regnety_040": Y040,
    "regnety_064": Y064,
    "regnety_080": Y080,
    "regnety_080_tv": _torchvision(Y080),
    "regnety_120": _squeeze_excite(X120),
    "regnety_160": _squeeze_excite(_row(200, 106.23, 2.48, 112, 18)),
    "regnety_320": _squeeze_excite(_row(232, 115.89, 2.53, 232, 20)),
    "regnety_640": _squeeze_excite(_row(352, 147.48, 2.4, 328, 20)),
    "regnety_1280": _squeeze_excite(_row(456, 160.83, 2.52, 264, 27)),
    "regnety_2560": _squeeze_excite(_row(640, 230.83, 2.53, 373, 27)),
    "regnety_040_sgn": dataclasses.replace(
        Y040, act_layer="silu", norm_layer=functools.partial(GroupNorm, group_size=16)
    ),
    "regnetv_040": dataclasses.replace(Y040, preact=True, act_layer="silu"),
    "regnetv_064": dataclasses.replace(Y064, preact=True, act_layer="silu", downsample="avg"),
    "regnetz_005": _z(_row(16, 10.7, 2.51, 4, 21), 1024),
    "regnetz_040": _z(Z040),
    "regnetz_040_h": _z(Z040, 1536),
}
"""timm's names, all of them."""

IMAGE_SIZES = sizes_by_name(
    {256: ("regnetz_040", "regnetz_040_h"), 384: ("regnety_640", "regnety_1280", "regnety_2560")}
)
"""Height and width of the images in pixels, where it is not 224."""
