"""The table of vision transformers beside timm's: arguments of every name, parameter trees."""

import dataclasses
import functools
import json

import jax
import pytest
from golden_trees import CLASSES, GOLDEN, timm_shapes, unfold
from samples import sampled

from sketch_jax.models import vision_transformer
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


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    timm = pytest.importorskip("timm")
    modules = [timm.models.vision_transformer, timm.models.deit]
    stated = {}

    def note(network, name, _pretrained, **arguments):
        stated[name] = {"distilled": "Distilled" in network.__name__, **arguments}

    for module in modules:
        monkeypatch.setattr(module, "build_model_with_cfg", note)
    names = [name for module in ("vision_transformer", "deit") for name in timm.list_models(module=module)]
    for name in names:
        timm.models.model_entrypoint(name)()
    assert sorted(names) == sorted(ARCHITECTURES)
    of_the_builder = {"pretrained_filter_fn", "pretrained_strict", "feature_cfg", "dynamic_img_size"}
    for name, arguments in stated.items():
        size = timm.get_pretrained_cfg(name).input_size
        expected = {key: plainly(value) for key, value in arguments.items() if key not in of_the_builder}
        expected["mlp_ratio"] = float(expected.get("mlp_ratio", 4))
        record = dataclasses.replace(vision_transformer.VisionTransformer(img_size=size[-1]), **expected)
        assert ARCHITECTURES[name] == record, name


@pytest.mark.parametrize("name", sampled(ARCHITECTURES, 12))
def test_every_architecture_at_full_size_has_timms_parameters(name):
    pytest.importorskip("timm")
    assert our_shapes(name) == timm_shapes(name)
