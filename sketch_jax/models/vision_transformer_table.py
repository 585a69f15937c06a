"""The architectures of timm's vision_transformer.py and deit.py, as records."""

import dataclasses

from sketch_jax.models.layers import Norm
from sketch_jax.models.vision_transformer_record import VisionTransformer


def _sized(embed_dim: int, depth: int, num_heads: int, mlp_ratio: float = 4.0) -> VisionTransformer:
    return VisionTransformer(embed_dim=embed_dim, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)


def _at(record: VisionTransformer, img_size: int, patch_size: int = 16) -> VisionTransformer:
    return dataclasses.replace(record, img_size=img_size, patch_size=patch_size)


def _clip(record: VisionTransformer, act_layer: str = "gelu") -> VisionTransformer:
    return dataclasses.replace(record, pre_norm=True, norm_layer=Norm(epsilon=1e-5), act_layer=act_layer)


def _gap(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, class_token=False, global_pool="avg", fc_norm=False)


def _map(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, class_token=False, global_pool="map")


def _tanh(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, act_layer="gelu_tanh")


def _scaled(record: VisionTransformer, init_values: float = 1e-5) -> VisionTransformer:
    return dataclasses.replace(record, init_values=init_values)


def _registers(record: VisionTransformer, reg_tokens: int) -> VisionTransformer:
    return dataclasses.replace(record, reg_tokens=reg_tokens, no_embed_class=True)


def _register_gap(record: VisionTransformer, reg_tokens: int) -> VisionTransformer:
    return dataclasses.replace(_registers(record, reg_tokens), class_token=False, global_pool="avg")


def _deit3(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, no_embed_class=True, init_values=1e-6)


def _distilled(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, distilled=True)


def _parallel(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, depth=18, init_values=1e-5, block_fn="ParallelThingsBlock")


def _xp(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(
        record,
        pre_norm=True,
        no_embed_class=True,
        norm_layer=Norm(kind="root_mean_square"),
        block_fn="ParallelScalingBlock",
        qkv_bias=False,
        qk_norm=True,
    )


def _swiglu(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(record, mlp_ratio=2.66667 * 2, mlp_layer="SwiGLUPacked", act_layer="silu")


def _aimv2(embed_dim: int, num_heads: int, mlp_ratio: float, img_size: int) -> VisionTransformer:
    norm = Norm(kind="root_mean_square", epsilon=1e-5)
    return dataclasses.replace(
        _at(_gap(_sized(embed_dim, 24, num_heads, mlp_ratio)), img_size, 14),
        qkv_bias=False,
        proj_bias=False,
        act_layer="silu",
        norm_layer=norm,
        embed_norm_layer=norm,
        mlp_layer="SwiGLU",
    )


def _beit3(record: VisionTransformer) -> VisionTransformer:
    return dataclasses.replace(
        record,
        scale_attn_norm=True,
        scale_mlp_norm=True,
        global_pool="avg",
        norm_layer=Norm(epsilon=1e-5),
    )


def _radio(record: VisionTransformer, reg_tokens: int) -> VisionTransformer:
    return dataclasses.replace(_registers(record, reg_tokens), img_size=512, final_norm=False)


TINY = _sized(192, 12, 3)
SMALL = _sized(384, 12, 6)
MEDIUM = _sized(512, 12, 8)
BETWIXT = _sized(640, 12, 10)
BASE = _sized(768, 12, 12)
BASE_PLUS = _sized(896, 12, 14)
LARGE = _sized(1024, 24, 16)
HUGE = _sized(1280, 32, 16)
GIANT = _sized(1408, 40, 16, 48 / 11)
GIGANTIC = _sized(1664, 48, 16, 64 / 13)
GIANT_DINO = _swiglu(_sized(1536, 40, 24))
GIANT_OPT = _tanh(_sized(1536, 40, 16))
SO400M = _sized(1152, 27, 16, 3.7362)
SO400M_EXACT = _sized(1152, 27, 16, 4304 / 1152)
WEE = _scaled(_sized(256, 14, 4, 5.0))
PARALLEL_WEE = _scaled(_sized(256, 16, 4, 5.0))
LITTLE = _scaled(_sized(320, 14, 5, 5.6))
MEDIUM_DEEP = _scaled(_sized(512, 20, 8))
SO150M = dataclasses.replace(_sized(896, 18, 14, 2.572), class_token=False, reg_tokens=4)
SO150M2 = dataclasses.replace(
    _scaled(_sized(832, 21, 13, 34 / 13)),
    qkv_bias=False,
    class_token=False,
    reg_tokens=1,
    global_pool="avg",
)
MEDIUM_GAP = dataclasses.replace(_gap(_scaled(MEDIUM, 1e-6)), qkv_bias=False)
BETWIXT_GAP = dataclasses.replace(_gap(_scaled(BETWIXT, 1e-6)), qkv_bias=False)
TEST_REGISTER = dataclasses.replace(
    VisionTransformer(img_size=160, num_heads=3, embed_dim=96, depth=9, mlp_ratio=3.0, init_values=1e-5),
    class_token=False,
    reg_tokens=1,
    global_pool="avg",
)


ARCHITECTURES: dict[str, VisionTransformer] = {
    "vit_tiny_patch16_224": TINY,
    "vit_tiny_patch16_384": _at(TINY, 384),
    "vit_small_patch32_224": _at(SMALL, 224, 32),
    "vit_small_patch32_384": _at(SMALL, 384, 32),
    "vit_small_patch16_224": SMALL,
    "vit_small_patch16_384": _at(SMALL, 384),
    "vit_small_patch8_224": _at(SMALL, 224, 8),
    "vit_base_patch32_224": _at(BASE, 224, 32),
    "vit_base_patch32_384": _at(BASE, 384, 32),
    "vit_base_patch16_224": BASE,
    "vit_base_patch16_384": _at(BASE, 384),
    "vit_base_patch8_224": _at(BASE, 224, 8),
    "vit_large_patch32_224": _at(LARGE, 224, 32),
    "vit_large_patch32_384": _at(LARGE, 384, 32),
    "vit_large_patch16_224": LARGE,
    "vit_large_patch16_384": _at(LARGE, 384),
    "vit_large_patch14_224": _at(LARGE, 224, 14),
    "vit_huge_patch14_224": _at(HUGE, 224, 14),
    "vit_giant_patch14_224": _at(GIANT, 224, 14),
    "vit_gigantic_patch14_224": _at(GIGANTIC, 224, 14),
    "vit_base_patch16_224_miil": dataclasses.replace(BASE, qkv_bias=False),
    "vit_base_patch32_plus_256": _at(_scaled(BASE_PLUS), 256, 32),
    "vit_base_patch16_plus_240": _at(_scaled(BASE_PLUS), 240),
    "vit_base_patch16_rpn_224": dataclasses.replace(
        _scaled(BASE), qkv_bias=False, class_token=False, block_fn="ResPostBlock", global_pool="avg"
    ),
    "vit_small_patch16_36x1_224": dataclasses.replace(_scaled(SMALL), depth=36),
    "vit_small_patch16_18x2_224": _parallel(SMALL),
    "vit_base_patch16_18x2_224": _parallel(BASE),
    "vit_base_patch16_xp_224": _xp(BASE),
    "vit_large_patch14_xp_224": _at(_xp(LARGE), 224, 14),
    "vit_huge_patch14_xp_224": _at(_xp(HUGE), 224, 14),
    "eva_large_patch14_196": dataclasses.replace(_at(LARGE, 196, 14), global_pool="avg"),
    "eva_large_patch14_336": dataclasses.replace(_at(LARGE, 336, 14), global_pool="avg"),
    "flexivit_small": dataclasses.replace(_at(SMALL, 240), no_embed_class=True),
    "flexivit_base": dataclasses.replace(_at(BASE, 240), no_embed_class=True),
    "flexivit_large": dataclasses.replace(_at(LARGE, 240), no_embed_class=True),
    "vit_medium_patch16_gap_240": _at(MEDIUM_GAP, 240),
    "vit_medium_patch16_gap_256": _at(MEDIUM_GAP, 256),
    "vit_medium_patch16_gap_384": _at(MEDIUM_GAP, 384),
    "vit_betwixt_patch16_gap_256": _at(BETWIXT_GAP, 256),
    "vit_base_patch16_gap_224": dataclasses.replace(_gap(BASE), num_heads=16),
    "vit_huge_patch14_gap_224": _at(_gap(HUGE), 224, 14),
    "vit_huge_patch16_gap_448": _at(_gap(HUGE), 448),
    "vit_giant_patch16_gap_224": _gap(GIANT),
    "vit_xsmall_patch16_clip_224": _clip(_sized(256, 10, 4)),
    "vit_medium_patch32_clip_224": _at(_clip(MEDIUM), 224, 32),
    "vit_medium_patch16_clip_224": _clip(MEDIUM),
    "vit_betwixt_patch32_clip_224": _at(_clip(BETWIXT), 224, 32),
    "vit_base_patch32_clip_224": _at(_clip(BASE), 224, 32),
    "vit_base_patch32_clip_256": _at(_clip(BASE), 256, 32),
    "vit_base_patch32_clip_384": _at(_clip(BASE), 384, 32),
    "vit_base_patch32_clip_448": _at(_clip(BASE), 448, 32),
    "vit_base_patch16_clip_224": _clip(BASE),
    "vit_base_patch16_clip_384": _at(_clip(BASE), 384),
    "vit_base_patch16_plus_clip_240": _at(_clip(BASE_PLUS), 240),
    "vit_large_patch14_clip_224": _at(_clip(LARGE), 224, 14),
    "vit_large_patch14_clip_336": _at(_clip(LARGE), 336, 14),
    "vit_huge_patch14_clip_224": _at(_clip(HUGE), 224, 14),
    "vit_huge_patch14_clip_336": _at(_clip(HUGE), 336, 14),
    "vit_huge_patch14_clip_378": _at(_clip(HUGE), 378, 14),
    "vit_giant_patch14_clip_224": _at(_clip(GIANT), 224, 14),
    "vit_gigantic_patch14_clip_224": _at(_clip(GIGANTIC), 224, 14),
    "vit_gigantic_patch14_clip_378": _at(_clip(GIGANTIC), 378, 14),
    "vit_base_patch32_clip_quickgelu_224": _at(_clip(BASE, "quick_gelu"), 224, 32),
    "vit_base_patch16_clip_quickgelu_224": _clip(BASE, "quick_gelu"),
    "vit_large_patch14_clip_quickgelu_224": _at(_clip(LARGE, "quick_gelu"), 224, 14),
    "vit_large_patch14_clip_quickgelu_336": _at(_clip(LARGE, "quick_gelu"), 336, 14),
    "vit_huge_patch14_clip_quickgelu_224": _at(_clip(HUGE, "quick_gelu"), 224, 14),
    "vit_huge_patch14_clip_quickgelu_378": _at(_clip(HUGE, "quick_gelu"), 378, 14),
    "vit_gigantic_patch14_clip_quickgelu_224": _at(_clip(GIGANTIC, "quick_gelu"), 224, 14),
    "vit_small_patch14_dinov2": _at(_scaled(SMALL), 518, 14),
    "vit_small_patch14_reg4_dinov2": _at(_registers(_scaled(SMALL), 4), 518, 14),
    "vit_base_patch14_dinov2": _at(_scaled(BASE), 518, 14),
    "vit_base_patch14_reg4_dinov2": _at(_registers(_scaled(BASE), 4), 518, 14),
    "vit_large_patch14_dinov2": _at(_scaled(LARGE), 518, 14),
    "vit_large_patch14_reg4_dinov2": _at(_registers(_scaled(LARGE), 4), 518, 14),
    "vit_giant_patch14_dinov2": _at(_scaled(GIANT_DINO), 518, 14),
    "vit_giant_patch14_reg4_dinov2": _at(_registers(_scaled(GIANT_DINO), 4), 518, 14),
    "vit_base_patch14_reg1_tipsv2": _at(_registers(_scaled(BASE, 1.0), 1), 448, 14),
    "vit_large_patch14_reg1_tipsv2": _at(_registers(_scaled(LARGE, 1.0), 1), 448, 14),
    "vit_so400m_patch14_reg1_tipsv2": _at(_registers(_scaled(SO400M_EXACT, 1.0), 1), 448, 14),
    "vit_giant_patch14_reg1_tipsv2": _at(_registers(_scaled(GIANT_DINO, 1.0), 1), 448, 14),
    "vit_base_patch32_siglip_256": _at(_map(_tanh(BASE)), 256, 32),
    "vit_base_patch16_siglip_224": _map(BASE),
    "vit_base_patch16_siglip_256": _at(_map(BASE), 256),
    "vit_base_patch16_siglip_384": _at(_map(BASE), 384),
    "vit_base_patch16_siglip_512": _at(_map(BASE), 512),
    "vit_large_patch16_siglip_256": _at(_map(LARGE), 256),
    "vit_large_patch16_siglip_384": _at(_map(LARGE), 384),
    "vit_large_patch16_siglip_512": _at(_map(_tanh(LARGE)), 512),
    "vit_so400m_patch14_siglip_224": _at(_map(SO400M), 224, 14),
    "vit_so400m_patch14_siglip_378": _at(_map(SO400M), 378, 14),
    "vit_so400m_patch14_siglip_384": _at(_map(SO400M), 384, 14),
    "vit_so400m_patch16_siglip_256": _at(_map(_tanh(SO400M)), 256),
    "vit_so400m_patch16_siglip_384": _at(_map(_tanh(SO400M)), 384),
    "vit_so400m_patch16_siglip_512": _at(_map(_tanh(SO400M)), 512),
    "vit_giantopt_patch16_siglip_256": _at(_map(GIANT_OPT), 256),
    "vit_giantopt_patch16_siglip_384": _at(_map(GIANT_OPT), 384),
    "vit_base_patch32_siglip_gap_256": _at(_gap(_tanh(BASE)), 256, 32),
    "vit_base_patch16_siglip_gap_224": _gap(BASE),
    "vit_base_patch16_siglip_gap_256": _at(_gap(BASE), 256),
    "vit_base_patch16_siglip_gap_384": _at(_gap(BASE), 384),
    "vit_base_patch16_siglip_gap_512": _at(_gap(BASE), 512),
    "vit_large_patch16_siglip_gap_256": _at(_gap(LARGE), 256),
    "vit_large_patch16_siglip_gap_384": _at(_gap(LARGE), 384),
    "vit_large_patch16_siglip_gap_512": _at(_gap(_tanh(LARGE)), 512),
    "vit_so400m_patch14_siglip_gap_224": _at(_gap(SO400M), 224, 14),
    "vit_so400m_patch14_siglip_gap_378": _at(_gap(SO400M), 378, 14),
    "vit_so400m_patch14_siglip_gap_384": _at(_gap(SO400M), 384, 14),
    "vit_so400m_patch14_siglip_gap_448": _at(_gap(SO400M), 448, 14),
    "vit_so400m_patch14_siglip_gap_896": _at(_gap(SO400M), 896, 14),
    "vit_so400m_patch16_siglip_gap_256": _at(_gap(_tanh(SO400M)), 256),
    "vit_so400m_patch16_siglip_gap_384": _at(_gap(_tanh(SO400M)), 384),
    "vit_so400m_patch16_siglip_gap_512": _at(_gap(_tanh(SO400M)), 512),
    "vit_giantopt_patch16_siglip_gap_256": _at(_gap(GIANT_OPT), 256),
    "vit_giantopt_patch16_siglip_gap_384": _at(_gap(GIANT_OPT), 384),
    "vit_wee_patch16_reg1_gap_256": _at(_register_gap(WEE, 1), 256),
    "vit_dwee_patch16_reg1_gap_256": dataclasses.replace(_at(_register_gap(WEE, 1), 256), attn_layer="diff"),
    "vit_pwee_patch16_reg1_gap_256": dataclasses.replace(
        _at(_register_gap(PARALLEL_WEE, 1), 256), block_fn="ParallelScalingBlock"
    ),
    "vit_dpwee_patch16_reg1_gap_256": dataclasses.replace(
        _at(_register_gap(PARALLEL_WEE, 1), 256), block_fn="DiffParallelScalingBlock"
    ),
    "vit_little_patch16_reg1_gap_256": _at(_register_gap(LITTLE, 1), 256),
    "vit_little_patch16_reg4_gap_256": _at(_register_gap(LITTLE, 4), 256),
    "vit_dlittle_patch16_reg1_gap_256": dataclasses.replace(
        _at(_register_gap(LITTLE, 1), 256), attn_layer="diff"
    ),
    "vit_medium_patch16_reg1_gap_256": _at(_register_gap(_scaled(MEDIUM), 1), 256),
    "vit_medium_patch16_reg4_gap_256": _at(_register_gap(_scaled(MEDIUM), 4), 256),
    "vit_mediumd_patch16_reg4_gap_256": _at(_register_gap(MEDIUM_DEEP, 4), 256),
    "vit_mediumd_patch16_reg4_gap_384": _at(_register_gap(MEDIUM_DEEP, 4), 384),
    "vit_betwixt_patch16_reg1_gap_256": _at(_register_gap(_scaled(BETWIXT), 1), 256),
    "vit_betwixt_patch16_reg4_gap_256": _at(_register_gap(_scaled(BETWIXT), 4), 256),
    "vit_betwixt_patch16_reg4_gap_384": _at(_register_gap(_scaled(BETWIXT), 4), 384),
    "vit_base_patch16_reg4_gap_256": _at(_register_gap(BASE, 4), 256),
    "vit_so150m_patch16_reg4_map_256": dataclasses.replace(_at(SO150M, 256), global_pool="map"),
    "vit_so150m_patch16_reg4_gap_256": _at(_gap(SO150M), 256),
    "vit_so150m_patch16_reg4_gap_384": _at(_gap(SO150M), 384),
    "vit_so150m2_patch16_reg1_gap_256": _at(SO150M2, 256),
    "vit_so150m2_patch16_reg1_gap_384": _at(SO150M2, 384),
    "vit_so150m2_patch16_reg1_gap_448": _at(SO150M2, 448),
    "vit_intern300m_patch14_448": dataclasses.replace(_at(_scaled(LARGE, 0.1), 448, 14), final_norm=False),
    "aimv2_large_patch14_224": _aimv2(1024, 8, 2.75, 224),
    "aimv2_large_patch14_336": _aimv2(1024, 8, 2.75, 336),
    "aimv2_large_patch14_448": _aimv2(1024, 8, 2.75, 448),
    "aimv2_huge_patch14_224": _aimv2(1536, 12, 2.6667, 224),
    "aimv2_huge_patch14_336": _aimv2(1536, 12, 2.6667, 336),
    "aimv2_huge_patch14_448": _aimv2(1536, 12, 2.6667, 448),
    "aimv2_1b_patch14_224": _aimv2(2048, 16, 2.75, 224),
    "aimv2_1b_patch14_336": _aimv2(2048, 16, 2.75, 336),
    "aimv2_1b_patch14_448": _aimv2(2048, 16, 2.75, 448),
    "aimv2_3b_patch14_224": _aimv2(3072, 24, 2.6667, 224),
    "aimv2_3b_patch14_336": _aimv2(3072, 24, 2.6667, 336),
    "aimv2_3b_patch14_448": _aimv2(3072, 24, 2.6667, 448),
    "beit3_base_patch16_224": _beit3(BASE),
    "beit3_large_patch16_224": _beit3(LARGE),
    "beit3_giant_patch14_224": _at(_beit3(_sized(1408, 40, 16, 4.3637)), 224, 14),
    "beit3_giant_patch14_336": _at(_beit3(_sized(1408, 40, 16, 4.3637)), 336, 14),
    "vit_base_patch16_radio_v3": _radio(_scaled(BASE), 7),
    "vit_large_patch16_radio_v3": _radio(_scaled(LARGE), 7),
    "vit_huge_patch16_radio_v3": _radio(HUGE, 7),
    "vit_giant_patch16_radio_v3": _radio(_sized(1536, 40, 24), 7),
    "vit_so400m_patch16_radio_v4": _radio(SO400M_EXACT, 9),
    "vit_huge_patch16_radio_v4": _radio(HUGE, 9),
    "test_vit": _at(_sized(64, 6, 2, 3.0), 160),
    "test_vit2": dataclasses.replace(TEST_REGISTER, embed_dim=64, depth=8, num_heads=2),
    "test_vit3": dataclasses.replace(
        TEST_REGISTER, mlp_ratio=2.0, global_pool="map", pool_include_prefix=True
    ),
    "test_vit4": dataclasses.replace(TEST_REGISTER, norm_layer=Norm(kind="root_mean_square")),
    "deit_tiny_patch16_224": TINY,
    "deit_small_patch16_224": SMALL,
    "deit_base_patch16_224": BASE,
    "deit_base_patch16_384": _at(BASE, 384),
    "deit_tiny_distilled_patch16_224": _distilled(TINY),
    "deit_small_distilled_patch16_224": _distilled(SMALL),
    "deit_base_distilled_patch16_224": _distilled(BASE),
    "deit_base_distilled_patch16_384": _at(_distilled(BASE), 384),
    "deit3_small_patch16_224": _deit3(SMALL),
    "deit3_small_patch16_384": _at(_deit3(SMALL), 384),
    "deit3_medium_patch16_224": _deit3(MEDIUM),
    "deit3_base_patch16_224": _deit3(BASE),
    "deit3_base_patch16_384": _at(_deit3(BASE), 384),
    "deit3_large_patch16_224": _deit3(LARGE),
    "deit3_large_patch16_384": _at(_deit3(LARGE), 384),
    "deit3_huge_patch14_224": _at(_deit3(HUGE), 224, 14),
}
"""timm's names."""
