"""Golden parameter trees of vision transformers, made from timm by `python tests/models/golden_trees.py`.

The file is a JSON object: timm's architecture -> path -> shape, with 5 classes, at the architecture's own
image size. Blocks have the same parameters and are written once, as `blocks_0-11`.
"""

import json
import re
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "vision_transformer.json"
CLASSES = 5
NAMES = (
    "vit_tiny_patch16_224",
    "vit_base_patch16_224_miil",
    "vit_medium_patch16_gap_240",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_base_patch16_siglip_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_rpn_224",
    "vit_base_patch16_xp_224",
    "vit_small_patch16_18x2_224",
    "vit_dwee_patch16_reg1_gap_256",
    "vit_pwee_patch16_reg1_gap_256",
    "vit_dpwee_patch16_reg1_gap_256",
    "aimv2_large_patch14_224",
    "beit3_base_patch16_224",
    "vit_base_patch16_radio_v3",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
)
BLOCK = re.compile(r"blocks_(\d+)/")


def fold(shapes):
    """Paths and shapes with equal blocks written once."""
    blocks = {}
    for path, shape in shapes.items():
        if found := BLOCK.match(path):
            blocks.setdefault(int(found[1]), {})[path[found.end() :]] = list(shape)
    assert all(block == blocks[0] for block in blocks.values())
    rest = {path: list(shape) for path, shape in shapes.items() if not BLOCK.match(path)}
    return rest | {f"blocks_0-{max(blocks)}/{path}": shape for path, shape in blocks[0].items()}


def unfold(folded):
    """The inverse of `fold`."""
    shapes = {}
    for path, shape in folded.items():
        found = re.match(r"blocks_0-(\d+)/(.*)", path)
        paths = [f"blocks_{index}/{found[2]}" for index in range(int(found[1]) + 1)] if found else [path]
        shapes |= dict.fromkeys(paths, tuple(shape))
    return shapes


def timm_shapes(name, classes=CLASSES, **arguments):
    """Our paths and shapes of timm's model, whose tensors are never made."""
    import timm
    import torch

    from sketch_jax.weights.names import flax_path

    with torch.device("meta"):
        state = timm.create_model(name, num_classes=classes, **arguments).state_dict()
    paths = {flax_path(key, tensor.ndim): tuple(tensor.shape) for key, tensor in state.items()}
    return {
        path: (*shape[2:], shape[1], shape[0]) if path.endswith("kernel") else shape
        for path, shape in paths.items()
    }


if __name__ == "__main__":
    trees = {name: fold(timm_shapes(name)) for name in NAMES}
    lines = [f'"{name}": {json.dumps(tree, separators=(",", ":"))}' for name, tree in trees.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
