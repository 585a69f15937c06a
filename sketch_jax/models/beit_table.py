"""The architectures of timm's beit.py, as records."""

import dataclasses
from typing import Literal

from sketch_jax.models.layers import LAYER_NORM, Norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beit:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    img_size: int = 224
    """Height and width of the images, in pixels."""
    patch_size: int = 16
    """Height and width of a patch, in pixels."""
    num_classes: int = 1000
    """Classes of the head; 0: no classifier, the answer is the pooled features."""
    global_pool: Literal["", "avg", "token"] = "avg"
    """How tokens become one vector; `""`: they do not, and each token has its own logits."""
    embed_dim: int = 768
    """Channels of a token."""
    depth: int = 12
    """Number of blocks."""
    num_heads: int = 12
    qkv_bias: bool = True
    """Whether queries and values have biases."""
    mlp_ratio: float = 4.0
    """Hidden channels of a perceptron, to `embed_dim`."""
    swiglu_mlp: bool = False
    """Whether perceptrons have gates."""
    scale_mlp: bool = False
    """Whether a perceptron's hidden features are normalised."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    pos_drop_rate: float = 0.0
    """Dropout after the position embeddings."""
    proj_drop_rate: float = 0.0
    """Dropout after projections and in perceptrons."""
    attn_drop_rate: float = 0.0
    """Dropout of attention weights."""
    drop_path_rate: float = 0.0
    """Rate of left-out residual branches in the last block; grows from 0 in the first."""
    norm_layer: Norm = LAYER_NORM
    init_values: float | None = None
    """Start of the layer scales; None or 0: there are none."""
    use_abs_pos_emb: bool = True
    """Whether there are learnt position embeddings."""
    use_rel_pos_bias: bool = False
    """Whether each block has biases of its own for the distances of patches."""
    use_shared_rel_pos_bias: bool = False
    """Whether all blocks share such biases."""
    head_init_scale: float = 0.001
    """Factor of a new classifier's weights; 0 is the same as 1."""
    use_fc_norm: bool | None = None
    """Whether pooled features are normalised, not the tokens before; None: where pooling is `avg`."""


def _sized(embed_dim: int, depth: int, init_values: float, img_size: int = 224) -> Beit:
    return Beit(
        img_size=img_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=embed_dim // 64,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        init_values=init_values,
    )


ARCHITECTURES: dict[str, Beit] = {
    "beit_base_patch16_224": _sized(768, 12, 0.1),
    "beit_base_patch16_384": _sized(768, 12, 0.1, 384),
    "beit_large_patch16_224": _sized(1024, 24, 1e-5),
    "beit_large_patch16_384": _sized(1024, 24, 1e-5, 384),
    "beit_large_patch16_512": _sized(1024, 24, 1e-5, 512),
    "beitv2_base_patch16_224": _sized(768, 12, 1e-5),
    "beitv2_large_patch16_224": _sized(1024, 24, 1e-5),
}
"""timm's names."""
