"""What tells one vision transformer of timm's from another."""

import dataclasses
from typing import Literal

from sketch_jax.models.layers import LAYER_NORM, Norm

Block = Literal[
    "Block", "ResPostBlock", "ParallelScalingBlock", "DiffParallelScalingBlock", "ParallelThingsBlock"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionTransformer:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    img_size: int = 224
    """Height and width of the images, in pixels."""
    patch_size: int = 16
    """Height and width of a patch, in pixels."""
    num_classes: int = 1000
    """Classes of the head; 0: no classifier, the answer is the pooled features."""
    global_pool: Literal["", "avg", "avgmax", "max", "token", "map", "prr"] = "token"
    """How tokens become one vector; `""`: they do not, and each token has its own logits."""
    embed_dim: int = 768
    """Channels of a token."""
    depth: int = 12
    """Number of blocks."""
    num_heads: int = 12
    mlp_ratio: float = 4.0
    """Hidden channels of a perceptron, to `embed_dim`."""
    qkv_bias: bool = True
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    scale_attn_norm: bool = False
    """Whether attention's answer is normalised before its projection."""
    scale_mlp_norm: bool = False
    """Whether a perceptron's hidden features are normalised."""
    proj_bias: bool = True
    """Whether projections and perceptrons have biases."""
    init_values: float | None = None
    """Start of the layer scales; None: there are none."""
    class_token: bool = True
    pos_embed: Literal["", "none", "learn"] = "learn"
    no_embed_class: bool = False
    """Whether only patches have position embeddings, not the tokens before them."""
    reg_tokens: int = 0
    """Number of register tokens."""
    pre_norm: bool = False
    """Whether the tokens are normalised before the first block."""
    final_norm: bool = True
    fc_norm: bool | None = None
    """Whether the final norm comes after pooling; None: where pooling is `avg`, `avgmax` or `max`."""
    pool_include_prefix: bool = False
    """Whether class and register tokens are pooled, too."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    pos_drop_rate: float = 0.0
    """Dropout after the position embeddings."""
    patch_drop_rate: float = 0.0
    """Share of the patches that training leaves out of each image."""
    proj_drop_rate: float = 0.0
    """Dropout after projections and in perceptrons."""
    attn_drop_rate: float = 0.0
    """Dropout of attention weights."""
    drop_path_rate: float = 0.0
    """Rate of left-out residual branches in the last block; grows from 0 in the first."""
    embed_norm_layer: Norm | str | None = None
    """Norm of the embedded patches; None: none."""
    norm_layer: Norm | str = LAYER_NORM
    """Norm of everything else, as a record or by timm's name."""
    act_layer: str = "gelu"
    block_fn: Block = "Block"
    mlp_layer: Literal["Mlp", "SwiGLUPacked", "SwiGLU"] = "Mlp"
    attn_layer: Literal["", "attn", "diff"] = "attn"
    distilled: bool = False
    """Whether there is a distillation token with a head of its own (timm: `VisionTransformerDistilled`)."""
