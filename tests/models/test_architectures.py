"""From a name to a model: the table, names, arguments."""

import jax
import pytest
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import (
    FAMILIES,
    architecture_names,
    bare_name,
    create_model,
    default_image_size,
    is_built_for_a_size,
)
from sketch_jax.trees import flatten

TINY = {"embed_dim": 12, "depth": 1, "num_heads": 3}


def create(name="vit_tiny_patch16_224", **options):
    return create_model(name, **{"class_count": 3, "image_size": 32, "arguments": TINY, **options})


def shapes(model):
    return {
        path: leaf.shape for path, leaf in flatten(jax.eval_shape(model.init, jax.random.key(0))[0]).items()
    }


def test_the_table_has_every_architecture_of_every_family_once():
    families = [family.ARCHITECTURES for family in FAMILIES]
    assert architecture_names() == sorted(name for family in families for name in family)
    assert len(set(architecture_names())) == sum(map(len, families))


def test_the_architectures_that_timm_builds_for_one_image_size_are_known():
    timm = pytest.importorskip("timm")
    not_square = {name for name in architecture_names() if name.endswith("_sapiens2")}
    for name in sorted(set(architecture_names()) - not_square):
        assert is_built_for_a_size(name) == timm.models.get_pretrained_cfg(name).fixed_input_size, name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("vit_tiny_patch16_224", TINY), ("resnet18", {}), ("mobilenetv2_035", {"bn_eps": 1e-3})],
)
def test_each_family_is_built_by_name(name, arguments):
    model = create_model(name, arguments=arguments, class_count=3, image_size=32, dtype=jnp.bfloat16)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    images = jnp.zeros((2, 32, 32, 3))
    features, _ = jax.eval_shape(lambda p, s: model.features(p, s, images, None, False), params, statistics)
    logits = jax.eval_shape(lambda p, f: model.head(p, f, None, False), params, features)
    assert (model.name, model.image_size, model.class_count) == (name, 32, 3)
    assert (logits.shape, logits.dtype) == ((2, 3), jnp.float32)
    assert model.adapt({}) == {}
    assert model.classifier in params


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.x"])
def test_tags_and_the_hubs_organisation_are_left_out(name):
    assert bare_name(name) == create(name).name == "vit_tiny_patch16_224"


def test_every_default_image_size_is_timms():
    timm = pytest.importorskip("timm")
    for name in architecture_names():
        if name in timm.list_models(include_tags=False):
            size = default_image_size(name)
            assert timm.get_pretrained_cfg(name).input_size[-1] == size, name
    for family in FAMILIES:
        assert family.IMAGE_SIZES.keys() <= family.ARCHITECTURES.keys()


def test_an_unknown_architecture_is_refused_with_the_nearest_names():
    with pytest.raises(InputError) as refusal:
        create("vit_tinny_patch16_224.augreg")
    assert str(refusal.value).startswith(
        "model 'vit_tinny_patch16_224': no such architecture; did you mean 'vit_tiny_patch16_224' or "
    )
    assert str(refusal.value).endswith("; `python -m convert list` prints all of them")
    with pytest.raises(InputError, match="model 'vit_tinny': no such architecture"):
        default_image_size("vit_tinny")


def test_arguments_of_the_weights_are_applied():
    changed = shapes(create(arguments={**TINY, "reg_tokens": 2, "norm_layer": "rmsnorm", "init_values": 1}))
    assert changed["reg_token"] == (1, 2, 12)
    assert "blocks_0/norm1/bias" not in changed
    assert "blocks_0/ls1/gamma" in changed


def test_what_the_run_decides_is_not_taken_from_the_weights():
    stated = {"num_classes": 9, "img_size": [64, 64], "drop_rate": 0.5, "drop_path_rate": 0.5, "in_chans": 3}
    assert shapes(create(arguments={**TINY, **stated, "dynamic_img_size": True})) == shapes(create())


def test_an_argument_of_none_asks_for_timms_default_where_none_means_nothing():
    arguments = {**TINY, "norm_layer": None, "act_layer": None, "fc_norm": None}
    assert shapes(create(arguments=arguments)) == shapes(create())


def test_unknown_arguments_are_refused_all_at_once():
    with pytest.raises(InputError) as refusal:
        create("resnet18", arguments={"zero_init_lst": True, "foo": 1})
    lines = str(refusal.value).splitlines()
    assert lines[:3] == [
        "model arguments that resnet18 does not have here (2):",
        "  zero_init_lst=True; did you mean 'zero_init_last'?",
        "  foo=1",
    ]
    assert lines[3].startswith(
        "leave them out, or take weights of another architecture; it has block, layers, "
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": "3"}, r"model argument depth: '3' is not of type <class 'int'>"),
        (
            {"global_pool": "mean"},
            r"model argument global_pool: 'mean' is not of type typing.Literal\['', 'avg'",
        ),
        ({"in_chans": 1}, "model argument in_chans 1 of vit_tiny_patch16_224: images have 3 channels; leave"),
    ],
)
def test_arguments_of_another_type_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        create(arguments=arguments)
