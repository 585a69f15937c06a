"""The architectures of timm's metaformer.py, as records."""

import dataclasses
from typing import Literal

Mixer = Literal["Pooling", "SepConv", "Attention"]
NormName = Literal["GroupNorm1", "GroupNorm1NoBias", "LayerNorm2dNoBias", "LayerNormNoBias"]
InitialScale = float | None
"""Where a learnt scale starts; None: there is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaFormer:
    """What tells one architecture of the family from another; the fields are timm's arguments.

    What is not a tuple holds for all stages.
    """

    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of each stage."""
    dims: tuple[int, ...] = (64, 128, 320, 512)
    """Channels of each stage."""
    token_mixers: Mixer | tuple[Mixer, ...] = "Pooling"
    """What mixes places: a local average, a separable convolution, or attention."""
    mlp_act: Literal["StarReLU", "GELU"] = "StarReLU"
    mlp_bias: bool = False
    layer_scale_init_values: InitialScale | tuple[InitialScale, ...] = None
    """Of each channel of the residual branches."""
    res_scale_init_values: InitialScale | tuple[InitialScale, ...] = (None, None, 1.0, 1.0)
    """Of each channel of what the branches are added to."""
    downsample_norm: NormName | None = "LayerNorm2dNoBias"
    """After the stem's convolution, and before those that halve the map; None: none."""
    norm_layers: NormName | tuple[NormName, ...] = "LayerNorm2dNoBias"
    """Of the blocks."""
    use_mlp_head: bool = True
    """Whether the classifier is a perceptron, not one map."""
    global_pool: Literal["avg", "max", "avgmax"] = "avg"


S12 = MetaFormer()
S24 = MetaFormer(depths=(4, 4, 12, 4))
S36 = MetaFormer(depths=(6, 6, 18, 6))
M36 = MetaFormer(depths=(6, 6, 18, 6), dims=(96, 192, 384, 768))
M48 = MetaFormer(depths=(8, 8, 24, 8), dims=(96, 192, 384, 768))


def _pool(base: MetaFormer, layer_scale: float) -> MetaFormer:
    """PoolFormer (arXiv:2111.11418)."""
    return dataclasses.replace(
        base,
        mlp_act="GELU",
        mlp_bias=True,
        layer_scale_init_values=layer_scale,
        res_scale_init_values=None,
        downsample_norm=None,
        norm_layers="GroupNorm1",
        use_mlp_head=False,
    )


def _pool_v2(base: MetaFormer) -> MetaFormer:
    return dataclasses.replace(base, norm_layers="GroupNorm1NoBias", use_mlp_head=False)


BASELINES = {
    "s18": MetaFormer(depths=(3, 3, 9, 3)),
    "s36": MetaFormer(depths=(3, 12, 18, 3)),
    "m36": MetaFormer(depths=(3, 12, 18, 3), dims=(96, 192, 384, 576)),
    "b36": MetaFormer(depths=(3, 12, 18, 3), dims=(128, 256, 512, 768)),
}
"""Sizes of ConvFormer and CAFormer (arXiv:2210.13452)."""


def _conv(base: MetaFormer) -> MetaFormer:
    return dataclasses.replace(base, token_mixers="SepConv")


def _conv_attention(base: MetaFormer) -> MetaFormer:
    return dataclasses.replace(
        base,
        token_mixers=("SepConv", "SepConv", "Attention", "Attention"),
        norm_layers=("LayerNorm2dNoBias", "LayerNorm2dNoBias", "LayerNormNoBias", "LayerNormNoBias"),
    )


ARCHITECTURES: dict[str, MetaFormer] = {
    "poolformer_s12": _pool(S12, 1e-5),
    "poolformer_s24": _pool(S24, 1e-5),
    "poolformer_s36": _pool(S36, 1e-6),
    "poolformer_m36": _pool(M36, 1e-6),
    "poolformer_m48": _pool(M48, 1e-6),
    "poolformerv2_s12": _pool_v2(S12),
    "poolformerv2_s24": _pool_v2(S24),
    "poolformerv2_s36": _pool_v2(S36),
    "poolformerv2_m36": _pool_v2(M36),
    "poolformerv2_m48": _pool_v2(M48),
    **{f"convformer_{size}": _conv(base) for size, base in BASELINES.items()},
    **{f"caformer_{size}": _conv_attention(base) for size, base in BASELINES.items()},
}
"""timm's names."""

IMAGE_SIZES: dict[str, int] = {}
"""Height and width of the images in pixels, where it is not 224."""
