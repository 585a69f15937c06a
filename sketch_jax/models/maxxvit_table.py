"""The architectures of timm's maxxvit.py, as records."""

import dataclasses
from typing import Any

from sketch_jax.models.image_sizes import DEFAULT_IMAGE_SIZE
from sketch_jax.models.maxxvit_record import MaxxVit

_change = dataclasses.replace


def _sized(width: int, depths: tuple[int, ...], **changes: Any) -> MaxxVit:
    """Stages of which each is twice as wide as the one before."""
    return MaxxVit(embed_dim=tuple(width * 2**stage for stage in range(4)), depths=depths, **changes)


NANO, NANO_DEEP = (1, 2, 3, 1), (3, 4, 6, 3)
TINY, BASE = (2, 2, 5, 2), (2, 6, 14, 2)
ZERO_DEEP = (2, 3, 7, 2)


def _stems(record: MaxxVit, first: int = 32, second: int = 64) -> MaxxVit:
    return _change(record, stem_width=(first, second))


def _coat(record: MaxxVit, **changes: Any) -> MaxxVit:
    """CoAtNets that timm trained first: activations before the first convolution, narrow hidden channels."""
    stated: dict[str, Any] = {
        "conv_stride_mode": "pool",
        "conv_pre_norm_act": True,
        "conv_expand_output": False,
        "conv_output_bias": False,
        "conv_attn_act_layer": "relu",
        "conv_act_layer": "silu",
        "transformer_expand_first": False,
    }
    return _change(record, **{**stated, **changes})


def _early(record: MaxxVit, **changes: Any) -> MaxxVit:
    """As `_coat`, channel attention before the norm, shortcuts without biases."""
    return _coat(record, conv_attn_early=True, transformer_shortcut_bias=False, **changes)


def _deep_coat(record: MaxxVit, **changes: Any) -> MaxxVit:
    """As `_coat`, strided convolutions, one kind of activation in all convolutional blocks."""
    return _coat(record, conv_stride_mode="dw", conv_attn_act_layer="silu", **changes)


def _max(record: MaxxVit, **changes: Any) -> MaxxVit:
    """MaxViTs that timm trained first."""
    stated: dict[str, Any] = {
        "conv_expand_output": False,
        "conv_output_bias": False,
        "conv_attn_ratio": 1 / 16,
        "conv_act_layer": "silu",
        "transformer_expand_first": False,
    }
    return _change(record, **{**stated, **changes})


def _small_coat(record: MaxxVit, **changes: Any) -> MaxxVit:
    """Small CoAtNets, in most as `_max`."""
    return _max(record, conv_output_bias=True, conv_attn_ratio=0.25, **changes)


def _mlp(record: MaxxVit, hidden: int = 512) -> MaxxVit:
    """Biases of relative positions by a perceptron."""
    return _change(record, transformer_rel_pos_type="mlp", transformer_rel_pos_dim=hidden)


def _scaled(record: MaxxVit) -> MaxxVit:
    """Attention blocks with layer scales."""
    return _change(record, transformer_init_values=1e-6)


def _next(record: MaxxVit, **changes: Any) -> MaxxVit:
    """Convolutional blocks as ConvNeXt's."""
    stated: dict[str, Any] = {
        "conv_block_type": "convnext",
        "conv_expand_output": False,
        "conv_norm_eps": 1e-6,
        "transformer_expand_first": False,
        "transformer_init_values": 1e-6,
    }
    return _change(record, **{**stated, **changes})


def _in_windows(record: MaxxVit, parallel: bool = False) -> MaxxVit:
    """MaxViT's blocks in all stages."""
    kind = "PM" if parallel else "M"
    return _change(record, block_type=(kind, kind, kind, kind))


def _paper(record: MaxxVit) -> MaxxVit:
    """CoAtNets of the paper: a hidden map as wide as the last stage."""
    return _change(record, head_hidden_size=record.embed_dim[-1])


def _tf(width: int, depths: tuple[int, ...], stem_width: int = 64) -> MaxxVit:
    """MaxViTs of the paper, whose weights come from TensorFlow."""
    record = _sized(width, depths, stem_width=stem_width, stem_bias=True)
    return _change(
        _in_windows(_paper(record)),
        conv_norm_eps=1e-3,
        conv_act_layer="gelu_tanh",
        conv_padding="same",
        transformer_norm_eps=1e-5,
        transformer_act_layer="gelu_tanh",
        transformer_head_first=False,
        transformer_rel_pos_type="bias_tf",
    )


COATNET_64 = _stems(_sized(64, NANO_DEEP))
COATNET_96_SHALLOW, COATNET_96 = _stems(_sized(96, ZERO_DEEP)), _stems(_sized(96, BASE))
COATNET_128, COATNET_192 = _stems(_sized(128, BASE), 64, 128), _stems(_sized(192, BASE), 96, 192)

COATNETS = {
    "coatnet_pico_rw_224": _small_coat(_stems(_sized(64, (2, 3, 5, 2)))),
    "coatnet_nano_rw_224": _small_coat(COATNET_64, conv_stride_mode="pool"),
    "coatnet_0_rw_224": _early(COATNET_96_SHALLOW),
    "coatnet_1_rw_224": _early(COATNET_96, conv_stride_mode="dw"),
    "coatnet_2_rw_224": _deep_coat(COATNET_128),
    "coatnet_3_rw_224": _scaled(_deep_coat(COATNET_192)),
    "coatnet_bn_0_rw_224": _early(
        COATNET_96_SHALLOW, conv_stride_mode="dw", transformer_norm_layer="batchnorm2d"
    ),
    "coatnet_rmlp_nano_rw_224": _mlp(_small_coat(COATNET_64), 384),
    "coatnet_rmlp_0_rw_224": _mlp(_coat(COATNET_96_SHALLOW, conv_stride_mode="dw")),
    "coatnet_rmlp_1_rw_224": _mlp(_early(COATNET_96, conv_pool_type="max", transformer_pool_type="max"), 384),
    "coatnet_rmlp_1_rw2_224": _mlp(_coat(COATNET_96, conv_stride_mode="dw")),
    "coatnet_rmlp_2_rw_224": _mlp(_scaled(_deep_coat(COATNET_128))),
    "coatnet_rmlp_2_rw_384": _mlp(_scaled(_deep_coat(COATNET_128))),
    "coatnet_rmlp_3_rw_224": _mlp(_scaled(_deep_coat(COATNET_192))),
    "coatnet_nano_cc_224": _change(_coat(COATNET_64), block_type=("C", "C", ("C", "T"), ("C", "T"))),
    "coatnext_nano_rw_224": _next(
        COATNET_64, weight_init="normal", conv_init_values=1e-5, transformer_init_values=None
    ),
    "coatnet_0_224": _paper(_sized(96, (2, 3, 5, 2))),
    "coatnet_1_224": _paper(_sized(96, BASE)),
    "coatnet_2_224": _paper(_sized(128, BASE, stem_width=128)),
    "coatnet_3_224": _paper(_sized(192, BASE, stem_width=192)),
    "coatnet_4_224": _paper(_sized(192, (2, 12, 28, 2), stem_width=192)),
    "coatnet_5_224": _paper(MaxxVit(embed_dim=(256, 512, 1280, 2048), depths=(2, 12, 28, 2), stem_width=192)),
}

MAXVIT_PICO = _max(_in_windows(_stems(_sized(32, TINY), 24, 32)))
MAXVIT_NANO = _max(_in_windows(_stems(_sized(64, NANO))))
MAXVIT_TINY = _max(_in_windows(_stems(_sized(64, TINY))))
MAXVIT_SMALL = _mlp(_scaled(_max(_in_windows(_stems(_sized(96, TINY))))))
MAXVIT_BASE = _mlp(_max(_in_windows(_stems(_paper(_sized(96, BASE))))))

MAXVITS = {
    "maxvit_pico_rw_256": MAXVIT_PICO,
    "maxvit_nano_rw_256": MAXVIT_NANO,
    "maxvit_tiny_rw_224": MAXVIT_TINY,
    "maxvit_tiny_rw_256": MAXVIT_TINY,
    "maxvit_tiny_pm_256": _in_windows(MAXVIT_TINY, parallel=True),
    "maxvit_rmlp_pico_rw_256": _mlp(MAXVIT_PICO),
    "maxvit_rmlp_nano_rw_256": _mlp(MAXVIT_NANO),
    "maxvit_rmlp_tiny_rw_256": _mlp(MAXVIT_TINY),
    "maxvit_rmlp_small_rw_224": MAXVIT_SMALL,
    "maxvit_rmlp_small_rw_256": MAXVIT_SMALL,
    "maxvit_rmlp_base_rw_224": MAXVIT_BASE,
    "maxvit_rmlp_base_rw_384": MAXVIT_BASE,
}


def _grids_alone(record: MaxxVit) -> MaxxVit:
    """The second version of MaxxViT: no attention within windows."""
    return _change(record, transformer_no_block_attn=True)


MAXXVIT_SMALL = _mlp(_next(_in_windows(_stems(_sized(96, TINY), 48, 96))))
MAXXVIT2_NANO = _grids_alone(_next(_in_windows(_stems(_sized(96, NANO), 48, 96))))
MAXXVIT2_BASE = _grids_alone(_mlp(_next(_in_windows(_stems(_sized(128, (2, 6, 12, 2)), 64, 128)))))
MAXXVIT2_LARGE = _grids_alone(_mlp(_next(_in_windows(_stems(_paper(_sized(160, (2, 6, 16, 2))), 80, 160)))))

MAXXVITS = {
    "maxxvit_rmlp_nano_rw_256": _mlp(_next(_in_windows(_stems(_sized(64, NANO))), weight_init="normal")),
    "maxxvit_rmlp_tiny_rw_256": _mlp(_next(_in_windows(_stems(_sized(64, TINY))))),
    "maxxvit_rmlp_small_rw_256": MAXXVIT_SMALL,
    "maxxvitv2_nano_rw_256": _change(MAXXVIT2_NANO, weight_init="normal"),
    "maxxvitv2_rmlp_base_rw_224": MAXXVIT2_BASE,
    "maxxvitv2_rmlp_base_rw_384": MAXXVIT2_BASE,
    "maxxvitv2_rmlp_large_rw_224": MAXXVIT2_LARGE,
}

TF_MAXVITS = {
    "tiny": _tf(64, TINY),
    "small": _tf(96, TINY),
    "base": _tf(96, BASE),
    "large": _tf(128, BASE, 128),
    "xlarge": _tf(192, BASE, 192),
}

SMALLEST = MaxxVit(embed_dim=(32, 64, 96, 128), depths=(1, 1, 1, 1), stem_width=(16, 32))

ARCHITECTURES: dict[str, MaxxVit] = {
    **COATNETS,
    **MAXVITS,
    **MAXXVITS,
    **{
        f"maxvit_{name}_tf_{image_size}": record
        for name, record in TF_MAXVITS.items()
        for image_size in (224, 384, 512)
    },
    "test_maxvit": _max(_in_windows(SMALLEST)),
    "test_coatnet": _small_coat(_change(SMALLEST, depths=(1, 1, 2, 1)), conv_stride_mode="pool"),
}
"""Architectures by timm's names."""


def _stated_size(name: str) -> int:
    return 160 if name.startswith("test_") else int(name.rpartition("_")[2])


IMAGE_SIZES: dict[str, int] = {
    name: _stated_size(name) for name in ARCHITECTURES if _stated_size(name) != DEFAULT_IMAGE_SIZE
}
"""Sizes that architectures are made for, other than 224: their names state them."""
