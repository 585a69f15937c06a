"""What the filters of checkpoints in older layouts share: names, one rule after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Tensors = Mapping[str, Any]
"""Arrays by their names in a checkpoint, in torch's layout; each is read when asked for."""

Swaps = Sequence[tuple[str, str]]
"""Pieces of names, each with what takes its place."""

OPEN_CLIP: Swaps = (
    ("conv1", "patch_embed.proj"),
    ("positional_embedding", "pos_embed"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
"""The towers of OpenAI's CLIP and of OpenCLIP."""


def swap(name: str, swaps: Swaps) -> str:
    """The name after all swaps, in their order, each wherever its piece occurs.

    >>> swap("transformer.resblocks.3.ln_1.weight", OPEN_CLIP)
    'blocks.3.norm1.weight'
    """
    for piece, instead in swaps:
        name = name.replace(piece, instead)
    return name


def below(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """The tensors whose names have a prefix, by the rest of the name.

    >>> below({"visual.proj": 1, "logit_scale": 2}, "visual.")
    {'proj': 1}
    """
    return {name[len(prefix) :]: tensors[name] for name in tensors if name.startswith(prefix)}


def convert_clip_tensor(name: str, tensor: Any) -> dict[str, Any]:
    """What a tensor of a CLIP tower becomes; tokens and positions get an axis for the batch.

    Args:
        name: swapped already.
        tensor: in torch's layout; a projection is [in, out], and becomes a classifier whose bias is 0.
    """
    if name == "proj":
        return {"head.weight": np.swapaxes(tensor, 0, 1), "head.bias": zeros(tensor.shape[1])}
    if name == "class_embedding":
        return {"cls_token": tensor[None, None]}
    return {name: tensor[None] if name == "pos_embed" else tensor}


def zeros(count: int) -> np.ndarray:
    """A new bias."""
    return np.zeros(count, np.float32)
