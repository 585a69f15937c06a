"""What tells one model of timm's MaxxViT family from another."""

import dataclasses
from typing import Literal

Kind = Literal["C", "T", "M", "PM"]
Pool = Literal["avg", "avg2", "max", "max2"]
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxxVit:
    """What tells one architecture of the family from another; the fields are timm's arguments.

    Those that begin with `conv_` and `transformer_` are, without it, the fields of timm's nested configs;
    they are left out here where no architecture differs in them.
    """

    embed_dim: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage."""
    depths: tuple[int, ...] = (2, 3, 5, 2)
    """Blocks of each stage."""
    block_type: tuple[Kind | tuple[Kind, ...], ...] = ("C", "C", "T", "T")
    """Kind of the blocks of each stage, of all or of each, the last for those that follow: `C` convolves,
    `T` attends to the whole map, `M` convolves, then attends within windows, then over a grid; `PM` convolves
    twice, then attends within windows and over a grid at once."""
    stem_width: int | Pair = 64
    """Channels of the stem's two convolutions."""
    stem_bias: bool = False
    head_hidden_size: int | None = None
    """Channels of a hidden map before the classifier, after a norm of the pooled features; None: there is
    none, and the norm comes before pooling."""
    weight_init: Literal["", "normal", "trunc_normal", "xavier_normal", "vit_eff"] = "vit_eff"
    """How new weights start; `""`: as torch's."""
    global_pool: str = "avg"

    conv_block_type: Literal["mbconv", "convnext"] = "mbconv"
    """Kind of the convolutional blocks. With `mbconv` norms before and between convolutions are over the
    batch, with `convnext` over the channels."""
    conv_expand_ratio: float = 4.0
    """Hidden channels of a block, to those that leave it."""
    conv_expand_output: bool = True
    """Whether the ratios of `mbconv` are as said; else `conv_expand_ratio` is to the channels that enter, and
    `conv_attn_ratio` to the hidden ones."""
    conv_kernel_size: int = 3
    """Of the depthwise convolution of `mbconv`; that of `convnext` has 7."""
    conv_pre_norm_act: bool = False
    """Whether an activation follows the first norm of `mbconv`."""
    conv_output_bias: bool = True
    """Whether the last 1×1 convolution of a block has a bias, and the one on its shortcut."""
    conv_stride_mode: Literal["pool", "1x1", "dw"] = "dw"
    """What strides: a pool, the first 1×1 convolution or the depthwise one."""
    conv_pool_type: Pool = "avg2"
    """Pool on the shortcut of `mbconv`; the shortcut of `convnext` has `avg2`. `avg` and `max` are of 3×3
    cells, `avg2` and `max2` of 2×2."""
    conv_downsample_pool_type: Pool = "avg2"
    """Pool of `conv_stride_mode` `pool`."""
    conv_padding: Literal["", "same"] = ""
    """Padding of the stem and of `mbconv`: equal on all sides, or TensorFlow's."""
    conv_attn_early: bool = False
    """Whether channel attention comes before the norm and activation of the depthwise convolution."""
    conv_attn_act_layer: str = "silu"
    """Activation within channel attention."""
    conv_attn_ratio: float = 0.25
    """Channels within channel attention, to those that leave the block."""
    conv_init_values: float | None = 1e-6
    """Start of the layer scales of `convnext`; None: there are none."""
    conv_act_layer: str = "gelu"
    conv_norm_eps: float = 1e-5

    transformer_dim_head: int = 32
    """Channels of a head."""
    transformer_head_first: bool = True
    """Whether, in windows and grids, query, key and value of a head lie side by side, not all queries."""
    transformer_expand_ratio: float = 4.0
    """Hidden channels of a perceptron, to those that enter."""
    transformer_expand_first: bool = True
    """Whether a `T` that widens the map does so by the projection to queries, keys and values, not after."""
    transformer_shortcut_bias: bool = True
    """Whether the 1×1 convolution on the shortcut of a `T` has a bias."""
    transformer_attn_bias: bool = True
    """Whether the projections of attention have biases."""
    transformer_attn_drop: float = 0.0
    """Dropout of attention weights."""
    transformer_proj_drop: float = 0.0
    """Dropout after the projection and in the perceptron."""
    transformer_pool_type: Pool = "avg2"
    """Pool of a `T` that strides, as `conv_pool_type`."""
    transformer_rel_pos_type: Literal["bias", "mlp", "bias_tf"] = "bias"
    """Where biases of relative positions come from: a table by distance, a perceptron that reads the
    distance, or a table in TensorFlow's layout."""
    transformer_rel_pos_dim: int = 512
    """Hidden channels of that perceptron."""
    transformer_partition_ratio: int = 32
    """Pixels of the image's side, to cells of a window's or grid's."""
    transformer_window_size: Pair | None = None
    """Height and width of a window in cells; None: by `transformer_partition_ratio`."""
    transformer_grid_size: Pair | None = None
    """Rows and columns of a grid; None: as the window's."""
    transformer_no_block_attn: bool = False
    """Whether `M` attends over grids alone."""
    transformer_init_values: float | None = None
    """Start of the layer scales; None: there are none."""
    transformer_act_layer: str = "gelu"
    transformer_norm_layer: Literal["layernorm2d", "batchnorm2d"] = "layernorm2d"
    """Norm of a `T` and before the head; `M` and `PM` normalise channels in their attention."""
    transformer_norm_eps: float = 1e-6
