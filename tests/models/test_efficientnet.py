import functools
import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from samples import sampled
from timm_parity import (
    assert_forward_parity,
    assert_parity,
    build,
    channels_first,
    channels_last,
    converted,
    our_tree,
    random_images,
    torch_tree,
)

from sketch_jax.models import efficientnet, efficientnet_stages
from sketch_jax.models.convolutional import GroupNorm
from sketch_jax.models.efficientnet_blocks import norm_activates
from sketch_jax.models.efficientnet_plan import plan_stages
from sketch_jax.models.efficientnet_rows import ds, ir, scale_depth

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
generators = pytest.importorskip("timm.models.efficientnet")

CLASSES = 7
WIDTH, DEPTH = 0.25, 0.3
TENSORFLOW = {"pad_type": "same", "bn_eps": 1e-3}


create = functools.partial(build, efficientnet)


def shrunk(name, rows, generator, features=320, **arguments):
    """The architecture narrower and shallower, from our table and from timm's builder."""
    model = create(name, block_args=scale_depth(rows, DEPTH), channel_multiplier=WIDTH, num_features=features)
    reference = generator(
        name, channel_multiplier=WIDTH, depth_multiplier=DEPTH, num_classes=CLASSES, **arguments
    )
    return model, reference


def shrunk_mobilenet(name):
    return shrunk(name, efficientnet_stages.MOBILENET_V2, generators._gen_mobilenet_v2, 1280)


def shrunk_efficientnet(name):
    return shrunk(name, efficientnet_stages.EFFICIENTNET, generators._gen_efficientnet, **TENSORFLOW)


def shrunk_pruned(name):
    """At full width, of which pruning leaves a part."""
    rows = scale_depth(efficientnet_stages.EFFICIENTNET, DEPTH)
    reference = generators._gen_efficientnet(
        name, depth_multiplier=DEPTH, pruned=True, num_classes=CLASSES, **TENSORFLOW
    )
    return create(name, block_args=rows), reference


def shrunk_context(name):
    """With attention that reads a weighted mean."""
    model = create(
        name,
        block_args=scale_depth(efficientnet_stages.V2_S, DEPTH),
        channel_multiplier=WIDTH,
        num_features=320,
    )
    reference = generators._gen_efficientnetv2_s(
        name, channel_multiplier=WIDTH, depth_multiplier=DEPTH, se_layer="gc", num_classes=CLASSES
    )
    return model, reference


def whole(name):
    return create(name), timm.create_model(name, num_classes=CLASSES)


FULL_SIZE = ["mobilenetv2_140", "tf_efficientnet_b0", "tf_efficientnetv2_b0", "efficientnet_es", "mixnet_s"]
NAMED = {
    "mobilenetv2_100": shrunk_mobilenet,
    "tf_efficientnet_b0": shrunk_efficientnet,
    "test_efficientnet": whole,
    "test_efficientnet_ln": whole,
    "test_efficientnet_evos": whole,
    "efficientnet_b1_pruned": shrunk_pruned,
    "gc_efficientnetv2_rw_t": shrunk_context,
}


@pytest.mark.parametrize(
    ("name", "train"), [("mobilenetv2_100", False), ("mobilenetv2_100", True), ("test_efficientnet", True)]
)
def test_answers_and_gradients_match_timm(name, train):
    assert_parity(*NAMED[name](name), train)


@pytest.mark.parametrize("name", ["test_efficientnet_ln", "test_efficientnet_evos"])
def test_other_norms_match_timm_in_training(name):
    assert_parity(*NAMED[name](name), True)


@pytest.mark.parametrize("name", ["efficientnet_b1_pruned", "gc_efficientnetv2_rw_t"])
def test_pruned_widths_and_weighted_means_match_timm(name):
    assert_forward_parity(*NAMED[name](name), False)


@pytest.mark.parametrize("train", [False, True])
def test_answers_match_timm_with_the_padding_of_tensorflow(train):
    assert_forward_parity(*NAMED["tf_efficientnet_b0"]("tf_efficientnet_b0"), train)


@pytest.mark.parametrize("image_size", [96, 97])
def test_real_weights_answer_as_in_timm(mobilenet_weights, image_size):
    config = json.loads((mobilenet_weights / "config.json").read_text())
    reference = timm.create_model(f"local-dir:{mobilenet_weights}", pretrained=True).eval()
    model = create(config["architecture"], image_size, **config["model_args"])
    params, statistics = converted(reference)
    images = random_images(image_size)
    answer = jax.jit(lambda *trees: model.features(*trees, jnp.asarray(images), None, False)[0])
    features = answer(params, statistics)
    with torch.no_grad():
        expected = channels_last(reference.forward_features(channels_first(images)))
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **WITH_WEIGHTS.get(name, {}), **changes)


WITH_WEIGHTS = {"fbnetc_100": {"bn_eps": 1e-3}}
"""Arguments that timm's functions give where they load weights."""


@pytest.mark.parametrize("name", FULL_SIZE)
def test_parameters_are_named_and_shaped_as_in_timm(name):
    assert our_tree(create(name, classes=1000)) == torch_tree(on_meta(name))


@pytest.mark.parametrize(
    "name", ["efficientnet_b1", "efficientnet_em", "efficientnet_x_b5", "mobilenetv1_125"]
)
def test_shortcuts_and_drop_path_are_those_of_timm(name):
    assert our_blocks(name) == timm_blocks(on_meta(name, drop_path_rate=0.2))


def our_blocks(name):
    architecture = efficientnet.ARCHITECTURES[name]
    places = [place for stage in plan_stages(architecture, 0.2) for place in stage]
    own = {"NoneType"} if norm_activates(architecture) else set()
    return [
        (
            place.has_skip,
            pytest.approx(place.drop_path),
            *(own or {ACTIVATIONS[place.row.act_layer or architecture.act_layer]}),
        )
        for place in places
    ]


ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "swish": "SiLU", "silu": "SiLU"}


def timm_blocks(reference):
    return [
        (
            block.has_skip,
            getattr(block.drop_path, "drop_prob", 0.0),
            type(getattr(block.bn1, "act", None)).__name__,
        )
        for stage in reference.blocks
        for block in stage
    ]


@pytest.mark.parametrize("name", sampled(efficientnet.ARCHITECTURES, 24))
def test_every_architecture_has_the_tree_widths_and_rates_of_timms(name):
    reference = on_meta(name, drop_path_rate=0.2).eval()
    model = create(name, 97, classes=1000)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    features, _ = jax.eval_shape(
        lambda *trees: model.features(*trees, jnp.zeros((1, 97, 97, 3)), None, False), params, statistics
    )
    with torch.device("meta"):
        their_shape = reference.forward_features(torch.zeros(1, 3, 97, 97)).shape
    assert our_tree(model) == torch_tree(reference)
    assert features.shape == (1, *their_shape[2:], their_shape[1])
    assert model.feature_width == reference.head_hidden_size
    assert our_blocks(name) == timm_blocks(reference)
    assert norms_of(name) == {
        (norm.eps, norm.momentum) for norm in reference.modules() if isinstance(norm, torch.nn.BatchNorm2d)
    }


def norms_of(name):
    architecture = efficientnet.ARCHITECTURES[name]
    return set() if architecture.norm_layer else {(architecture.bn_eps, architecture.bn_momentum)}


TINY = {
    "block_args": (
        (ds(repeats=1, kernel_size=3, stride=1, out_chs=8),),
        (ir(repeats=3, kernel_size=3, stride=2, exp_ratio=2, out_chs=8, se_ratio=0.25),),
    ),
    "num_features": 32,
    "stem_size": 8,
}
GROUP_NORMED = {**TINY, "norm_layer": functools.partial(GroupNorm, group_size=8)}
"""Without batch statistics, so that training differs from evaluation by randomness alone."""


def tiny(**changes):
    return create("test_efficientnet", **{**TINY, **changes})


def group_normed(**rates):
    return create("test_efficientnet", **GROUP_NORMED, **rates)


@pytest.fixture(scope="module")
def trees():
    """Parameters and statistics that fit all of these."""
    return jax.jit(tiny().init)(jax.random.key(3))


IMAGES = random_images(45)


def logits_of(model, trees, train):
    """A function from the number of a key to the logits of random images."""
    params, statistics = trees

    @jax.jit
    def logits(key):
        features, _ = model.features(params, statistics, jnp.asarray(IMAGES), key, train)
        return model.head(params, features, key, train)

    return lambda seed=0: np.asarray(logits(jax.random.key(seed)))


def test_training_without_randomness_equals_evaluation(trees):
    expected = logits_of(group_normed(dropout=0.5, drop_path=0.5), trees, False)()
    np.testing.assert_allclose(logits_of(group_normed(), trees, True)(), expected, rtol=1e-5, atol=1e-6)
