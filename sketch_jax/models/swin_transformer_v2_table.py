"""The architectures of timm's swin_transformer_v2.py, as records."""

import dataclasses

from sketch_jax.models.swin_record import Swin
from sketch_jax.models.windows import Pair


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwinTransformerV2(Swin):
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    act_layer: str = "gelu"
    """Activation of the perceptrons."""
    pretrained_window_sizes: tuple[int | Pair, ...] = (0, 0, 0, 0)
    """Windows of each stage that distances are measured by, in cells; 0: those of `window_size`."""


def _sized(embed_dim: int, third: int, window_size: int, pretrained: int = 0) -> SwinTransformerV2:
    """Of so many blocks in the third stage; perhaps of weights trained with smaller windows."""
    heads = embed_dim // 32
    return SwinTransformerV2(
        img_size=16 * window_size,
        embed_dim=embed_dim,
        depths=(2, 2, third, 2),
        num_heads=(heads, 2 * heads, 4 * heads, 8 * heads),
        window_size=window_size,
        pretrained_window_sizes=(pretrained, pretrained, pretrained, pretrained // 2),
    )


ARCHITECTURES: dict[str, SwinTransformerV2] = {
    "swinv2_tiny_window16_256": _sized(96, 6, 16),
    "swinv2_tiny_window8_256": dataclasses.replace(_sized(96, 6, 8), img_size=256),
    "swinv2_small_window16_256": _sized(96, 18, 16),
    "swinv2_small_window8_256": dataclasses.replace(_sized(96, 18, 8), img_size=256),
    "swinv2_base_window16_256": _sized(128, 18, 16),
    "swinv2_base_window8_256": dataclasses.replace(_sized(128, 18, 8), img_size=256),
    "swinv2_base_window12_192": _sized(128, 18, 12),
    "swinv2_base_window12to16_192to256": _sized(128, 18, 16, 12),
    "swinv2_base_window12to24_192to384": _sized(128, 18, 24, 12),
    "swinv2_large_window12_192": _sized(192, 18, 12),
    "swinv2_large_window12to16_192to256": _sized(192, 18, 16, 12),
    "swinv2_large_window12to24_192to384": _sized(192, 18, 24, 12),
}
"""timm's names."""
