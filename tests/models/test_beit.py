"""BEiT beside timm's."""

import dataclasses

import jax
import numpy as np
import pytest
from golden_trees import timm_shapes
from jax import numpy as jnp
from samples import sampled
from test_vision_transformer_parity import CLASSES, assert_parity, tensors_of
from test_vision_transformer_table import entry_points, input_size, our_shapes
from transformer_cases import DEEPER, SIZE, SMALL

from sketch_jax.errors import InputError
from sketch_jax.models import beit
from sketch_jax.models.architectures import create_model
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")

BEIT = "beit_base_patch16_224"
SHARED = {
    **DEEPER,
    "use_abs_pos_emb": True,
    "use_shared_rel_pos_bias": True,
    "swiglu_mlp": True,
    "scale_mlp": True,
    "init_values": 0.0,
}

CASES = {
    "own_biases": (BEIT, DEEPER),
    "shared_biases_gates": (
        "beitv2_base_patch16_224",
        {**SHARED, "depth": 1, "use_rel_pos_bias": False, "global_pool": "token"},
    ),
    "all_biases_unpooled": (
        BEIT,
        {
            **SMALL,
            "use_shared_rel_pos_bias": True,
            "qkv_bias": False,
            "scale_mlp": True,
            "global_pool": "",
            "mlp_ratio": 2.5,
        },
    ),
}
"""Kind -> (timm's name, arguments)."""


def create(*, size=SIZE, classes=CLASSES, arguments=DEEPER, **options):
    return create_model(BEIT, arguments=arguments, class_count=classes, image_size=size, **options)


def reference(*, size=SIZE, classes=CLASSES, arguments=DEEPER, **options):
    torch.manual_seed(0)
    return timm.create_model(BEIT, num_classes=classes, img_size=size, **arguments, **options).eval()


def tensors(model):
    return tensors_of(model.state_dict().items())


@pytest.mark.parametrize(("name", "arguments"), CASES.values(), ids=CASES.keys())
def test_a_beit_answers_as_timms(name, arguments):
    assert_parity(name, arguments)


@pytest.mark.parametrize("arguments", [DEEPER, {**SHARED, "head_init_scale": 0.0}], ids=["own", "shared"])
def test_new_parameters_are_distributed_as_timms(arguments):
    expected = flatten(to_flax(tensors(reference(classes=50, arguments=arguments)))[0])
    ours = flatten(jax.jit(create(classes=50, arguments=arguments).init)(jax.random.key(0))[0])
    assert ours.keys() == expected.keys()
    for path, values in expected.items():
        tolerance = 6 * values.std() / values.size**0.5 + 1e-7
        assert abs(ours[path].mean() - values.mean()) <= tolerance, path
        assert abs(ours[path].std() - values.std()) <= tolerance, path


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = entry_points(monkeypatch, ["beit"])
    assert stated.keys() == beit.ARCHITECTURES.keys()
    for name, (_, arguments) in stated.items():
        expected = {**arguments, "mlp_ratio": float(arguments.get("mlp_ratio", 4))}
        record = dataclasses.replace(beit.Beit(img_size=input_size(name)), **expected)
        assert beit.ARCHITECTURES[name] == record, name


@pytest.mark.parametrize("name", sampled(beit.ARCHITECTURES, 5))
def test_every_architecture_at_full_size_has_timms_parameters(name):
    assert our_shapes(name) == timm_shapes(name)


def test_older_checkpoints_are_filtered_as_in_timm_and_current_ones_stay_as_they_are():
    theirs, model = reference(arguments=SHARED), create(arguments=SHARED)
    current = tensors(theirs)
    indices = {
        f"{owner}.relative_position_index": np.zeros((2, 2)) for owner in ("blocks.0.attn", "rel_pos_bias")
    }
    copied = {key: torch.tensor(value) for key, value in {**indices, **current}.items()}
    expected = timm.models.beit.checkpoint_filter_fn(copied, theirs)
    filtered = model.filter_checkpoint({**indices, **current})
    assert filtered.keys() == expected.keys()
    assert all(filtered[key] is tensor for key, tensor in current.items())
    params, _ = to_flax(filtered)
    adapted = flatten(model.adapt(params))
    assert all(adapted[path] is leaf for path, leaf in flatten(params).items())


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation uses torch in outdated ways
def test_weights_of_another_image_and_patch_size_answer_as_in_timm():
    small = reference(arguments=SHARED)
    for key, tensor in small.state_dict().items():
        if key.endswith("table"):
            tensor.copy_(torch.randn(tensor.shape))
    overlay = {"state_dict": small.state_dict(), "num_classes": CLASSES}
    options = {"size": 42, "arguments": {**SHARED, "patch_size": 7}}
    theirs = reference(pretrained=True, pretrained_cfg_overlay=overlay, **options)
    model = create(**options)
    params = jax.tree.map(jnp.asarray, model.adapt(to_flax(tensors(small))[0]))
    images = np.random.default_rng(0).normal(size=(2, 42, 42, 3)).astype(np.float32)
    expected = theirs.forward_features(torch.tensor(images).permute(0, 3, 1, 2)).detach().numpy()
    actual = jax.jit(lambda params: model.features(params, {}, jnp.asarray(images), None, False)[0])(params)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_an_image_size_that_patches_do_not_fill_is_refused():
    with pytest.raises(
        InputError, match=f"image size 30 is not a multiple of 8, the patch size of {BEIT}; take 24 or 32"
    ):
        create(size=30)


def test_without_classes_the_answer_is_the_pooled_features():
    model = create(classes=0)
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    features = jnp.zeros((2, 17, 48))
    shape = jax.eval_shape(lambda params: model.head(params, features, None, False), params).shape
    assert "head" not in params
    assert shape == (2, model.feature_width) == (2, reference(classes=0).head_hidden_size)
