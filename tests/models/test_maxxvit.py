"""CoAtNets and MaxViTs beside timm's, on shrunken ones of each kind, and what is theirs alone."""

import numpy as np
import pytest
from jax import numpy as jnp
from samples import sampled
from timm_parity import (
    assert_forward_parity,
    assert_new_parameters_are_distributed_as_timms,
    assert_parity,
    build,
    channels_first,
    channels_last,
    our_tree,
    random_images,
    torch_tree,
)

from sketch_jax.models import maxxvit, relative_position_kinds
from sketch_jax.models.maxxvit_convolutions import POOLS
from sketch_jax.models.maxxvit_plan import plan_stages

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
theirs = pytest.importorskip("timm.models.maxxvit")
DropPath = timm.layers.DropPath

CLASSES = 7
SIZE = 32

SMALL = {
    "transformer_dim_head": 8,
    "transformer_rel_pos_dim": 24,
    "transformer_partition_ratio": 8,
}
COAT = {
    **SMALL,
    "embed_dim": (16, 24),
    "depths": (2, 2),
    "block_type": ("C", "T"),
    "stem_width": (8, 16),
}
"""Maps of 8×8 and 4×4 cells; of each kind a block that strides and one that does not."""
MAX = {**SMALL, "embed_dim": (16,), "depths": (2,), "block_type": ("M",), "stem_width": (8, 16)}
"""A map of 8×8 cells, in windows and grids of 4×4."""
NEXT = {"stem_width": (8, 8)}
HIDDEN = {"head_hidden_size": 40, "stem_width": 8}

CASES = {
    "strided_pools": ("coatnet_0_rw_224", COAT),
    "batch_norms": ("coatnet_bn_0_rw_224", COAT),
    "max_pools": ("coatnet_rmlp_1_rw_224", COAT),
    "layer_scales": ("coatnet_rmlp_2_rw_224", {**COAT, "transformer_init_values": 0.5}),
    "paper": ("coatnet_0_224", {**COAT, **HIDDEN}),
    "mixed": ("coatnet_nano_cc_224", {**COAT, "block_type": ("C", ("C", "T"))}),
    "next": ("coatnext_nano_rw_224", {**COAT, **NEXT, "embed_dim": (16, 32)}),
    "windows": ("maxvit_tiny_rw_224", MAX),
    "parallel": ("maxvit_tiny_pm_256", {**MAX, "block_type": ("PM",)}),
    "tensorflow": ("maxvit_tiny_tf_224", {**MAX, **HIDDEN}),
    "grids_alone": ("maxxvitv2_rmlp_base_rw_224", {**MAX, **NEXT}),
}
"""Kind -> (timm's name, arguments that shrink it)."""


def create(kind, size=SIZE, **changes):
    name, arguments = CASES[kind]
    return build(maxxvit, name, size, **{**arguments, **changes})


def shrunk_timm(kind, size=SIZE, **changes):
    name, arguments = CASES[kind]
    arguments = {"num_classes": CLASSES, **arguments, **changes}
    return timm.create_model(name, img_size=size, **arguments)


WITH_GRADIENTS = ["strided_pools", "paper", "next", "parallel", "tensorflow"]


@pytest.mark.parametrize("kind", WITH_GRADIENTS)
def test_answers_and_gradients_match_timm(kind):
    assert_parity(create(kind), shrunk_timm(kind), False)


@pytest.mark.parametrize("kind", sorted(CASES.keys() - set(WITH_GRADIENTS)))
def test_answers_match_timm(kind):
    assert_forward_parity(create(kind), shrunk_timm(kind), False)


@pytest.mark.parametrize("kind", ["batch_norms", "windows"])
def test_answers_gradients_and_statistics_match_timm_in_training(kind):
    assert_parity(create(kind), shrunk_timm(kind), True)


def test_biases_by_a_perceptron_match_timm_in_training_without_their_dropout(monkeypatch):
    reference = shrunk_timm("layer_scales")
    for module in reference.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    monkeypatch.setattr(relative_position_kinds, "HIDDEN_DROPOUT", 0.0)
    assert_parity(create("layer_scales"), reference, True)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mixed", {"conv_stride_mode": "1x1", "global_pool": "catavgmax"}),
        ("windows", {"transformer_window_size": (2, 4), "transformer_grid_size": (8, 2)}),
        ("max_pools", {"transformer_attn_bias": False, "conv_kernel_size": 5}),
    ],
)
def test_further_arguments_match_timms(kind, changes):
    model, reference = create(kind, **changes), shrunk_timm(kind, **changes)
    assert model.feature_width == reference.head.num_features
    assert_forward_parity(model, reference, False)


@pytest.mark.parametrize("name", ["avg", "avg2", "max", "max2"])
def test_pools_match_timms(name):
    features = random_images(8)
    expected = theirs.Downsample2d(3, 3, name)(channels_first(features))
    np.testing.assert_allclose(POOLS[name](jnp.asarray(features)), channels_last(expected), atol=1e-6)


@pytest.mark.parametrize("name", sampled(maxxvit.ARCHITECTURES, 8))
def test_every_architecture_has_the_parameters_and_rates_of_timms(name):
    size = maxxvit.IMAGE_SIZES.get(name, 224)
    with torch.device("meta"):
        reference = timm.create_model(name, img_size=size, num_classes=1000, drop_path_rate=0.2)
    model = build(maxxvit, name, size, classes=1000)
    assert our_tree(model) == torch_tree(reference)
    assert model.feature_width == reference.head.num_features
    places = [place for stage in plan_stages(maxxvit.ARCHITECTURES[name], size, 0.2) for place in stage]
    blocks = [block for stage in reference.stages for block in stage.blocks]
    rates = [
        max((part.drop_prob for part in block.modules() if isinstance(part, DropPath)), default=0.0)
        for block in blocks
    ]
    assert [place.drop_path for place in places] == pytest.approx(rates)


UNIFORM = {"conv_attn_layer": "se", "conv_group_size": 1, "transformer_use_nchw_attn": False}
"""What timm's configs have alike; so does `norm_layer_cl`."""


def test_every_record_says_what_timms_config_does(monkeypatch):
    stated = {}
    monkeypatch.setattr(
        theirs,
        "build_model_with_cfg",
        lambda _, name, *__, model_cfg, **___: stated.update({name: model_cfg}),
    )
    for name in timm.list_models(module="maxxvit"):
        timm.models.model_entrypoint(name)()
        assert timm.get_pretrained_cfg(name).input_size[-1] == maxxvit.IMAGE_SIZES.get(name, 224)
    assert stated.keys() == maxxvit.ARCHITECTURES.keys()
    for name, config in stated.items():
        arguments = vars(config).copy()
        for part in ("conv", "transformer"):
            nested = vars(arguments.pop(f"{part}_cfg"))
            arguments |= {f"{part}_{key}": value for key, value in nested.items()}
        assert {key: arguments.pop(key) for key in UNIFORM} == UNIFORM
        norms = arguments.pop("conv_norm_layer"), arguments.pop("conv_norm_layer_cl")
        mbconv = arguments["conv_block_type"] == "mbconv"
        assert norms == (("batchnorm2d", "") if mbconv else ("layernorm2d", "layernorm"))
        assert arguments.pop("transformer_norm_layer_cl") == "layernorm"
        assert maxxvit.ARCHITECTURES[name] == maxxvit.MaxxVit(**arguments), name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("strided_pools", {}),
        ("next", {}),
        ("tensorflow", {}),
        ("layer_scales", {"weight_init": ""}),
        ("layer_scales", {"weight_init": "trunc_normal"}),
        ("parallel", {"weight_init": "xavier_normal"}),
        ("grids_alone", {"weight_init": "normal"}),
    ],
)
def test_new_parameters_are_distributed_as_timms(kind, changes):
    torch.manual_seed(0)
    assert_new_parameters_are_distributed_as_timms(create(kind, **changes), shrunk_timm(kind, **changes))
