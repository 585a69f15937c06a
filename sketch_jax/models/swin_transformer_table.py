"""The architectures of timm's swin_transformer.py, as records."""

import dataclasses
from typing import Any

from sketch_jax.models.swin_record import Swin


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwinTransformer(Swin):
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    head_dim: int | tuple[int | None, ...] | None = None
    """Channels of a head, in all stages or in each; None: those of the stage, shared out among its heads."""


def _sized(embed_dim: int, third: int, **changes: Any) -> SwinTransformer:
    """Of so many blocks in the third stage."""
    heads = embed_dim // 32
    return SwinTransformer(
        embed_dim=embed_dim,
        depths=(2, 2, third, 2),
        num_heads=(heads, 2 * heads, 4 * heads, 8 * heads),
        **changes,
    )


ARCHITECTURES: dict[str, SwinTransformer] = {
    "swin_tiny_patch4_window7_224": _sized(96, 6),
    "swin_small_patch4_window7_224": _sized(96, 18),
    "swin_base_patch4_window7_224": _sized(128, 18),
    "swin_base_patch4_window12_384": _sized(128, 18, img_size=384, window_size=12),
    "swin_large_patch4_window7_224": _sized(192, 18),
    "swin_large_patch4_window12_384": _sized(192, 18, img_size=384, window_size=12),
    "swin_s3_tiny_224": _sized(96, 6, window_size=(7, 7, 14, 7)),
    "swin_s3_small_224": _sized(96, 18, window_size=(14, 14, 14, 7)),
    "swin_s3_base_224": _sized(96, 30, window_size=(7, 7, 14, 7)),
}
"""timm's names; S3 are windows found by search (arXiv:2111.14725)."""
