import functools

import pytest
from timm_parity import assert_forward_parity, assert_new_parameters_are_distributed_as_timms

from sketch_jax.models import efficientnet
from sketch_jax.models.convolutional import GroupNorm
from sketch_jax.models.efficientnet_rows import cn, ds, er, ir
from sketch_jax.models.model import Request

timm = pytest.importorskip("timm")
generators = pytest.importorskip("timm.models.efficientnet")

CLASSES = 7
FIRST = ds(repeats=1, kernel_size=3, stride=1, out_chs=8)
MADE = {
    "mixed kernels": (
        [["ds_r1_k3_s1_c8"], ["ir_r1_k3.5_a1.1_s2_e3_c12_se0.5_nsw", "ir_r1_k3.5.7_p1.1_s1_e2_c12"]],
        (
            (FIRST,),
            (
                ir(
                    repeats=1,
                    kernel_size=(3, 5),
                    stride=2,
                    exp_ratio=3,
                    out_chs=12,
                    se_ratio=0.5,
                    act_layer="swish",
                    exp_kernel_size=(1, 1),
                ),
                ir(
                    repeats=1, kernel_size=(3, 5, 7), stride=1, exp_ratio=2, out_chs=12, pw_kernel_size=(1, 1)
                ),
            ),
        ),
        {"pad_type": "same"},
    ),
    "experts": (
        [["ds_r1_k3_s1_c8"], ["ir_r2_k3_s2_e2_c16_se0.25_cc4"]],
        (
            (FIRST,),
            (
                ir(
                    block="CondConvResidual",
                    repeats=2,
                    kernel_size=3,
                    stride=2,
                    exp_ratio=2,
                    out_chs=16,
                    se_ratio=0.25,
                    num_experts=4,
                ),
            ),
        ),
        {"act_layer": "swish", "pad_type": "same"},
    ),
    "folded cells": (
        [["ds_r2_k3_s1_c8_se0.25_d1"], ["er_r2_k3_s2_e4_c16_se0.25_nre"]],
        (
            (ds(repeats=2, kernel_size=3, stride=1, out_chs=8, se_ratio=0.25, s2d=True),),
            (
                er(
                    repeats=2,
                    kernel_size=3,
                    stride=2,
                    exp_ratio=4,
                    out_chs=16,
                    se_ratio=0.25,
                    act_layer="relu",
                ),
            ),
        ),
        {"act_layer": "silu"},
    ),
    "anti-aliasing": (
        [["ds_r1_k3_s1_c8"], ["ir_r2_k5_s2_e2_c16"], ["er_r1_k3_s2_e2_c16"], ["cn_r1_k3_s2_c16_skip"]],
        (
            (FIRST,),
            (ir(repeats=2, kernel_size=5, stride=2, exp_ratio=2, out_chs=16),),
            (er(repeats=1, kernel_size=3, stride=2, exp_ratio=2, out_chs=16),),
            (cn(repeats=1, kernel_size=3, stride=2, out_chs=16),),
        ),
        {"aa_layer": "blurpc"},
    ),
    "activation after the projection, no head": (
        [["dsa_r2_k3_s2_c16"], ["er_r1_k3_s1_e2_c16_fc24_noskip"]],
        (
            (ds(repeats=2, kernel_size=3, stride=2, out_chs=16, pw_act=True, skip=False),),
            (
                er(
                    repeats=1,
                    kernel_size=3,
                    stride=1,
                    exp_ratio=2,
                    out_chs=16,
                    force_in_chs=24,
                    skip=False,
                ),
            ),
        ),
        {"num_features": 0, "act_layer": "relu6", "stem_kernel_size": 5},
    ),
    "groups of channels": (
        [["ds_r1_k3_s1_c16"], ["er_r1_k3_s1_e2_gs8_c16", "cn_r1_k3_s1_c16_skip"]],
        (
            (ds(repeats=1, kernel_size=3, stride=1, out_chs=16, group_size=4),),
            (
                er(repeats=1, kernel_size=3, stride=1, exp_ratio=2, out_chs=16, group_size=8),
                cn(repeats=1, kernel_size=3, stride=1, out_chs=16, group_size=4),
            ),
        ),
        {"norm_layer": functools.partial(GroupNorm, group_size=8)},
    ),
}
"""What the named ones lack: timm's strings, our rows, and the arguments of both."""


def made(kind):
    """A small network of one kind of blocks, by timm's strings and by our rows."""
    strings, rows, arguments = MADE[kind]
    arguments = {"num_features": 32, "stem_size": 8, "act_layer": "relu", **arguments}
    model = efficientnet.create(
        efficientnet.EfficientNet(block_args=rows, **arguments),
        Request(name=kind, class_count=CLASSES, image_size=45),
    )
    norm = timm.layers.GroupNormAct if "norm_layer" in arguments else None
    reference = generators.EfficientNet(
        generators.decode_arch_def(strings, group_size=4 if norm else None),
        num_classes=CLASSES,
        **{
            **arguments,
            "act_layer": timm.layers.get_act_layer(arguments["act_layer"]),
            "norm_layer": norm and functools.partial(norm, group_size=8),
        },
    )
    return model, reference


@pytest.mark.parametrize("kind", MADE)
def test_all_kinds_of_blocks_match_timm(kind):
    assert_forward_parity(*made(kind), True)


@pytest.mark.parametrize("kind", ["experts", "anti-aliasing"])
def test_new_parameters_are_distributed_as_timms(kind):
    assert_new_parameters_are_distributed_as_timms(*made(kind))
