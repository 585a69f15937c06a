import dataclasses
import functools

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
    converted,
    our_answers,
    our_tree,
    random_images,
    randomise,
    torch_tree,
)

from convert.pickled import find_state
from sketch_jax.models import regnet
from sketch_jax.models.convolutional import BatchNorm, GroupNorm
from sketch_jax.models.regnet_plan import plan_stages

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
reference_module = pytest.importorskip("timm.models.regnet")

SHRUNK = {"w0": 16, "wa": 12.0, "wm": 1.7, "group_size": 8, "depth": 5, "stem_width": 16}
CLASSES = 7

create = functools.partial(build, regnet)


def shrunk_timm(name, **changes):
    return timm.create_model(name, num_classes=CLASSES, **{**SHRUNK, **changes})


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


def test_the_small_networks_have_four_stages_and_a_block_that_keeps_its_shape():
    stages = plan_stages(dataclasses.replace(regnet.ARCHITECTURES["regnety_002"], **SHRUNK), 0.0)
    assert sorted(map(len, stages)) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("name", "train"),
    [("regnety_002", False), ("regnety_002", True), ("regnetz_005", True), ("regnetv_064", True)],
)
def test_answers_and_gradients_match_timm(name, train):
    changes = {"num_features": 64} if name == "regnetz_005" else {}
    assert_parity(create(name, 61, **SHRUNK, **changes), shrunk_timm(name, **changes), train)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("regnetx_002", {}),
        ("regnetx_004_tv", {"w0": 24, "wa": 20.0, "wm": 1.6, "group_size": 16}),
        ("regnetv_040", {}),
        ("regnetz_040", {}),
        ("regnety_040_sgn", {"group_size": 16}),
        ("regnetx_002", {"downsample": "avg"}),
        ("regnetv_040", {"downsample": ""}),
    ],
)
def test_variants_match_timm_in_training(name, changes):
    changes = {**SHRUNK, **changes}
    assert_forward_parity(create(name, 61, **changes), shrunk_timm(name, **changes), True)


def test_pooled_features_and_a_network_without_classifier_match_timm():
    reference = randomise(shrunk_timm("regnetx_002")).eval()
    params, statistics = converted(reference)
    model = create("regnetx_002", classes=0, **SHRUNK)
    del params["head"]
    features, answers, _ = our_answers(model, params, statistics, random_images(45), False)
    expected = reference.forward_head(channels_first(features), pre_logits=True)
    np.testing.assert_allclose(model.pool(params, features), expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(answers, expected.detach().numpy(), atol=1e-5)
    assert our_tree(model) == torch_tree(timm.create_model("regnetx_002", num_classes=0, **SHRUNK))


@pytest.mark.parametrize("name", sampled(regnet.ARCHITECTURES, 18))
def test_every_architecture_has_the_tree_widths_and_rates_of_timms(name):
    reference = on_meta(name, drop_path_rate=0.2).eval()
    model = create(name, 96, classes=1000)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    features, _ = jax.eval_shape(
        lambda *trees: model.features(*trees, jnp.zeros((1, 96, 96, 3)), None, False), params, statistics
    )
    with torch.device("meta"):
        their_shape = reference.forward_features(torch.zeros(1, 3, 96, 96)).shape
    assert our_tree(model) == torch_tree(reference)
    assert features.shape == (1, *their_shape[2:], their_shape[1])
    assert model.feature_width == reference.head_hidden_size
    places = [place for stage in plan_stages(regnet.ARCHITECTURES[name], 0.2) for place in stage]
    blocks = [block for stage in "1234" for block in getattr(reference, f"s{stage}").children()]
    assert [place.drop_path for place in places] == pytest.approx(
        [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    )
    convs = [getattr(block.conv2, "conv", block.conv2) for block in blocks]
    assert [place.group_size for place in places] == [conv.weight.shape[1] for conv in convs]


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = {}

    def note(_network, name, _pretrained, model_cfg, pretrained_filter_fn, **arguments):
        stated[name] = {**dataclasses.asdict(model_cfg), **arguments}

    monkeypatch.setattr(reference_module, "build_model_with_cfg", note)
    for name in timm.list_models(module="regnet"):
        timm.models.model_entrypoint(name)()
    assert sorted(stated) == sorted(regnet.ARCHITECTURES)
    for name, arguments in stated.items():
        record = regnet.ARCHITECTURES[name]
        norm_layer = arguments.pop("norm_layer")
        assert dataclasses.replace(record, norm_layer=BatchNorm) == regnet.RegNet(**arguments), name
        if norm_layer == "batchnorm":
            assert record.norm_layer is BatchNorm, name
        else:
            assert (record.norm_layer.func, norm_layer.func) == (GroupNorm, timm.layers.GroupNormAct), name
            assert record.norm_layer.keywords == norm_layer.keywords, name


@pytest.mark.parametrize(
    ("name", "changes"),
    [("regnety_002", {}), ("regnetz_005", {"num_features": 64})],
)
def test_new_parameters_are_distributed_as_timms(name, changes):
    changes = {**SHRUNK, "group_size": 16, **changes}
    assert_new_parameters_are_distributed_as_timms(create(name, **changes), shrunk_timm(name, **changes))


def numbered(names, seed=0):
    """Tensors that can be told apart."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=(2, 3)).astype(np.float32) for name in names}


def conv_norm(conv, norm):
    return [
        f"{conv}.weight",
        *(f"{norm}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
    ]


def with_biases(*modules):
    return [f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")]


TORCHVISION = [
    *conv_norm("stem.0", "stem.1"),
    *(
        name
        for block in ("block1.block1-0", "block3.block3-11")
        for part in ("proj", "f.a", "f.b", "f.c")
        for name in conv_norm(f"trunk_output.{block}.{part}.0", f"trunk_output.{block}.{part}.1")
    ),
    *with_biases("trunk_output.block1.block1-0.f.se.fc1", "trunk_output.block1.block1-0.f.se.fc2", "fc"),
]
SEER_BLOCK = "_feature_blocks.res4.block3-0"
SEER_TRUNK = [
    *conv_norm("_feature_blocks.conv1.stem.0", "_feature_blocks.conv1.stem.1"),
    *conv_norm(f"{SEER_BLOCK}.proj", f"{SEER_BLOCK}.bn"),
    *conv_norm(f"{SEER_BLOCK}.f.a.0", f"{SEER_BLOCK}.f.a.1"),
    *conv_norm(f"{SEER_BLOCK}.f.b.0", f"{SEER_BLOCK}.f.b.1"),
    *conv_norm(f"{SEER_BLOCK}.f.c", f"{SEER_BLOCK}.f.final_bn"),
    *with_biases(f"{SEER_BLOCK}.f.se.excitation.0", f"{SEER_BLOCK}.f.se.excitation.2"),
]
SEER_HEADS = with_biases("0.clf.0", "0.projection_head.0", "0.prototypes0")


def assert_same_tensors(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


def test_checkpoints_of_torchvision_are_renamed_as_in_timm():
    tensors = numbered(TORCHVISION)
    filtered = create("regnety_002").filter_checkpoint(tensors)
    assert {"s3.b12.conv3.bn.running_var", "s1.b1.se.fc2.bias", "head.fc.weight"} <= filtered.keys()
    assert_same_tensors(filtered, reference_module._filter_fn(tensors))


def test_checkpoints_of_classy_vision_are_renamed_as_in_timm():
    trunk, heads = numbered(SEER_TRUNK), numbered(SEER_HEADS, 1)
    nested = {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads}}}}
    filtered = create("regnety_002").filter_checkpoint(find_state(nested))
    assert {"s3.b1.downsample.bn.bias", "s3.b1.se.fc1.bias", "head.fc.bias"} <= filtered.keys()
    assert_same_tensors(filtered, reference_module._filter_fn(nested))


def test_current_checkpoints_are_left_as_they_are():
    tensors = numbered(on_meta("regnety_002").state_dict())
    assert create("regnety_002").filter_checkpoint(tensors) is tensors
