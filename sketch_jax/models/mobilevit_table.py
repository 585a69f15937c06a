"""The architectures of timm's mobilevit.py, as records.

Left out: `semobilevit_s`, which timm describes and has no entry point for.
"""

import dataclasses
from typing import Literal

from sketch_jax.models.image_sizes import sizes_by_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileVit:
    """What tells one architecture of the family from another.

    timm states blocks one by one, as `ByoBlockCfg`; here they are stated by stages, of which the first are
    of inverted residuals alone, and the last end with a block of transformers each.
    """

    version: Literal[1, 2]
    stem_chs: int
    """Channels of the stem."""
    channels: tuple[int, ...]
    """Channels of each stage."""
    depths: tuple[int, ...]
    """Inverted residuals of each stage; all stages but the first start with a stride of 2."""
    bottle_ratio: float
    """Channels inside an inverted residual to those that enter it."""
    transformer_depths: tuple[int, ...] = (2, 4, 3)
    """Transformers of each of the last stages."""
    transformer_dims: tuple[int, ...]
    """Channels of those transformers."""
    num_features: int = 0
    """Channels of the last 1×1 convolution; 0: there is none."""
    patch_size: int = 2
    """Height and width of a patch, in places of the map."""
    zero_init_last: bool = True
    """Whether new residual branches start at zero: the scale of the last norm does."""
    global_pool: Literal["avg", "max", "avgmax", "catavgmax"] = "avg"


def _v2(multiplier: float) -> MobileVit:
    """MobileViT v2 (arXiv:2206.02680) of some width."""
    channels = tuple(int(multiplier * width) for width in (64, 128, 256, 384, 512))
    return MobileVit(
        version=2,
        stem_chs=int(multiplier * 32),
        channels=channels,
        depths=(1, 2, 1, 1, 1),
        bottle_ratio=2.0,
        transformer_dims=tuple(width // 2 for width in channels[2:]),
    )


ARCHITECTURES: dict[str, MobileVit] = {
    "mobilevit_xxs": MobileVit(
        version=1,
        stem_chs=16,
        channels=(16, 24, 48, 64, 80),
        depths=(1, 3, 1, 1, 1),
        bottle_ratio=2.0,
        transformer_dims=(64, 80, 96),
        num_features=320,
    ),
    "mobilevit_xs": MobileVit(
        version=1,
        stem_chs=16,
        channels=(32, 48, 64, 80, 96),
        depths=(1, 3, 1, 1, 1),
        bottle_ratio=4.0,
        transformer_dims=(96, 120, 144),
        num_features=384,
    ),
    "mobilevit_s": MobileVit(
        version=1,
        stem_chs=16,
        channels=(32, 64, 96, 128, 160),
        depths=(1, 3, 1, 1, 1),
        bottle_ratio=4.0,
        transformer_dims=(144, 192, 240),
        num_features=640,
    ),
    **{f"mobilevitv2_{percent:03}": _v2(percent / 100) for percent in (50, 75, 100, 125, 150, 175, 200)},
}
"""timm's names."""

IMAGE_SIZES = sizes_by_name({256: ARCHITECTURES})
"""Height and width of the images in pixels."""
