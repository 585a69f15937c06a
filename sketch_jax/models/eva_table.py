"""The architectures of timm's eva.py, as records."""

import dataclasses
import functools
from typing import Any

from sketch_jax.models.eva_record import Eva
from sketch_jax.models.layers import Norm

CLIP_NORM = Norm(epsilon=1e-5)

_change = dataclasses.replace


def _sized(embed_dim: int, depth: int, num_heads: int, **changes: Any) -> Eva:
    return Eva(embed_dim=embed_dim, depth=depth, num_heads=num_heads, **changes)


TINY, SMALL, BASE = _sized(192, 12, 3), _sized(384, 12, 6), _sized(768, 12, 12)
LARGE = _sized(1024, 24, 16)
GIANT = _sized(1408, 40, 16, patch_size=14, mlp_ratio=6144 / 1408)


def _eva02(record: Eva, img_size: int, patch_size: int = 14) -> Eva:
    return _change(
        record,
        img_size=img_size,
        patch_size=patch_size,
        mlp_ratio=4 * 2 / 3,
        swiglu_mlp=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(16, 16),
    )


def _eva02_normed(record: Eva, img_size: int, patch_size: int = 14) -> Eva:
    return _change(_eva02(record, img_size, patch_size), qkv_fused=False, scale_mlp=True)


def _eva02_clip(record: Eva, img_size: int, patch_size: int = 14) -> Eva:
    normed = _eva02_normed(record, img_size, patch_size)
    return _change(normed, scale_attn_inner=True, global_pool="token")


def _rope_gap(record: Eva, registers: int, qkv_bias: bool = True) -> Eva:
    return _change(
        record,
        img_size=256,
        qkv_bias=qkv_bias,
        init_values=1e-5,
        class_token=False,
        num_reg_tokens=registers,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        ref_feat_shape=(16, 16),
    )


def _perception(record: Eva, img_size: int, patch_size: int, **changes: Any) -> Eva:
    """The Perception Encoder's; its positions are those of its largest grid."""
    reference = img_size // patch_size
    stated: dict[str, Any] = {
        "attn_type": "rope",
        "use_pre_transformer_norm": True,
        "use_rot_pos_emb": True,
        "ref_feat_shape": (reference, reference),
        "rope_grid_offset": 1.0,
        "rope_grid_indexing": "xy",
        "norm_layer": CLIP_NORM,
    }
    return _change(record, img_size=img_size, patch_size=patch_size, **{**stated, **changes})


_core = functools.partial(_perception, global_pool="map", attn_pool_num_heads=8, attn_pool_mlp_ratio=4.0)
_spatial = functools.partial(_perception, use_post_transformer_norm=False, use_fc_norm=False)
_lang = functools.partial(_spatial, init_values=0.1)
GIGANTIC = _sized(1536, 50, 16, mlp_ratio=8960 / 1536, class_token=False)


def _rope(record: Eva, mixed: bool = False, learnt_positions: bool = False, **changes: Any) -> Eva:
    return _change(
        record,
        attn_type="rope",
        init_values=1e-5,
        global_pool="token",
        no_embed_class=learnt_positions,
        use_abs_pos_emb=learnt_positions,
        use_rot_pos_emb=True,
        rope_type="mixed" if mixed else "cat",
        rope_grid_indexing="xy",
        rope_temperature=10.0 if mixed else 100.0,
        **changes,
    )


def _dinov3(record: Eva, qkv_bias: bool = False, **changes: Any) -> Eva:
    stated: dict[str, Any] = {
        "img_size": 256,
        "qkv_bias": qkv_bias,
        "init_values": 1e-5,
        "rope_type": "dinov3",
        "rope_temperature": 100.0,
        "rope_rotate_half": True,
        "use_rot_pos_emb": True,
        "use_abs_pos_emb": False,
        "num_reg_tokens": 4,
        "use_fc_norm": False,
        "norm_layer": CLIP_NORM,
    }
    return _change(record, **{**stated, **changes})


_plus = functools.partial(_dinov3, swiglu_mlp=True, swiglu_align_to=8)
_lingbot = functools.partial(_dinov3, img_size=512, global_pool="token")


def _sapiens2(record: Eva) -> Eva:
    """Of more than twelve blocks only the first and the last eight have as many key heads as query heads."""
    heads, depth = record.num_heads, record.depth
    inner = heads // 2 if depth > 12 else heads
    few = (inner,) * (depth - 16) if depth > 12 else ()
    ends = (heads,) * (min(depth, 16) // 2)
    return _dinov3(
        record,
        qkv_bias=True,
        img_size=768,
        num_kv_heads=ends + few + ends,
        attn_type="rope",
        qkv_fused=False,
        qk_norm=True,
        global_pool="token",
        swiglu_mlp=True,
        init_values=1.0,
        attn_only_layer_scale=True,
        rope_rescale_coords=2.0,
        num_reg_tokens=8,
        norm_layer=Norm(kind="root_mean_square"),
    )


HUGE_PLUS = _sized(1280, 32, 20)

ARCHITECTURES: dict[str, Eva] = {
    "eva_giant_patch14_224": GIANT,
    "eva_giant_patch14_336": _change(GIANT, img_size=336),
    "eva_giant_patch14_560": _change(GIANT, img_size=560),
    "eva_giant_patch14_clip_224": _change(GIANT, global_pool="token"),
    "eva02_tiny_patch14_224": _eva02(TINY, 224),
    "eva02_small_patch14_224": _eva02(SMALL, 224),
    "eva02_base_patch14_224": _eva02_normed(BASE, 224),
    "eva02_large_patch14_224": _eva02_normed(LARGE, 224),
    "eva02_tiny_patch14_336": _eva02(TINY, 336),
    "eva02_small_patch14_336": _eva02(SMALL, 336),
    "eva02_base_patch14_448": _eva02_normed(BASE, 448),
    "eva02_large_patch14_448": _eva02_normed(LARGE, 448),
    "eva02_base_patch16_clip_224": _eva02_clip(BASE, 224, 16),
    "eva02_large_patch14_clip_224": _eva02_clip(LARGE, 224),
    "eva02_large_patch14_clip_336": _eva02_clip(LARGE, 336),
    "eva02_enormous_patch14_clip_224": _sized(
        1792, 64, 16, patch_size=14, mlp_ratio=15360 / 1792, use_post_norm=True, global_pool="token"
    ),
    "vit_medium_patch16_rope_reg1_gap_256": _rope_gap(_sized(512, 12, 8), 1),
    "vit_mediumd_patch16_rope_reg1_gap_256": _rope_gap(_sized(512, 20, 8), 1, qkv_bias=False),
    "vit_betwixt_patch16_rope_reg4_gap_256": _rope_gap(_sized(640, 12, 10), 4),
    "vit_base_patch16_rope_reg1_gap_256": _rope_gap(BASE, 1),
    "vit_pe_core_tiny_patch16_384": _core(TINY, 384, 16),
    "vit_pe_core_small_patch16_384": _core(SMALL, 384, 16),
    "vit_pe_core_base_patch16_224": _core(BASE, 224, 16),
    "vit_pe_core_large_patch14_336": _core(LARGE, 336, 14),
    "vit_pe_core_gigantic_patch14_448": _core(GIGANTIC, 448, 14, rope_grid_offset=0.0),
    "vit_pe_lang_large_patch14_448": _lang(_change(LARGE, depth=23), 448, 14),
    "vit_pe_lang_gigantic_patch14_448": _lang(_change(GIGANTIC, depth=47), 448, 14, rope_grid_offset=0.0),
    "vit_pe_spatial_tiny_patch16_512": _spatial(TINY, 512, 16),
    "vit_pe_spatial_small_patch16_512": _spatial(SMALL, 512, 16),
    "vit_pe_spatial_base_patch16_512": _spatial(BASE, 512, 16),
    "vit_pe_spatial_large_patch14_448": _spatial(LARGE, 448, 14),
    "vit_pe_spatial_gigantic_patch14_448": _lang(GIGANTIC, 448, 14, rope_grid_offset=0.0),
    "vit_small_patch16_rope_224": _rope(SMALL),
    "vit_base_patch16_rope_224": _rope(BASE, use_fc_norm=False),
    "vit_large_patch16_rope_224": _rope(LARGE),
    "vit_small_patch16_rope_mixed_224": _rope(SMALL, mixed=True),
    "vit_base_patch16_rope_mixed_224": _rope(BASE, mixed=True),
    "vit_large_patch16_rope_mixed_224": _rope(LARGE, mixed=True),
    "vit_small_patch16_rope_ape_224": _rope(SMALL, learnt_positions=True),
    "vit_base_patch16_rope_ape_224": _rope(BASE, learnt_positions=True),
    "vit_large_patch16_rope_ape_224": _rope(LARGE, learnt_positions=True),
    "vit_small_patch16_rope_mixed_ape_224": _rope(SMALL, mixed=True, learnt_positions=True),
    "vit_base_patch16_rope_mixed_ape_224": _rope(BASE, mixed=True, learnt_positions=True),
    "vit_large_patch16_rope_mixed_ape_224": _rope(LARGE, mixed=True, learnt_positions=True),
    "vit_tiny_patch16_dinov3_qkvb": _dinov3(TINY, qkv_bias=True),
    "vit_small_patch16_dinov3": _dinov3(SMALL),
    "vit_small_patch16_dinov3_qkvb": _dinov3(SMALL, qkv_bias=True),
    "vit_small_plus_patch16_dinov3": _plus(SMALL),
    "vit_small_plus_patch16_dinov3_qkvb": _plus(SMALL, qkv_bias=True),
    "vit_base_patch16_dinov3": _dinov3(BASE),
    "vit_base_patch16_dinov3_qkvb": _dinov3(BASE, qkv_bias=True),
    "vit_large_patch16_dinov3": _dinov3(LARGE),
    "vit_large_patch16_dinov3_qkvb": _dinov3(LARGE, qkv_bias=True),
    "vit_huge_plus_patch16_dinov3": _plus(HUGE_PLUS),
    "vit_huge_plus_patch16_dinov3_qkvb": _plus(HUGE_PLUS, qkv_bias=True),
    "vit_7b_patch16_dinov3": _dinov3(
        _sized(4096, 40, 32, mlp_ratio=2.0), swiglu_mlp=True, swiglu_align_to=64
    ),
    "vit_small_patch16_lingbot": _lingbot(SMALL, qkv_bias=True),
    "vit_base_patch16_lingbot": _lingbot(BASE, qkv_bias=True),
    "vit_large_patch16_lingbot": _lingbot(LARGE, qkv_bias=True),
    "vit_giant_patch16_lingbot": _lingbot(
        _sized(1536, 40, 24, mlp_ratio=4 * 2 / 3), swiglu_mlp=True, swiglu_align_to=8
    ),
    "vit_base_patch16_sapiens2": _sapiens2(BASE),
    "vit_large_patch16_sapiens2": _sapiens2(LARGE),
    "vit_huge_patch16_sapiens2": _sapiens2(_sized(1280, 32, 16)),
    "vit_giant_patch16_sapiens2": _sapiens2(_sized(1536, 40, 24)),
    "vit_5b_patch16_sapiens2": _sapiens2(_sized(2432, 56, 32)),
}
"""timm's names."""
