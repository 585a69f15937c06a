"""The ConvNeXt family beside timm's: answers, gradients, trees, start values, checkpoints."""

import functools
import re

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
    our_tree,
    randomise,
    torch_tree,
)

from sketch_jax.errors import InputError
from sketch_jax.models import convnext
from sketch_jax.models.architectures import create_model
from sketch_jax.models.convnext_blocks import GlobalResponseNorm, plan_stages
from sketch_jax.models.convnext_table import ConvNeXt
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")

SHRUNK = {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 40), "kernel_sizes": 3}
CLASSES = 7
SIZE = 45

WITH_GRADIENTS = {
    "convnext_large_mlp": {"head_hidden_size": 12, "kernel_sizes": (7, 3, 3, 3)},
    "convnextv2_atto": {},
    "convnext_zepto_rms_ols": {},
}
"""Arguments that change what is named: all kinds of blocks."""
VARIANTS = {
    "test_convnext3": {"global_pool": "avgmax", "kernel_sizes": (5, 3, 3, 1)},
    "convnext_tiny_hnf": {"global_pool": "catavgmax", "act_layer": "gelu_tanh"},
    "convnext_atto_ols": {"norm_layer": "rmsnorm2d"},
    "convnext_nano_ols": {"conv_bias": False, "norm_layer": "simplenorm", "conv_mlp": False},
    "convnext_base": {"patch_size": 2, "norm_eps": 1e-2},
    "convnextv2_tiny": {"global_pool": "max"},
}
"""As WITH_GRADIENTS, of what differs from those in parts alone."""

create = functools.partial(build, convnext)


def shrunk(name, **changes):
    return create(name, SIZE, **{**SHRUNK, **changes})


def shrunk_timm(name, **changes):
    return timm.create_model(name, **{"num_classes": CLASSES, **SHRUNK, **changes})


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_answers_and_gradients_match_timm(name):
    changes = WITH_GRADIENTS[name]
    assert_parity(shrunk(name, **changes), shrunk_timm(name, **changes), False)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_match_timm(name):
    changes = VARIANTS[name]
    assert_forward_parity(shrunk(name, **changes), shrunk_timm(name, **changes), False)


@pytest.mark.parametrize("name", sampled(convnext.ARCHITECTURES, 16))
def test_every_architecture_has_the_tree_widths_and_rates_of_timms(name):
    reference = on_meta(name, drop_path_rate=0.2).eval()
    model = create(name, 96, classes=1000)
    assert our_tree(model) == torch_tree(reference)
    assert feature_shape(model) == timm_feature_shape(reference, 96)
    assert model.feature_width == reference.head_hidden_size
    rates = [rate for place in plan_stages(convnext.ARCHITECTURES[name], 0.2) for rate in place.drop_path]
    assert rates == pytest.approx(timm_drop_paths(reference))


def feature_shape(model):
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    images = jnp.zeros((1, model.image_size, model.image_size, 3))
    return jax.eval_shape(
        lambda *trees: model.features(*trees, images, None, False)[0], params, statistics
    ).shape


def timm_feature_shape(reference, size):
    with torch.device("meta"):
        shape = reference.forward_features(torch.zeros(1, 3, size, size)).shape
    return (1, *shape[2:], shape[1])


def timm_drop_paths(reference):
    return [
        getattr(block.drop_path, "drop_prob", 0.0) for stage in reference.stages for block in stage.blocks
    ]


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = {}

    def note(_network, name, _pretrained, *, pretrained_filter_fn, feature_cfg, **arguments):
        stated[name] = {
            key: tuple(value) if type(value) is list else value for key, value in arguments.items()
        }

    monkeypatch.setattr(timm.models.convnext, "build_model_with_cfg", note)
    for name in timm.list_models(module="convnext"):
        timm.models.model_entrypoint(name)()
    assert {name: ConvNeXt(**arguments) for name, arguments in stated.items()} == convnext.ARCHITECTURES


def test_arguments_of_the_weights_are_read_as_json_has_them():
    changes = {
        "depths": [1, 1, 1, 1],
        "dims": [16, 24, 32, 40],
        "kernel_sizes": [7, 5, 5, 3],
        "ls_init_value": 1,
        "norm_layer": "rmsnorm2d",
        "norm_eps": 1e-5,
        "head_hidden_size": 8,
        "head_init_scale": 1,
        "conv_mlp": True,
        "patch_size": 2,
    }
    model = create_model("convnext_tiny", arguments=changes, class_count=CLASSES, image_size=SIZE)
    assert our_tree(model) == torch_tree(on_meta("convnext_tiny", num_classes=CLASSES, **changes))


@pytest.mark.parametrize("conv_bias", [True, False])
def test_parameters_are_named_and_shaped_as_in_timm_with_and_without_biases(conv_bias):
    changes = {"conv_bias": conv_bias, "depths": (1, 2, 1, 1), "patch_size": 2}
    assert our_tree(shrunk("convnext_atto", **changes)) == torch_tree(shrunk_timm("convnext_atto", **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("convnext_large_mlp", {"head_hidden_size": 32, "head_init_scale": 0.1}),
        ("convnext_tiny_hnf", {"head_init_scale": 3.0, "norm_layer": "rmsnorm"}),
        ("convnextv2_atto", {"ls_init_value": 0.25}),
    ],
)
def test_new_parameters_are_distributed_as_timms(name, changes):
    torch.manual_seed(0)
    model = shrunk(name, classes=50, **changes)
    assert_new_parameters_are_distributed_as_timms(model, shrunk_timm(name, num_classes=50, **changes))


@pytest.mark.parametrize(("name", "least"), [("convnext_base", 32), ("convnext_nano_ols", 29)])
def test_image_sizes_down_to_the_least_work_as_in_timm(name, least):
    reference = on_meta(name, **SHRUNK)
    for size in (least, 47, 63, 100):
        assert feature_shape(create(name, size, **SHRUNK)) == timm_feature_shape(reference, size)
    with pytest.raises(RuntimeError):
        timm_feature_shape(reference, least - 1)
    message = rf"image size {least - 1}: {name} halves images five times, .* take {least} or more"
    with pytest.raises(InputError, match=message):
        create(name, least - 1, **SHRUNK)


def test_arguments_that_do_not_fit_together_are_refused_all_at_once():
    with pytest.raises(InputError) as refusal:
        create("convnext_tiny_hnf", depths=(1, 1), dims=(8, 8, 8), kernel_sizes=(3,), head_hidden_size=4)
    assert str(refusal.value) == (
        "model arguments do not fit convnext_tiny_hnf (4):\n"
        "  depths [1, 1]: must have 4 entries, one for each stage\n"
        "  dims [8, 8, 8]: must have 4 entries, one for each stage\n"
        "  kernel_sizes [3]: must have 4 entries, one for each stage\n"
        "  head_hidden_size 4: does not go with head_norm_first; one of them must be left out\n"
        "change them, or leave them out"
    )
    with pytest.raises(InputError, match="global_pool 'catavgmax': goes with head_norm_first alone"):
        create("convnext_tiny", global_pool="catavgmax")
    with pytest.raises(
        InputError, match=r"model argument act_layer: 'gelo' is none of .*; did you mean 'gelu'"
    ):
        our_tree(create("convnext_tiny", act_layer="gelo"))


def test_without_classes_the_answer_is_what_the_classifier_would_read():
    reference = randomise(shrunk_timm("convnext_tiny", num_classes=0)).eval()
    model = shrunk("convnext_tiny", classes=0)
    assert our_tree(model) == torch_tree(reference)
    params, _ = converted(reference)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 40)), jnp.float32)
    expected = reference.forward_head(torch.tensor(np.asarray(features)).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(model.head(params, features, None, False), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.pool(params, features), expected, rtol=0, atol=1e-5)


TO_THE_AUTHORS = (
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d+)\.downsample", r"downsample_layers.\1"),
    (r"\.blocks\.", "."),
    ("conv_dw", "dwconv"),
    (r"mlp\.fc", "pwconv"),
    (r"mlp\.grn\.weight", "grn.gamma"),
    (r"mlp\.grn\.bias", "grn.beta"),
    (r"head\.norm", "norm"),
    (r"head\.fc", "head"),
)
"""The other way round: from timm's names to those of the authors."""


def authors_checkpoint(state):
    """The state dict as the authors have it: linear maps, norms of responses with four axes."""
    checkpoint = {}
    for name, tensor in state.items():
        for pattern, replacement in TO_THE_AUTHORS:
            name = re.sub(pattern, replacement, name)
        tensor = tensor.reshape(tensor.shape[:2]) if "pwconv" in name and tensor.ndim == 4 else tensor
        checkpoint[name] = tensor.reshape(1, 1, 1, -1) if ".grn." in name else tensor
    return checkpoint


def dinov3_checkpoint(state):
    """As the authors', with what distillation leaves behind, without a classifier."""
    checkpoint = authors_checkpoint({name: state[name] for name in state if not name.startswith("head.fc")})
    of_stages = {f"norms.3.{leaf}": checkpoint[f"norm.{leaf}"] for leaf in ("weight", "bias")}
    return checkpoint | of_stages | {"projectors.clip.0.weight": torch.zeros(2, 2)}


def clip_checkpoint(state, *, projection):
    """As OpenCLIP has it: the tower, its projection or perceptron, and the rest of the model."""
    trunk = {name for name in state if not name.startswith(("head.fc", "head.pre_logits"))}
    checkpoint = {f"visual.trunk.{name}": state[name] for name in trunk} | {"logit_scale": torch.zeros(())}
    if projection:
        return checkpoint | {"visual.head.proj.weight": state["head.fc.weight"]}
    hidden = {
        f"visual.head.mlp.fc1.{leaf}": state[f"head.pre_logits.fc.{leaf}"] for leaf in ("weight", "bias")
    }
    return checkpoint | hidden | {"visual.head.mlp.fc2.weight": state["head.fc.weight"]}


LAYOUTS = {
    "authors": ("convnext_tiny", authors_checkpoint),
    "authors_to_convolutions": ("convnext_atto", authors_checkpoint),
    "authors_second_version": ("convnextv2_tiny", authors_checkpoint),
    "authors_second_version_to_convolutions": ("convnextv2_atto", authors_checkpoint),
    "dinov3": ("convnext_tiny", dinov3_checkpoint),
    "clip": ("convnext_base", functools.partial(clip_checkpoint, projection=True)),
    "clip_perceptron": ("convnext_large_mlp", functools.partial(clip_checkpoint, projection=False)),
    "clip_without_head": (
        "convnext_base",
        lambda state: {f"visual.trunk.{name}": state[name] for name in state},
    ),
    "current": ("convnext_atto", dict),
    "current_norm_first": ("convnext_tiny_hnf", dict),
    "current_without_head": (
        "convnextv2_atto",
        lambda state: {name: state[name] for name in state if not name.startswith("head.")},
    ),
}
"""Kind -> (timm's name, the checkpoint from timm's state dict)."""


@pytest.mark.parametrize(("name", "layout"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_checkpoints_of_every_layout_become_what_timm_makes_of_them(name, layout):
    changes = {"head_hidden_size": 12} if name == "convnext_large_mlp" else {}
    reference = randomise(shrunk_timm(name, **changes))
    checkpoint = layout(reference.state_dict())
    expected = timm.models.convnext.checkpoint_filter_fn(dict(checkpoint), reference)
    arrays = {key: tensor.numpy() for key, tensor in checkpoint.items()}
    ours = shrunk(name, **changes).filter_checkpoint(arrays)
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        np.testing.assert_array_equal(ours[key], tensor.numpy(), err_msg=key)
        assert ours[key].shape == tuple(tensor.shape), key


def test_current_checkpoints_are_returned_as_they_are():
    tensors = {"head.norm.weight": np.ones(3)}
    assert shrunk("convnext_tiny").filter_checkpoint(tensors) is tensors


def test_weights_of_a_masked_autoencoder_get_a_new_norm_in_the_head_as_in_timm():
    state = randomise(shrunk_timm("convnextv2_atto")).state_dict()
    state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    reference = timm.create_model(
        "convnextv2_atto.fcmae",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": state},
        num_classes=0,
        **SHRUNK,
    )
    expected, _ = converted(reference)
    model = shrunk("convnextv2_atto", classes=0)
    tensors = model.filter_checkpoint({name: tensor.numpy() for name, tensor in state.items()})
    params = model.adapt(to_flax(tensors)[0])
    assert flatten(params).keys() == flatten(expected).keys()
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert model.adapt(expected) is expected
    incomplete = to_flax({"stem.0.weight": np.ones((16, 3, 4, 4))})[0]
    assert shrunk("convnext_atto").adapt(incomplete) is incomplete


def test_a_channel_of_zeros_has_a_gradient_under_response_norms():
    inputs = jnp.ones((1, 2, 2, 3)).at[..., 1].set(0)
    params = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}

    def total(inputs):
        return (GlobalResponseNorm().apply({"params": params}, inputs) ** 2).sum()

    assert np.isfinite(jax.grad(total)(inputs)).all()
    assert np.isfinite(jax.grad(total)(jnp.zeros_like(inputs))).all()
