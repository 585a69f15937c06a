"""The MetaFormer family beside timm's."""

import dataclasses
import functools
import inspect
from unittest import mock

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
    converted,
    our_answers,
    our_tree,
    random_images,
    randomise,
    torch_tree,
)

from sketch_jax.errors import InputError
from sketch_jax.models import metaformer
from sketch_jax.models.architectures import create_model
from sketch_jax.models.metaformer_blocks import plan_stages

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
timm_metaformer = pytest.importorskip("timm.models.metaformer")

SHRUNK = {"depths": (1, 1, 1, 1), "dims": (32, 64, 64, 96)}
SIZE = 48
CLASSES = 7

create = functools.partial(build, metaformer)


def shrunk(name, size=SIZE, **changes):
    return create(name, size, **{**SHRUNK, **changes})


def stated_arguments(name):
    """What timm's entry point states."""
    stated = {}

    def note(_network, _name, _pretrained, pretrained_filter_fn, feature_cfg, **arguments):
        stated.update(arguments)

    with mock.patch.object(timm_metaformer, "build_model_with_cfg", note):
        timm.models.model_entrypoint(name)()
    return stated


def shrunk_timm(name, classes=CLASSES, **changes):
    arguments = {**stated_arguments(name), **SHRUNK, **changes}
    return timm_metaformer.MetaFormer(num_classes=classes, **arguments)


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize("name", ["poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_b36"])
def test_answers_and_gradients_match_timm(name):
    assert_parity(shrunk(name), shrunk_timm(name), False)


@pytest.mark.parametrize("size", [64, 77])
def test_other_image_sizes_match_timm(size):
    assert_forward_parity(shrunk("caformer_s18", size), shrunk_timm("caformer_s18"), False)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_scale_init_values": (None, 0.5, None, 0.5), "res_scale_init_values": 0.5},
        {"global_pool": "avgmax", "mlp_bias": True},
    ],
)
def test_arguments_match_timm(changes):
    assert_forward_parity(shrunk("caformer_s18", **changes), shrunk_timm("caformer_s18", **changes), True)


def drop_paths(name):
    stages = plan_stages(metaformer.ARCHITECTURES[name], 0.2)
    return pytest.approx([place.drop_path for stage in stages for place in stage])


@pytest.mark.parametrize("name", sampled(metaformer.ARCHITECTURES, 10))
def test_every_architecture_has_the_tree_widths_and_rates_of_timms(name):
    reference = on_meta(name, drop_path_rate=0.2)
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
    assert model.classifier == reference.default_cfg["classifier"].replace(".", "/")
    blocks = [block for stage in reference.stages for block in stage.blocks]
    assert drop_paths(name) == [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]


def plainly(value):
    """An argument of timm's as our records have it."""
    if isinstance(value, list | tuple):
        return tuple(plainly(part) for part in value)
    return getattr(value, "__name__", value)


def test_every_record_says_what_timms_entry_point_does():
    assert sorted(timm.list_models(module="metaformer")) == sorted(metaformer.ARCHITECTURES)
    for name, record in metaformer.ARCHITECTURES.items():
        arguments = {key: plainly(value) for key, value in stated_arguments(name).items()}
        assert record == metaformer.MetaFormer(**arguments), name
        assert metaformer.IMAGE_SIZES.get(name, 224) == timm.get_pretrained_cfg(name).input_size[-1]


def test_records_have_timms_defaults():
    parameters = inspect.signature(timm_metaformer.MetaFormer.__init__).parameters
    for field in dataclasses.fields(metaformer.MetaFormer):
        assert plainly(parameters[field.name].default) == field.default, field.name


@pytest.mark.parametrize("name", ["poolformer_s12", "caformer_s18"])
def test_new_parameters_are_distributed_as_timms(name):
    assert_new_parameters_are_distributed_as_timms(shrunk(name), shrunk_timm(name))


OLD_NAMES = {
    "poolformer_s12": """patch_embed.proj.weight network.0.0.layer_scale_1 network.0.0.mlp.fc1.weight
        network.1.proj.weight network.2.0.norm1.weight network.3.proj.bias network.4.1.mlp.fc2.bias
        network.5.proj.weight network.6.0.layer_scale_2 norm.weight norm.bias head.weight head.bias""",
    "caformer_s18": """downsample_layers.0.conv.weight downsample_layers.0.post_norm.weight
        downsample_layers.2.pre_norm.weight downsample_layers.3.conv.bias
        stages.0.0.token_mixer.pwconv1.weight stages.1.0.token_mixer.dwconv.weight
        stages.1.0.token_mixer.act1.scale stages.1.0.mlp.fc1.weight stages.2.1.token_mixer.qkv.weight
        stages.2.0.mlp.fc2.weight stages.3.0.res_scale2.scale stages.0.0.mlp.act.bias
        norm.weight norm.bias head.fc1.weight head.norm.bias head.fc2.bias""",
}
"""Names in the papers' repositories: one of each kind."""


def old_checkpoint(name, shapes):
    """Random tensors by old names; maps that are 1×1 convolutions in timm are linear, as they were."""
    random = np.random.default_rng(0)
    tensors = {}
    for old in OLD_NAMES[name].split():
        shape = shapes[metaformer.rename(old)]
        linear = shape[2:] == (1, 1) and name == "caformer_s18"
        tensors[old] = torch.tensor(random.normal(size=shape[:2] if linear else shape))
    return tensors


@pytest.mark.parametrize("name", OLD_NAMES)
def test_older_checkpoints_get_timms_names_and_shapes(name):
    deeper = {"depths": (1, 1, 2, 1), "dims": (32, 64, 96, 128)}
    reference = shrunk_timm(name, **deeper)
    old = old_checkpoint(name, {key: tuple(tensor.shape) for key, tensor in reference.state_dict().items()})
    expected = timm_metaformer.checkpoint_filter_fn(old, reference)
    model = shrunk(name, **deeper)
    answer = model.filter_checkpoint({key: tensor.numpy() for key, tensor in old.items()})
    assert list(answer) == list(expected)
    for key, tensor in expected.items():
        np.testing.assert_array_equal(answer[key], tensor.numpy(), err_msg=key)
    assert model.filter_checkpoint(expected | {"stem.conv.weight": 0})["stem.conv.weight"] == 0


def test_a_current_checkpoint_is_left_as_it_is():
    current = shrunk_timm("caformer_s18").state_dict()
    assert shrunk("caformer_s18").filter_checkpoint(current) is current


@pytest.mark.parametrize("name", ["poolformer_s12", "convformer_s18"])
def test_without_classes_the_answer_is_the_pooled_features(name):
    reference = shrunk_timm(name, classes=0)
    model = shrunk(name, classes=0)
    params, statistics = converted(randomise(reference))
    images = random_images(SIZE)
    answer = our_answers(model, params, statistics, images, False)[1]
    with torch.no_grad():
        expected = reference.eval()(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    assert model.classifier == "head/fc"
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)


def test_a_width_that_attention_heads_do_not_fill_is_refused():
    with pytest.raises(InputError, match=r"dims of caformer_s18: 80 is not a multiple of 32, .*; take 96"):
        create_model(
            "caformer_s18", arguments={"dims": [32, 48, 80, 96]}, class_count=CLASSES, image_size=SIZE
        )
