"""CoAtNets and MaxViTs beside timm's, on shrunken ones of each kind, and what is theirs alone."""

import operator

import jax
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
    converted,
    our_tree,
    random_images,
    randomise,
    torch_tree,
)

from sketch_jax.errors import InputError
from sketch_jax.models import maxxvit, relative_position_kinds
from sketch_jax.models.architectures import create_model
from sketch_jax.models.maxxvit_convolutions import POOLS
from sketch_jax.models.maxxvit_plan import plan_stages
from sketch_jax.models.maxxvit_starts import conv_start, transformer_start
from sketch_jax.trees import map_with_path

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


WITH_GRADIENTS = ["grids_alone", "tensorflow"]


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


@pytest.mark.parametrize("name", sampled(maxxvit.ARCHITECTURES, 30))
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
    [("strided_pools", {}), ("next", {}), ("layer_scales", {"weight_init": ""})],
)
def test_new_parameters_are_distributed_as_timms(kind, changes):
    torch.manual_seed(0)
    assert_new_parameters_are_distributed_as_timms(create(kind, **changes), shrunk_timm(kind, **changes))


@pytest.mark.parametrize("scheme", ["normal", "trunc_normal", "xavier_normal", "vit_eff"])
@pytest.mark.parametrize("perceptron", [True, False])
def test_maps_of_every_scheme_start_as_timms(scheme, perceptron):
    torch.manual_seed(0)
    reference = torch.nn.Conv2d(96, 96, 1)
    theirs._init_transformer(reference, "mlp.fc1" if perceptron else "qkv", scheme)
    assert_starts_alike(transformer_start(scheme, perceptron), reference)
    grouped = torch.nn.Conv2d(64, 192, 3, groups=4)
    theirs._init_conv(grouped, "", scheme)
    assert_starts_alike(conv_start(scheme, 4), grouped)


def assert_starts_alike(start, reference):
    weight, bias = (tensor.detach().numpy() for tensor in (reference.weight, reference.bias))
    kernel = start.kernel(jax.random.key(0), (*weight.shape[2:], *weight.shape[1::-1]), jnp.float32)
    np.testing.assert_allclose(kernel.std(), weight.std(), rtol=0.03)
    np.testing.assert_allclose(np.abs(kernel).max(), np.abs(weight).max(), rtol=0.3)
    ours = start.bias_of(1)(jax.random.key(0), bias.shape, jnp.float32)
    np.testing.assert_allclose(ours.std(), bias.std(), rtol=0.3)


@pytest.mark.parametrize("kind", ["mixed", "windows", "parallel", "tensorflow"])
@pytest.mark.parametrize("linear", [True, False])
def test_checkpoints_of_another_layout_are_read_as_timm_reads_them(kind, linear):
    reference = shrunk_timm(kind)
    state = {
        name: in_other_layout(tensor, linear) if name.endswith(DENSE) else tensor
        for name, tensor in reference.state_dict().items()
    }
    expected = theirs.checkpoint_filter_fn(state, reference)
    ours = create(kind).filter_checkpoint({name: tensor.numpy() for name, tensor in state.items()})
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(ours[name], tensor.numpy(), strict=True, err_msg=name)


DENSE = ("qkv.weight", "proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")


def in_other_layout(tensor, linear):
    """A map as a matrix, or as a kernel of a 1×1 convolution."""
    return tensor.reshape(tensor.shape[:2]) if linear else tensor.reshape(*tensor.shape[:2], 1, 1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation uses torch in outdated ways
@pytest.mark.parametrize("kind", ["strided_pools", "windows", "parallel", "tensorflow", "layer_scales"])
def test_weights_of_another_image_size_answer_as_in_timm(kind):
    small, large = randomise(shrunk_timm(kind)), shrunk_timm(kind, 64).eval()
    large.load_state_dict(theirs.checkpoint_filter_fn(small.state_dict(), large))
    model = create(kind, 64)
    params, statistics = converted(small)
    params = jax.tree.map(jnp.asarray, model.adapt(params))
    images = jnp.asarray(random_images(64, batch=2))
    expected = channels_last(large.forward_features(channels_first(images)))
    ours = jax.jit(lambda params: model.features(params, statistics, images, None, False)[0])(params)
    assert 0.05 < np.abs(expected).mean() < 5
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_weights_of_the_same_image_size_stay_as_they_are():
    model = create("tensorflow")
    shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    assert all(map(operator.is_, jax.tree.leaves(model.adapt(params)), jax.tree.leaves(params)))


RATES = {"transformer_attn_drop": 0.2, "transformer_proj_drop": 0.2}
IMAGES = jnp.asarray(random_images(SIZE, batch=2))


def values_of(model):
    """Parameters and statistics of order 1, none made by the model."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        noise = random.normal(size=leaf.shape)
        scaled = noise * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
        return jnp.asarray(scaled if path.endswith("kernel") else 1 + 0.2 * noise, jnp.float32)

    trees = jax.eval_shape(model.init, jax.random.key(0))
    return tuple(map_with_path(draw, tree) for tree in trees)


def logits_of(model, train, seeds=(0,)):
    """Logits under several keys, by one compiled function."""
    params, statistics = values_of(model)

    @jax.jit
    def forward(key):
        features, _ = model.features(params, statistics, IMAGES, key, train)
        return model.head(params, features, jax.random.fold_in(key, 1), train)

    return [np.asarray(forward(jax.random.key(seed))) for seed in seeds]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("layer_scales", {}),
        ("next", {"drop_path": 0.5}),
        ("grids_alone", {"dropout": 0.5, "transformer_rel_pos_type": "bias"}),
        ("windows", RATES),
    ],
)
def test_training_is_random_by_its_key_alone(kind, changes):
    first, again, other = logits_of(create(kind, **changes), True, (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_evaluation_is_training_without_rates_and_batch_norms():
    plain = {"transformer_rel_pos_type": "bias"}
    rates = {**RATES, "drop_path": 0.3, "dropout": 0.3}
    evaluated = logits_of(create("grids_alone", **plain, **rates), False)
    np.testing.assert_allclose(evaluated, logits_of(create("grids_alone", **plain), True), atol=1e-5)


@pytest.mark.parametrize("kind", ["windows", "paper"])
def test_without_classes_the_answer_is_the_pooled_features(kind):
    model = create(kind, classes=0)
    params, _ = values_of(model)
    assert "fc" not in params.get("head", {})
    features = jnp.ones((2, 4, 4, CASES[kind][1]["embed_dim"][-1]))
    np.testing.assert_array_equal(model.head(params, features, None, False), model.pool(params, features))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("maxvit_tiny_rw_224", 240, "240 is not a multiple of 32, by which .* reduces .*; take 224 or 256$"),
        ("coatnet_0_rw_224", 7, "image size 7 is not a multiple of 32, .*; take 32$"),
    ],
)
def test_an_image_size_that_blocks_cannot_halve_is_refused(name, size, message):
    with pytest.raises(InputError, match=message):
        build(maxxvit, name, size)


def test_an_image_size_that_windows_do_not_fill_is_refused():
    with pytest.raises(InputError) as refusal:
        build(maxxvit, "maxvit_tiny_tf_224", 256, transformer_window_size=(7, 7))
    assert str(refusal.value) == (
        "image size 256: windows or grids of (7, 7) cells do not fill a map of (64, 64) in "
        "maxvit_tiny_tf_224; take another size, or another transformer_window_size"
    )
    build(maxxvit, "maxvit_tiny_tf_224", 448, transformer_window_size=(7, 7))


def test_arguments_that_do_not_fit_together_are_all_listed():
    changes = {"transformer_dim_head": 10, "conv_padding": "same", "conv_pool_type": "max", **HIDDEN}
    with pytest.raises(InputError) as refusal:
        create("batch_norms", **changes, global_pool="catavgmax")
    assert str(refusal.value) == (
        "model arguments do not fit coatnet_bn_0_rw_224 (4):\n"
        "  attention over [16, 24] channels has no heads of transformer_dim_head 10\n"
        "  head_hidden_size goes with transformer_norm_layer 'layernorm2d' alone\n"
        "  head_hidden_size does not go with global_pool 'catavgmax'\n"
        "  conv_padding 'same' goes with pools 'avg2' and 'max2' alone\n"
        "change them, or leave them out"
    )
    with pytest.raises(InputError, match="embed_dim, depths and block_type differ in their number of stages"):
        create("windows", depths=(2, 2))
    with pytest.raises(InputError, match=r"blocks 'PM' have one partition, not windows of \(2, 4\) and"):
        create("parallel", transformer_window_size=(2, 4), transformer_grid_size=(4, 2))


def test_arguments_of_a_hub_config_reach_the_blocks():
    arguments = {
        "transformer_window_size": [4, 4],
        "depths": [1, 1, 1, 1],
        "block_type": ["C", ["M"], "T", "T"],
    }
    model = create_model("maxvit_tiny_rw_224", arguments=arguments, class_count=2, image_size=64)
    tables = {
        path.partition("/rel_pos")[0]: shape
        for path, shape in our_tree(model)[0].items()
        if path.endswith("relative_position_bias_table")
    }
    assert tables == {
        "stages_1/blocks_0/attn_block/attn": (49, 4),
        "stages_1/blocks_0/attn_grid/attn": (49, 4),
        "stages_2/blocks_0/attn": (49, 4),
        "stages_3/blocks_0/attn": (9, 8),
    }
