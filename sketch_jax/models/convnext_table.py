"""The architectures of timm's convnext.py, as records."""

import dataclasses
from typing import Literal

from sketch_jax.models.image_sizes import sizes_by_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNeXt:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    global_pool: Literal["avg", "max", "avgmax", "catavgmax"] = "avg"
    """How the map becomes one vector; `catavgmax` goes with `head_norm_first` alone."""
    depths: tuple[int, ...] = (3, 3, 9, 3)
    """Blocks of each of the four stages."""
    dims: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage."""
    kernel_sizes: int | tuple[int, ...] = 7
    """Of the depthwise convolutions, in all stages or in each; odd."""
    ls_init_value: float | None = 1e-6
    """Start of the layer scales; None: there are none."""
    stem_type: Literal["patch", "overlap", "overlap_tiered", "overlap_act"] = "patch"
    """`patch`: one convolution of patches that do not overlap; `overlap`: two 3×3, each of stride 2;
    `_tiered`: the first has half the channels; `_act`: an activation lies between them."""
    patch_size: Literal[2, 4] = 4
    """Height and width of a patch of the stem `patch`, in pixels; of 2, the first stage halves, too."""
    head_init_scale: float = 1.0
    """Factor of a new head's weights."""
    head_norm_first: bool = False
    """Whether the map is normalised before pooling, not the pooled features after it."""
    head_hidden_size: int | None = None
    """Channels of a hidden map before the classifier; None: there is none."""
    conv_mlp: bool = False
    """Whether the maps of a perceptron are 1×1 convolutions; the numbers are the same, the shapes are not."""
    conv_bias: bool = True
    """Whether the convolutions outside the perceptrons have biases."""
    use_grn: bool = False
    """Whether perceptrons have a global response norm, as in ConvNeXt V2."""
    act_layer: str = "gelu"
    """Of the perceptrons and of the stem."""
    norm_layer: (
        Literal["layernorm", "layernorm2d", "rmsnorm", "rmsnorm2d", "simplenorm", "simplenorm2d"] | None
    ) = None
    """Of the channels, everywhere; `2d` makes no difference here. None: `layernorm`."""
    norm_eps: float | None = None
    """Epsilon of all norms; None: 1e-6."""


def _sized(width: int, *depths: int) -> ConvNeXt:
    """So many channels in the first stage, twice as many in each that follows."""
    return ConvNeXt(depths=depths, dims=tuple(width * 2**stage for stage in range(4)))


def _small(width: int, *depths: int) -> ConvNeXt:
    """The sizes below tiny: perceptrons of 1×1 convolutions."""
    return dataclasses.replace(_sized(width, *depths), conv_mlp=True)


def _v2(base: ConvNeXt) -> ConvNeXt:
    """The second version: a global response norm in place of layer scales."""
    return dataclasses.replace(base, use_grn=True, ls_init_value=None)


ZEPTO = dataclasses.replace(_small(32, 2, 2, 4, 2), norm_layer="simplenorm")
ATTO = _small(40, 2, 2, 6, 2)
FEMTO = _small(48, 2, 2, 6, 2)
PICO = _small(64, 2, 2, 6, 2)
NANO = _small(80, 2, 2, 8, 2)
TINY = _sized(96, 3, 3, 9, 3)
SMALL = _sized(96, 3, 3, 27, 3)
BASE = _sized(128, 3, 3, 27, 3)
LARGE = _sized(192, 3, 3, 27, 3)
XLARGE = _sized(256, 3, 3, 27, 3)
TEST = ConvNeXt(depths=(1, 1, 1, 1), dims=(32, 64, 96, 128), norm_eps=1e-5)

ARCHITECTURES: dict[str, ConvNeXt] = {
    "convnext_zepto_rms": ZEPTO,
    "convnext_zepto_rms_ols": dataclasses.replace(ZEPTO, stem_type="overlap_act"),
    "convnext_atto": ATTO,
    "convnext_atto_ols": dataclasses.replace(ATTO, stem_type="overlap_tiered"),
    "convnext_atto_rms": dataclasses.replace(ATTO, norm_layer="rmsnorm2d"),
    "convnext_femto": FEMTO,
    "convnext_femto_ols": dataclasses.replace(FEMTO, stem_type="overlap_tiered"),
    "convnext_pico": PICO,
    "convnext_pico_ols": dataclasses.replace(PICO, stem_type="overlap_tiered"),
    "convnext_nano": NANO,
    "convnext_nano_ols": dataclasses.replace(NANO, stem_type="overlap"),
    "convnext_tiny_hnf": dataclasses.replace(TINY, conv_mlp=True, head_norm_first=True),
    "convnext_tiny": TINY,
    "convnext_small": SMALL,
    "convnext_base": BASE,
    "convnext_large": LARGE,
    "convnext_large_mlp": dataclasses.replace(LARGE, head_hidden_size=1536),
    "convnext_xlarge": XLARGE,
    "convnext_xxlarge": dataclasses.replace(_sized(384, 3, 4, 30, 3), norm_eps=1e-5),
    "convnextv2_atto": _v2(ATTO),
    "convnextv2_femto": _v2(FEMTO),
    "convnextv2_pico": _v2(PICO),
    "convnextv2_nano": _v2(NANO),
    "convnextv2_tiny": _v2(TINY),
    "convnextv2_small": _v2(SMALL),
    "convnextv2_base": _v2(BASE),
    "convnextv2_large": _v2(LARGE),
    "convnextv2_huge": _v2(_sized(352, 3, 3, 27, 3)),
    "test_convnext": dataclasses.replace(
        TEST, depths=(1, 2, 4, 2), dims=(24, 32, 48, 64), act_layer="gelu_tanh"
    ),
    "test_convnext2": dataclasses.replace(TEST, act_layer="gelu_tanh"),
    "test_convnext3": dataclasses.replace(TEST, kernel_sizes=(7, 5, 5, 3), act_layer="silu"),
}
"""timm's names."""

IMAGE_SIZES = sizes_by_name(
    {
        160: ("test_convnext", "test_convnext2", "test_convnext3"),
        256: ("convnext_xxlarge",),
        320: ("convnext_large_mlp",),
        384: ("convnextv2_huge",),
    }
)
"""Height and width of the images in pixels, where it is not 224."""
