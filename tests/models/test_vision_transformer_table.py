"""The table of vision transformers beside timm's: arguments of every name, parameter trees."""

import dataclasses
import functools
import json

import jax
import pytest
from golden_trees import CLASSES, GOLDEN, timm_shapes, unfold
from samples import sampled

from sketch_jax.models import eva, vision_transformer
from sketch_jax.models.architectures import create_model, default_image_size
from sketch_jax.models.layers import NORMS, Norm
from sketch_jax.models.vision_transformer_table import ARCHITECTURES
from sketch_jax.trees import flatten

GOLDEN_TREES = json.loads(GOLDEN.read_text())


def our_shapes(name, classes=CLASSES, **options):
    image_size = options.pop("image_size", default_image_size(name))
    model = create_model(name, class_count=classes, image_size=image_size, **options)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    assert statistics == {}
    return {path: leaf.shape for path, leaf in flatten(params).items()}


@pytest.mark.parametrize("name", GOLDEN_TREES)
def test_parameters_are_named_and_shaped_as_in_timm(name):
    assert our_shapes(name) == unfold(GOLDEN_TREES[name])


def plainly(value):
    """An argument of timm's as our records have it."""
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    if isinstance(value, functools.partial):
        kind = plainly(value.func)
        return (
            dataclasses.replace(kind, epsilon=value.keywords["eps"])
            if isinstance(kind, Norm)
            else "SwiGLUPacked"
        )
    kinds = {layers.LayerNorm: NORMS["layernorm"], layers.RmsNorm: NORMS["rmsnorm"], torch.nn.SiLU: "silu"}
    return kinds.get(value) or NORMS.get(value) or getattr(value, "__name__", value)


def entry_points(monkeypatch, modules):
    """What timm's entry points state: name -> (class, arguments)."""
    timm = pytest.importorskip("timm")
    stated = {}

    def note(network, name, _pretrained, **arguments):
        of_the_builder = {"pretrained_filter_fn", "pretrained_strict", "feature_cfg", "out_indices"}
        stated[name] = (
            network.__name__,
            {key: value for key, value in arguments.items() if key not in of_the_builder},
        )

    for module in modules:
        monkeypatch.setattr(getattr(timm.models, module), "build_model_with_cfg", note)
        for name in timm.list_models(module=module):
            timm.models.model_entrypoint(name)()
    return stated


def input_size(name):
    """Pixels of timm's images; the shorter side where they are no squares."""
    timm = pytest.importorskip("timm")
    return timm.get_pretrained_cfg(name).input_size[-1]


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = entry_points(monkeypatch, ["vision_transformer", "deit"])
    assert sorted(stated) == sorted(ARCHITECTURES)
    for name, (network, arguments) in stated.items():
        expected = {key: plainly(value) for key, value in arguments.items() if key != "dynamic_img_size"}
        expected["mlp_ratio"] = float(expected.get("mlp_ratio", 4))
        expected["distilled"] = "Distilled" in network
        record = dataclasses.replace(
            vision_transformer.VisionTransformer(img_size=input_size(name)), **expected
        )
        assert ARCHITECTURES[name] == record, name


def test_every_record_of_the_eva_family_says_what_timms_entry_point_does(monkeypatch):
    stated = entry_points(monkeypatch, ["eva"])
    assert sorted(stated) == sorted(eva.ARCHITECTURES)
    for name, (_, arguments) in stated.items():
        expected = {key: plainly(value) for key, value in arguments.items() if key != "dynamic_img_size"}
        expected["img_size"] = input_size(name)
        for key in ("mlp_ratio", "rope_temperature", "attn_pool_mlp_ratio"):
            if key in expected:
                expected[key] = float(expected[key])
        assert eva.ARCHITECTURES[name] == eva.Eva(**expected), name


@pytest.mark.parametrize("name", sampled([*ARCHITECTURES, *eva.ARCHITECTURES], 24))
def test_every_architecture_at_full_size_has_timms_parameters(name):
    pytest.importorskip("timm")
    assert our_shapes(name) == timm_shapes(name)
