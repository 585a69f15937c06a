"""Checkpoints of the EVA family in the layouts of those who trained them, and in timm's older ones.

References:
    `checkpoint_filter_fn` of timm/models/eva.py.
"""

from typing import Any

import numpy as np

from sketch_jax.models.checkpoint_names import OPEN_CLIP, Swaps, Tensors, below, convert_clip_tensor, swap

PERCEPTION: Swaps = (
    ("module.", ""),
    *OPEN_CLIP,
    ("ls_1.gamma", "gamma_1"),
    ("ls_2.gamma", "gamma_2"),
)

POOLING: Swaps = (
    ("attn_pool.attn", "attn_pool"),
    ("attn_pool.layernorm", "attn_pool.norm"),
    ("attn_pool.probe", "attn_pool.latent"),
)

SAPIENS2: Swaps = (
    ("storage_tokens", "reg_token"),
    ("patch_embed.projection.", "patch_embed.proj."),
    ("attn.wq.", "attn.q_proj."),
    ("attn.wk.", "attn.k_proj."),
    ("attn.wv.", "attn.v_proj."),
    ("attn.gamma.weight", "gamma_1"),
    (".ffn.", ".mlp."),
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
)

DINOV3: Swaps = (("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2"), ("storage_tokens", "reg_token"))
DINOV3_UNUSED_ENDS = (".periods", ".bias_mask", "mask_token")
DINOV3_UNUSED_STARTS = ("projectors.", "local_cls_norm")

CURRENT: Swaps = (
    ("mlp.ffn_ln", "mlp.norm"),
    ("attn.inner_attn_ln", "attn.norm"),
    ("mlp.w12", "mlp.fc1"),
    ("mlp.w1", "mlp.fc1_g"),
    ("mlp.w2", "mlp.fc1_x"),
    ("mlp.w3", "mlp.fc2"),
)
"""What all layouts but Perception Encoder's have of EVA-02's own names."""
SPLIT_BIASES: Swaps = (("q_bias", "q_proj.bias"), ("v_bias", "v_proj.bias"))

MASKED_UNUSED = ("mask_token", "lm_head.weight", "lm_head.bias")


def filter_checkpoint(tensors: Tensors, *, splits_bias: bool) -> dict[str, Any]:
    """The parameters of a model of the EVA family by timm's current names, in its current layout.

    Args:
        tensors: of a checkpoint in any layout that timm reads; in the current one they stay as they are.
        splits_bias: whether the model has biases of queries and of values beside a joint projection; a joint
            bias of DINOv3 is split for it, and left out for others.
    """
    for prefix in ("visual.", ""):
        if f"{prefix}conv1.weight" in tensors:
            return convert_perception(below(tensors, prefix))
    prefixes = ("visual.trunk.", "visual.")
    prefix = next((prefix for prefix in prefixes if f"{prefix}pos_embed" in tensors), "")
    bare = {
        name: tensor
        for name, tensor in below(tensors, prefix).items()
        if "rope" not in name or name == "rope.freqs"
    }
    swaps = (*CURRENT, *(SPLIT_BIASES if "blocks.0.attn.q_proj.weight" in bare else ()))
    return {swap(name, swaps): tensor for name, tensor in convert_trained(bare, splits_bias).items()}


def convert_trained(tensors: Tensors, splits_bias: bool) -> Tensors:
    """The parameters of a checkpoint from pretraining, in the layout of EVA-02."""
    if "blocks.0.attn.wq.weight" in tensors and "blocks.0.ffn.w12.weight" in tensors:
        return convert_sapiens2(tensors)
    if "storage_tokens" in tensors:
        return convert_dinov3(tensors, splits_bias)
    return convert_masked(tensors) if "mask_token" in tensors else tensors


def convert_perception(tensors: Tensors) -> dict[str, Any]:
    """Perception Encoder; its pooling has a projection of queries, and one of keys and values."""
    converted: dict[str, Any] = {}
    for old_name, tensor in tensors.items():
        name = swap(old_name, PERCEPTION)
        if not name.startswith("attn_pool"):
            converted |= convert_clip_tensor(name, tensor)
            continue
        name = swap(name, POOLING)
        if name.startswith("attn_pool.qkv"):
            queries, others = np.split(tensor, [tensor.shape[0] // 3])
            kind = name.rpartition(".")[2]
            converted |= {f"attn_pool.q.{kind}": queries, f"attn_pool.kv.{kind}": others}
        else:
            converted[name] = tensor
    return converted


def convert_sapiens2(tensors: Tensors) -> dict[str, Any]:
    """Sapiens2."""
    converted = {swap(name, SAPIENS2): tensors[name] for name in tensors if name != "mask_token"}
    return {
        f"norm.{name.removeprefix('ln1.')}" if name.startswith("ln1.") else name: tensor
        for name, tensor in converted.items()
    }


def convert_dinov3(tensors: Tensors, splits_bias: bool) -> dict[str, Any]:
    """DINOv3, without what only pretraining needs."""
    converted: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name.endswith(DINOV3_UNUSED_ENDS) or name.startswith(DINOV3_UNUSED_STARTS):
            continue
        if not name.endswith("qkv.bias"):
            converted[swap(name, DINOV3)] = tensor
        elif splits_bias:
            queries, _, values = np.split(tensor, 3)
            attention = name.removesuffix("qkv.bias")
            converted |= {f"{attention}q_bias": queries, f"{attention}v_bias": values}
    return converted


def convert_masked(tensors: Tensors) -> dict[str, Any]:
    """Masked image modelling: its norm of all tokens becomes the one of pooled features."""
    norms = {f"norm.{kind}": f"fc_norm.{kind}" for kind in ("weight", "bias")}
    return {norms.get(name, name): tensors[name] for name in tensors if name not in MASKED_UNUSED}
