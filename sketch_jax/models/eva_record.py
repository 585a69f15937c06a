"""What tells one model of timm's EVA family from another."""

import dataclasses
from typing import Literal

from sketch_jax.models.layers import LAYER_NORM, Norm
from sketch_jax.models.rotary import Indexing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eva:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    img_size: int = 224
    """Height and width of the images, in pixels."""
    patch_size: int = 16
    """Height and width of a patch, in pixels."""
    num_classes: int = 1000
    """Classes of the head; 0: no classifier, the answer is the pooled features."""
    global_pool: Literal["", "avg", "avgmax", "max", "token", "map"] = "avg"
    """How tokens become one vector; `""`: they do not, and each token has its own logits."""
    embed_dim: int = 768
    """Channels of a token."""
    depth: int = 12
    """Number of blocks."""
    num_heads: int = 12
    num_kv_heads: int | tuple[int, ...] | None = None
    """Heads of keys and values, in all blocks or in each; None: as many as of queries."""
    qkv_bias: bool = True
    """Whether queries and values have biases, and keys where `attn_type` is `rope`."""
    qkv_fused: bool = True
    """Whether one projection makes queries, keys and values."""
    qk_norm: bool = False
    """Whether queries and keys of each head are normalised."""
    mlp_ratio: float = 4.0
    """Hidden channels of a perceptron, to `embed_dim`."""
    swiglu_mlp: bool = False
    """Whether perceptrons have gates."""
    swiglu_align_to: int = 0
    """The hidden channels of gated perceptrons are rounded up to a multiple of this; 0: as they are."""
    scale_mlp: bool = False
    """Whether a perceptron's hidden features are normalised."""
    scale_attn_inner: bool = False
    """Whether attention's answer is normalised before its projection."""
    attn_type: Literal["eva", "rope"] = "eva"
    """Whether keys go without a bias (`eva`) or have one, too (`rope`)."""
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
    norm_layer: Norm = LAYER_NORM
    init_values: float | None = None
    """Start of the layer scales; None: there are none."""
    attn_only_layer_scale: bool = False
    """Whether the perceptron's branch has no layer scale."""
    class_token: bool = True
    num_reg_tokens: int = 0
    """Number of register tokens."""
    no_embed_class: bool = False
    """Whether only patches have learnt position embeddings, not the tokens before them."""
    use_abs_pos_emb: bool = True
    """Whether there are learnt position embeddings."""
    use_rot_pos_emb: bool = False
    """Whether queries and keys of patches are rotated by their position."""
    rope_type: Literal["cat", "mixed", "dinov3"] = "cat"
    """How angles follow from positions; of `mixed` the frequencies are learnt, for each block and head."""
    rope_grid_offset: float = 0.0
    """Added to each coordinate, in cells."""
    rope_grid_indexing: Indexing = "ij"
    rope_temperature: float = 10000.0
    """The longest period, to the shortest."""
    rope_rotate_half: bool = False
    """Whether the channels that turn together lie half a head apart, not side by side."""
    rope_shift_coords: float | None = None
    """Training shifts coordinates by up to so much, the same for all patches; None: not at all."""
    rope_jitter_coords: float | None = None
    """Training scales each coordinate by up to this factor, or its inverse; None: not at all."""
    rope_rescale_coords: float | None = None
    """As `rope_jitter_coords`, both coordinates alike."""
    ref_feat_shape: tuple[int, int] | None = None
    """Rows and columns of patches that coordinates are scaled to; None: they are as they are."""
    use_post_norm: bool = False
    """Whether blocks normalise the answers of their branches, not what enters them."""
    use_pre_transformer_norm: bool = False
    """Whether the tokens are normalised before the first block."""
    use_post_transformer_norm: bool | None = None
    """Whether the tokens are normalised after the last block; None: where pooled features are not."""
    use_fc_norm: bool | None = None
    """Whether pooled features are normalised; None: where pooling is `avg`."""
    attn_pool_num_heads: int | None = None
    """Heads of attention pooling; None: `num_heads`."""
    attn_pool_mlp_ratio: float | None = None
    """As `mlp_ratio`, in attention pooling; None: `mlp_ratio`."""
    head_init_scale: float = 0.001
    """Factor of a new classifier's weights."""
