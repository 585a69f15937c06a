"""The stages of each architecture of timm's efficientnet.py: its architecture strings, written out.

References:
    MnasNet (arXiv:1807.11626), Single-Path NAS (arXiv:1904.02877), MobileNet (arXiv:1704.04861), MobileNetV2
    (arXiv:1801.04381), EfficientNet (arXiv:1905.11946), CondConv (arXiv:1904.04971), EfficientNet-X
    (arXiv:2102.05610), EfficientNetV2 (arXiv:2104.00298), MixNet (arXiv:1907.09595), MobileNet-EdgeTPU
    (arXiv:2204.14007).
"""

from sketch_jax.models.efficientnet_rows import Kernel, Row, Stages, cn, ds, er, ir, replace_rows

MNASNET_A1: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16, skip=False),),
    (ir(repeats=2, kernel_size=3, stride=2, exp_ratio=6, out_chs=24),),
    (ir(repeats=3, kernel_size=5, stride=2, exp_ratio=3, out_chs=40, se_ratio=0.25),),
    (ir(repeats=4, kernel_size=3, stride=2, exp_ratio=6, out_chs=80),),
    (ir(repeats=2, kernel_size=3, stride=1, exp_ratio=6, out_chs=112, se_ratio=0.25),),
    (ir(repeats=3, kernel_size=5, stride=2, exp_ratio=6, out_chs=160, se_ratio=0.25),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=320),),
)
MNASNET_B1: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16, skip=False),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=3, out_chs=24),),
    (ir(repeats=3, kernel_size=5, stride=2, exp_ratio=3, out_chs=40),),
    (ir(repeats=3, kernel_size=5, stride=2, exp_ratio=6, out_chs=80),),
    (ir(repeats=2, kernel_size=3, stride=1, exp_ratio=6, out_chs=96),),
    (ir(repeats=4, kernel_size=5, stride=2, exp_ratio=6, out_chs=192),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=320, skip=False),),
)
MNASNET_SMALL: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=8),),
    (ir(repeats=1, kernel_size=3, stride=2, exp_ratio=3, out_chs=16),),
    (ir(repeats=2, kernel_size=3, stride=2, exp_ratio=6, out_chs=16),),
    (ir(repeats=4, kernel_size=5, stride=2, exp_ratio=6, out_chs=32, se_ratio=0.25),),
    (ir(repeats=3, kernel_size=3, stride=1, exp_ratio=6, out_chs=32, se_ratio=0.25),),
    (ir(repeats=3, kernel_size=5, stride=2, exp_ratio=6, out_chs=88, se_ratio=0.25),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=144),),
)
FBNETC: Stages = (
    (ir(repeats=1, kernel_size=3, stride=1, out_chs=16),),
    (
        ir(repeats=1, kernel_size=3, stride=2, exp_ratio=6, out_chs=24),
        ir(repeats=2, kernel_size=3, stride=1, out_chs=24),
    ),
    (
        ir(repeats=1, kernel_size=5, stride=2, exp_ratio=6, out_chs=32),
        ir(repeats=1, kernel_size=5, stride=1, exp_ratio=3, out_chs=32),
        ir(repeats=1, kernel_size=5, stride=1, exp_ratio=6, out_chs=32),
        ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=32),
    ),
    (
        ir(repeats=1, kernel_size=5, stride=2, exp_ratio=6, out_chs=64),
        ir(repeats=1, kernel_size=5, stride=1, exp_ratio=3, out_chs=64),
        ir(repeats=2, kernel_size=5, stride=1, exp_ratio=6, out_chs=64),
    ),
    (
        ir(repeats=3, kernel_size=5, stride=1, exp_ratio=6, out_chs=112),
        ir(repeats=1, kernel_size=5, stride=1, exp_ratio=3, out_chs=112),
    ),
    (ir(repeats=4, kernel_size=5, stride=2, exp_ratio=6, out_chs=184),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=352),),
)

SPNASNET: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16, skip=False),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=3, out_chs=24),),
    (
        ir(repeats=1, kernel_size=5, stride=2, exp_ratio=6, out_chs=40),
        ir(repeats=3, kernel_size=3, stride=1, exp_ratio=3, out_chs=40),
    ),
    (
        ir(repeats=1, kernel_size=5, stride=2, exp_ratio=6, out_chs=80),
        ir(repeats=3, kernel_size=3, stride=1, exp_ratio=3, out_chs=80),
    ),
    (
        ir(repeats=1, kernel_size=5, stride=1, exp_ratio=6, out_chs=96),
        ir(repeats=3, kernel_size=5, stride=1, exp_ratio=3, out_chs=96),
    ),
    (ir(repeats=4, kernel_size=5, stride=2, exp_ratio=6, out_chs=192),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=320, skip=False),),
)
MOBILENET_V1: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=64, pw_act=True, skip=False),),
    (ds(repeats=2, kernel_size=3, stride=2, out_chs=128, pw_act=True, skip=False),),
    (ds(repeats=2, kernel_size=3, stride=2, out_chs=256, pw_act=True, skip=False),),
    (ds(repeats=6, kernel_size=3, stride=2, out_chs=512, pw_act=True, skip=False),),
    (ds(repeats=2, kernel_size=3, stride=2, out_chs=1024, pw_act=True, skip=False),),
)
MOBILENET_V2: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16),),
    (ir(repeats=2, kernel_size=3, stride=2, exp_ratio=6, out_chs=24),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=6, out_chs=32),),
    (ir(repeats=4, kernel_size=3, stride=2, exp_ratio=6, out_chs=64),),
    (ir(repeats=3, kernel_size=3, stride=1, exp_ratio=6, out_chs=96),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=6, out_chs=160),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=320),),
)
EFFICIENTNET: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16, se_ratio=0.25),),
    (ir(repeats=2, kernel_size=3, stride=2, exp_ratio=6, out_chs=24, se_ratio=0.25),),
    (ir(repeats=2, kernel_size=5, stride=2, exp_ratio=6, out_chs=40, se_ratio=0.25),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=6, out_chs=80, se_ratio=0.25),),
    (ir(repeats=3, kernel_size=5, stride=1, exp_ratio=6, out_chs=112, se_ratio=0.25),),
    (ir(repeats=4, kernel_size=5, stride=2, exp_ratio=6, out_chs=192, se_ratio=0.25),),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=6, out_chs=320, se_ratio=0.25),),
)
LITE: Stages = replace_rows(EFFICIENTNET, range(7), se_ratio=0.0)


def condconv(num_experts: int) -> Stages:
    """EfficientNet with conditional convolutions in its last three stages."""
    return replace_rows(EFFICIENTNET, [4, 5, 6], block="CondConvResidual", num_experts=num_experts)


EFFICIENTNET_X: Stages = replace_rows(
    replace_rows(EFFICIENTNET, [0], s2d=True), [1, 2], block="EdgeResidual", act_layer="relu"
)
EFFICIENTNET_H: Stages = replace_rows(EFFICIENTNET_X, [1, 2, 3], exp_ratio=4)
EDGE: Stages = (
    (er(repeats=1, kernel_size=3, stride=1, exp_ratio=4, out_chs=24, force_in_chs=24, skip=False),),
    (er(repeats=2, kernel_size=3, stride=2, exp_ratio=8, out_chs=32),),
    (er(repeats=4, kernel_size=3, stride=2, exp_ratio=8, out_chs=48),),
    (ir(repeats=5, kernel_size=5, stride=2, exp_ratio=8, out_chs=96),),
    (ir(repeats=4, kernel_size=5, stride=1, exp_ratio=8, out_chs=144),),
    (ir(repeats=2, kernel_size=5, stride=2, exp_ratio=8, out_chs=192),),
)
V2_BASE: Stages = (
    (cn(repeats=1, kernel_size=3, stride=1, out_chs=16),),
    (er(repeats=2, kernel_size=3, stride=2, exp_ratio=4, out_chs=32),),
    (er(repeats=2, kernel_size=3, stride=2, exp_ratio=4, out_chs=48),),
    (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=4, out_chs=96, se_ratio=0.25),),
    (ir(repeats=5, kernel_size=3, stride=1, exp_ratio=6, out_chs=112, se_ratio=0.25),),
    (ir(repeats=8, kernel_size=3, stride=2, exp_ratio=6, out_chs=192, se_ratio=0.25),),
)
V2_S: Stages = (
    (cn(repeats=2, kernel_size=3, stride=1, out_chs=24),),
    (er(repeats=4, kernel_size=3, stride=2, exp_ratio=4, out_chs=48),),
    (er(repeats=4, kernel_size=3, stride=2, exp_ratio=4, out_chs=64),),
    (ir(repeats=6, kernel_size=3, stride=2, exp_ratio=4, out_chs=128, se_ratio=0.25),),
    (ir(repeats=9, kernel_size=3, stride=1, exp_ratio=6, out_chs=160, se_ratio=0.25),),
    (ir(repeats=15, kernel_size=3, stride=2, exp_ratio=6, out_chs=256, se_ratio=0.25),),
)
V2_RW: Stages = replace_rows(replace_rows(V2_S, [0], block="EdgeResidual"), [5], out_chs=272)
V2_M: Stages = (
    (cn(repeats=3, kernel_size=3, stride=1, out_chs=24),),
    (er(repeats=5, kernel_size=3, stride=2, exp_ratio=4, out_chs=48),),
    (er(repeats=5, kernel_size=3, stride=2, exp_ratio=4, out_chs=80),),
    (ir(repeats=7, kernel_size=3, stride=2, exp_ratio=4, out_chs=160, se_ratio=0.25),),
    (ir(repeats=14, kernel_size=3, stride=1, exp_ratio=6, out_chs=176, se_ratio=0.25),),
    (ir(repeats=18, kernel_size=3, stride=2, exp_ratio=6, out_chs=304, se_ratio=0.25),),
    (ir(repeats=5, kernel_size=3, stride=1, exp_ratio=6, out_chs=512, se_ratio=0.25),),
)
V2_L: Stages = (
    (cn(repeats=4, kernel_size=3, stride=1, out_chs=32),),
    (er(repeats=7, kernel_size=3, stride=2, exp_ratio=4, out_chs=64),),
    (er(repeats=7, kernel_size=3, stride=2, exp_ratio=4, out_chs=96),),
    (ir(repeats=10, kernel_size=3, stride=2, exp_ratio=4, out_chs=192, se_ratio=0.25),),
    (ir(repeats=19, kernel_size=3, stride=1, exp_ratio=6, out_chs=224, se_ratio=0.25),),
    (ir(repeats=25, kernel_size=3, stride=2, exp_ratio=6, out_chs=384, se_ratio=0.25),),
    (ir(repeats=7, kernel_size=3, stride=1, exp_ratio=6, out_chs=640, se_ratio=0.25),),
)
V2_XL: Stages = (
    (cn(repeats=4, kernel_size=3, stride=1, out_chs=32),),
    (er(repeats=8, kernel_size=3, stride=2, exp_ratio=4, out_chs=64),),
    (er(repeats=8, kernel_size=3, stride=2, exp_ratio=4, out_chs=96),),
    (ir(repeats=16, kernel_size=3, stride=2, exp_ratio=4, out_chs=192, se_ratio=0.25),),
    (ir(repeats=24, kernel_size=3, stride=1, exp_ratio=6, out_chs=256, se_ratio=0.25),),
    (ir(repeats=32, kernel_size=3, stride=2, exp_ratio=6, out_chs=512, se_ratio=0.25),),
    (ir(repeats=8, kernel_size=3, stride=1, exp_ratio=6, out_chs=640, se_ratio=0.25),),
)
V2_TEST: Stages = (
    (cn(repeats=1, kernel_size=3, stride=1, out_chs=16),),
    (er(repeats=1, kernel_size=3, stride=2, exp_ratio=4, out_chs=24),),
    (er(repeats=1, kernel_size=3, stride=2, exp_ratio=4, out_chs=32),),
    (ir(repeats=1, kernel_size=3, stride=2, exp_ratio=4, out_chs=48, se_ratio=0.25),),
    (ir(repeats=1, kernel_size=3, stride=2, exp_ratio=4, out_chs=64, se_ratio=0.25),),
)


def _mixed(
    repeats: int,
    kernel_size: Kernel,
    stride: int,
    exp_ratio: int,
    out_chs: int,
    *,
    se_ratio: float = 0.5,
    expand: Kernel = 1,
    project: Kernel = 1,
    act_layer: str | None = "swish",
) -> Row:
    """A row of MixNet; `expand` and `project` are kernels of 1×1 convolutions, one or split in two."""
    return ir(
        repeats=repeats,
        kernel_size=kernel_size,
        stride=stride,
        exp_ratio=exp_ratio,
        out_chs=out_chs,
        se_ratio=se_ratio,
        exp_kernel_size=expand,
        pw_kernel_size=project,
        act_layer=act_layer,
    )


SPLIT = (1, 1)
K35, K357, K3579, K3_TO_11 = (3, 5), (3, 5, 7), (3, 5, 7, 9), (3, 5, 7, 9, 11)

MIXNET_S: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=16),),
    (
        _mixed(1, 3, 2, 6, 24, se_ratio=0.0, expand=SPLIT, project=SPLIT, act_layer=None),
        _mixed(1, 3, 1, 3, 24, se_ratio=0.0, expand=SPLIT, project=SPLIT, act_layer=None),
    ),
    (_mixed(1, K357, 2, 6, 40), _mixed(3, K35, 1, 6, 40, expand=SPLIT, project=SPLIT)),
    (
        _mixed(1, K357, 2, 6, 80, se_ratio=0.25, project=SPLIT),
        _mixed(2, K35, 1, 6, 80, se_ratio=0.25, project=SPLIT),
    ),
    (
        _mixed(1, K357, 1, 6, 120, expand=SPLIT, project=SPLIT),
        _mixed(2, K3579, 1, 3, 120, expand=SPLIT, project=SPLIT),
    ),
    (_mixed(1, K3_TO_11, 2, 6, 200), _mixed(2, K3579, 1, 6, 200, project=SPLIT)),
)
MIXNET_M: Stages = (
    (ds(repeats=1, kernel_size=3, stride=1, out_chs=24),),
    (
        _mixed(1, K357, 2, 6, 32, se_ratio=0.0, expand=SPLIT, project=SPLIT, act_layer=None),
        _mixed(1, 3, 1, 3, 32, se_ratio=0.0, expand=SPLIT, project=SPLIT, act_layer=None),
    ),
    (_mixed(1, K3579, 2, 6, 40), _mixed(3, K35, 1, 6, 40, expand=SPLIT, project=SPLIT)),
    (
        _mixed(1, K357, 2, 6, 80, se_ratio=0.25),
        _mixed(3, K3579, 1, 6, 80, se_ratio=0.25, expand=SPLIT, project=SPLIT),
    ),
    (_mixed(1, 3, 1, 6, 120), _mixed(3, K3579, 1, 3, 120, expand=SPLIT, project=SPLIT)),
    (_mixed(1, K3579, 2, 6, 200), _mixed(3, K3579, 1, 6, 200, project=SPLIT)),
)
EDGETPU_V1: Stages = (
    (cn(repeats=1, kernel_size=1, stride=1, out_chs=16, skip=False),),
    (
        er(repeats=1, kernel_size=3, stride=2, exp_ratio=8, out_chs=32),
        er(repeats=3, kernel_size=3, stride=1, exp_ratio=4, out_chs=32),
    ),
    (
        er(repeats=1, kernel_size=3, stride=2, exp_ratio=8, out_chs=48),
        er(repeats=3, kernel_size=3, stride=1, exp_ratio=4, out_chs=48),
    ),
    (
        ir(repeats=1, kernel_size=3, stride=2, exp_ratio=8, out_chs=96),
        ir(repeats=3, kernel_size=3, stride=1, exp_ratio=4, out_chs=96),
    ),
    (
        ir(repeats=1, kernel_size=3, stride=1, exp_ratio=8, out_chs=96, skip=False),
        ir(repeats=3, kernel_size=3, stride=1, exp_ratio=4, out_chs=96),
    ),
    (
        ir(repeats=1, kernel_size=5, stride=2, exp_ratio=8, out_chs=160),
        ir(repeats=3, kernel_size=5, stride=1, exp_ratio=4, out_chs=160),
    ),
    (ir(repeats=1, kernel_size=3, stride=1, exp_ratio=8, out_chs=192),),
)


def edgetpu_v2(out_chs: tuple[int, ...], group_size: int) -> Stages:
    """MobileNet-EdgeTPU v2.

    Args:
        out_chs: channels of the seven stages.
        group_size: channels a group in the grouped blocks.
    """

    def fused(stage: int, group_size: int | None = None):
        return er(
            repeats=1, kernel_size=3, stride=1, exp_ratio=4, out_chs=out_chs[stage], group_size=group_size
        )

    def first(kind, stage: int, stride: int):
        return kind(repeats=1, kernel_size=3, stride=stride, exp_ratio=8, out_chs=out_chs[stage])

    def others(stage: int):
        return ir(repeats=3, kernel_size=3, stride=1, exp_ratio=4, out_chs=out_chs[stage])

    return (
        (cn(repeats=1, kernel_size=1, stride=1, out_chs=out_chs[0], skip=False),),
        (first(er, 1, 2), fused(1, group_size)),
        (first(er, 2, 2), fused(2, group_size), fused(2), fused(2, group_size)),
        (first(er, 3, 2), others(3)),
        (first(ir, 4, 1), others(4)),
        (first(ir, 5, 2), others(5)),
        (first(ir, 6, 1),),
    )
