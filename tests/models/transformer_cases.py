"""Shrunken vision transformers, one of each kind: timm's name and the arguments that shrink it."""

SMALL = {"embed_dim": 48, "depth": 1, "num_heads": 3, "patch_size": 8}
DEEPER = {**SMALL, "depth": 2}
SIZE = 32

CASES = {
    "plain": ("vit_small_patch16_224", DEEPER),
    "deit3": ("deit3_small_patch16_224", SMALL),
    "distilled": ("deit_tiny_distilled_patch16_224", DEEPER),
    "registers_gap": ("vit_betwixt_patch16_reg4_gap_256", SMALL),
    "gap_without_bias": ("vit_medium_patch16_gap_240", SMALL),
    "clip_quick_gelu": ("vit_base_patch16_clip_quickgelu_224", SMALL),
    "siglip_map": ("vit_base_patch16_siglip_224", SMALL),
    "siglip_tanh_gap": ("vit_base_patch32_siglip_gap_256", SMALL),
    "map_with_prefix": ("test_vit3", SMALL),
    "dinov2_swiglu_registers": ("vit_giant_patch14_reg4_dinov2", {**DEEPER, "mlp_ratio": 8 / 3}),
    "aimv2_swiglu_rms": ("aimv2_large_patch14_224", SMALL),
    "beit3_scale_norms": ("beit3_base_patch16_224", SMALL),
    "radio_refined_token": ("vit_base_patch16_radio_v3", {**SMALL, "global_pool": "prr"}),
    "refined_average": ("vit_small_patch16_224", {**SMALL, "global_pool": "prr", "class_token": False}),
    "pooled_with_prefix": ("flexivit_small", {**SMALL, "global_pool": "avg", "pool_include_prefix": True}),
    "post_norm": ("vit_base_patch16_rpn_224", SMALL),
    "parallel_scaling_rms": ("vit_base_patch16_xp_224", SMALL),
    "parallel_scaling_layer_scale": ("vit_pwee_patch16_reg1_gap_256", SMALL),
    "parallel_things": ("vit_small_patch16_18x2_224", DEEPER),
    "differential": ("vit_dwee_patch16_reg1_gap_256", {**DEEPER, "qk_norm": True, "norm_layer": "rmsnorm"}),
    "differential_parallel": ("vit_dpwee_patch16_reg1_gap_256", DEEPER),
    "max_pool_without_positions": ("vit_small_patch16_224", {**SMALL, "global_pool": "max", "pos_embed": ""}),
    "avgmax_pool_query_key_norms": (
        "vit_small_patch16_224",
        {**SMALL, "global_pool": "avgmax", "reg_tokens": 2, "qk_norm": True, "norm_layer": "rmsnorm"},
    ),
    "unpooled": ("vit_small_patch16_224", {**SMALL, "global_pool": ""}),
}
"""Kind -> (timm's name, arguments)."""

GROUPED = {**DEEPER, "embed_dim": 96, "num_heads": 4, "num_kv_heads": (2, 4)}

EVA_CASES = {
    "eva": ("eva_giant_patch14_224", SMALL),
    "eva02_fused": ("eva02_tiny_patch14_224", DEEPER),
    "eva02_normed": ("eva02_base_patch14_224", DEEPER),
    "eva02_clip": ("eva02_base_patch16_clip_224", SMALL),
    "eva02_post_norm": ("eva02_enormous_patch14_clip_224", DEEPER),
    "rope_gap": ("vit_mediumd_patch16_rope_reg1_gap_256", DEEPER),
    "perception_core": ("vit_pe_core_base_patch16_224", {**SMALL, "attn_pool_num_heads": 4}),
    "perception_lang": ("vit_pe_lang_large_patch14_448", SMALL),
    "perception_spatial": ("vit_pe_spatial_gigantic_patch14_448", SMALL),
    "rope_axial": ("vit_base_patch16_rope_224", DEEPER),
    "rope_mixed": ("vit_small_patch16_rope_mixed_224", DEEPER),
    "rope_mixed_positions": ("vit_small_patch16_rope_mixed_ape_224", DEEPER),
    "dinov3": ("vit_small_patch16_dinov3", DEEPER),
    "dinov3_biases": ("vit_tiny_patch16_dinov3_qkvb", SMALL),
    "dinov3_gates": ("vit_huge_plus_patch16_dinov3", {**SMALL, "mlp_ratio": 2.7}),
    "lingbot": ("vit_giant_patch16_lingbot", SMALL),
    "sapiens2_grouped": ("vit_large_patch16_sapiens2", GROUPED),
    "unpooled": ("vit_small_patch16_rope_224", {**SMALL, "global_pool": ""}),
    "avgmax": ("eva02_tiny_patch14_224", {**SMALL, "global_pool": "avgmax"}),
}
"""As CASES, of the EVA family."""
