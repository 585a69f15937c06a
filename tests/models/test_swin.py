"""Both generations of Swin transformers beside timm's, everything random."""

import math

import pytest
from test_vision_transformer_parity import assert_parity

torch = pytest.importorskip("torch")

SHRUNK = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}
V2_CASES = {
    "shifted": (32, {"window_size": 4}),
    "padded": (36, {"window_size": (4, 3), "depths": (2, 1, 2), "num_heads": (2, 2, 3)}),
    "windows_larger_than_maps": (32, {"window_size": 8, "always_partition": True, "dynamic_img_size": True}),
    "measured_by_other_windows": (
        32,
        {
            "window_size": ((2, 4), (3, 2)),
            "pretrained_window_sizes": (6, (3, 5)),
            "qkv_bias": False,
            "act_layer": "gelu_tanh",
            "global_pool": "catavgmax",
            "mlp_ratio": 2.5,
        },
    ),
}


def spread_scales(model):
    """Makes some heads' scales larger than the largest that counts."""
    for name, parameter in model.named_parameters():
        if name.endswith("logit_scale"):
            with torch.no_grad():
                parameter.copy_(torch.linspace(0.5, math.log(100.0) + 0.5, len(parameter))[:, None, None])


@pytest.mark.parametrize(("size", "arguments"), V2_CASES.values(), ids=V2_CASES.keys())
def test_a_swin_transformer_v2_answers_as_timms(size, arguments):
    assert_parity("swinv2_tiny_window8_256", {**SHRUNK, **arguments}, size, spread_scales)
