"""Checkpoints of vision transformers in the layouts of those who trained them, and in timm's older ones.

References:
    `checkpoint_filter_fn` of timm/models/vision_transformer.py.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sketch_jax.models.checkpoint_names import (
    OPEN_CLIP,
    Swaps,
    Tensors,
    below,
    convert_clip_tensor,
    swap,
    zeros,
)

PATCH_KERNEL = "patch_embed.proj.weight"

DINOV2: Swaps = (("mlp.w12", "mlp.fc1"), ("mlp.w3", "mlp.fc2"))

AIMV2: Swaps = (
    ("norm_1", "norm1"),
    ("norm_2", "norm2"),
    ("preprocessor.patchifier.", "patch_embed."),
    ("preprocessor.pos_embed", "pos_embed"),
    ("trunk.", ""),
    ("post_trunk_norm.", "norm."),
    ("mlp.fc1", "mlp.fc1_g"),
    ("mlp.fc3", "mlp.fc1_x"),
)

BEIT3: Swaps = (
    ("beit3.", ""),
    ("vision_embed.cls_token", "cls_token"),
    ("vision_embed.", "patch_embed."),
    ("embed_positions.", "pos_embed."),
    ("encoder.", ""),
    ("layers.", "blocks."),
    ("ffn_layernorm.", "norm."),
    ("ffn.", "mlp."),
    ("self_attn_layer_norm.", "norm1."),
    ("self_attn.", "attn."),
    ("final_layer_norm.", "norm2."),
    ("inner_attn_ln", "norm"),
    ("out_proj", "proj"),
    (".A.", "."),
)
BEIT3_UNUSED = ("beit3.text_embed.weight", "beit3.vision_embed.mask_token")
BEIT3_RESERVED = 2
"""Positions at the start of the table that no token of an image has."""

RADIO_PREFIX = "radio_model.model."
RADIO_EMBEDDER = f"{RADIO_PREFIX}patch_generator.embedder.weight"

DEIT3_SCALES: Swaps = (("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"))


def filter_checkpoint(tensors: Tensors) -> dict[str, Any]:
    """The parameters of a vision transformer by timm's current names, in its current layout.

    Args:
        tensors: of a checkpoint in any layout that timm reads; in the current one they stay as they are.
    """
    convert = next((convert for tell, convert in LAYOUTS if tell(tensors)), dict)
    return {
        swap(name, DEIT3_SCALES): unroll(tensor) if name == PATCH_KERNEL else tensor
        for name, tensor in convert(tensors).items()
        if "pre_logits" not in name
    }


def unroll(kernel: Any) -> Any:
    """A patch kernel [tokens' width, 3, side, side] from one that may be a matrix, a patch in each row."""
    side = math.isqrt(kernel.shape[1] // 3)
    is_matrix = kernel.ndim == 2 and kernel.shape[1] == 3 * side**2
    return kernel.reshape(-1, 3, side, side) if is_matrix else kernel


def convert_clip(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """A CLIP model's tower for images."""
    converted: dict[str, Any] = {}
    for name, tensor in below(tensors, prefix).items():
        converted |= convert_clip_tensor(swap(name, OPEN_CLIP), tensor)
    return converted


def convert_trunk(tensors: Tensors) -> dict[str, Any]:
    """An OpenCLIP model whose tower is timm's; its projection becomes the classifier."""
    trunk, projection = below(tensors, "visual.trunk."), tensors.get("visual.head.proj.weight")
    if projection is None:
        return trunk
    return {"head.weight": projection, "head.bias": zeros(projection.shape[0])} | trunk


def convert_dinov2(tensors: Tensors) -> dict[str, Any]:
    """DINOv2; with registers only patches keep positions, and the class token takes its own in."""
    converted = {swap(name, DINOV2): tensors[name] for name in tensors if name != "mask_token"}
    if {"register_tokens", "cls_token", "pos_embed"} <= converted.keys():
        positions = converted["pos_embed"]
        converted["reg_token"] = converted.pop("register_tokens")
        converted["cls_token"] = converted["cls_token"] + positions[:, 0]
        converted["pos_embed"] = positions[:, 1:]
    return converted


def convert_aimv2(tensors: Tensors) -> dict[str, Any]:
    """AIMv2."""
    return {swap(name, AIMV2): tensor for name, tensor in tensors.items()}


def convert_beit3(tensors: Tensors) -> dict[str, Any]:
    """BEiT-3: of its two branches the one for images, with one projection of queries, keys and values."""
    used = (name for name in tensors if ".B." not in name and name not in BEIT3_UNUSED)
    converted = {swap(name, BEIT3): tensors[name] for name in used}
    if "pos_embed.weight" in converted:
        converted["pos_embed"] = converted.pop("pos_embed.weight")[BEIT3_RESERVED:][None]
    for name in list(converted):
        parts = [name.replace("q_proj", f"{part}_proj") for part in "qkv"]
        if ".attn.q_proj." in name and all(part in converted for part in parts):
            joint = np.concatenate([converted.pop(part) for part in parts])
            converted[name.replace("q_proj", "qkv")] = joint
    return converted


def convert_radio(tensors: Tensors) -> dict[str, Any]:
    """RADIO: the first of its class tokens is the model's, the others are registers; heads are left out."""
    converted: dict[str, Any] = {}
    for name, tensor in below(tensors, RADIO_PREFIX).items():
        if name == "patch_generator.embedder.weight":
            converted |= {PATCH_KERNEL: tensor, "patch_embed.proj.bias": zeros(tensor.shape[0])}
        elif name == "patch_generator.pos_embed":
            converted["pos_embed"] = tensor
        elif name == "patch_generator.cls_token.token":
            converted |= {"cls_token": tensor[None, :1], "reg_token": tensor[None, 1:]}
        elif name.startswith("blocks."):
            converted[name.replace(".grandma", ".gamma")] = tensor
    return converted


def having(*names: str) -> Callable[[Tensors], bool]:
    """Tells checkpoints that have a tensor of one of these names."""
    return lambda tensors: any(name in tensors for name in names)


LAYOUTS: tuple[tuple[Callable[[Tensors], bool], Callable[[Tensors], Mapping[str, Any]]], ...] = (
    (having("visual.class_embedding"), lambda tensors: convert_clip(tensors, "visual.")),
    (having("module.visual.class_embedding"), lambda tensors: convert_clip(tensors, "module.visual.")),
    (having("mask_token"), convert_dinov2),
    (having("vision_encoder.mask_token"), lambda tensors: convert_dinov2(below(tensors, "vision_encoder."))),
    (lambda tensors: any("beit3." in name for name in tensors), convert_beit3),
    (having("visual.trunk.pos_embed", "visual.trunk.blocks.0.norm1.weight"), convert_trunk),
    (having("module.visual.trunk.pos_embed"), lambda tensors: below(tensors, "module.visual.trunk.")),
    (having("preprocessor.patchifier.proj.weight"), convert_aimv2),
    (having(RADIO_EMBEDDER), convert_radio),
)
"""What tells each layout, and the way from it to timm's; the first that fits is taken."""
