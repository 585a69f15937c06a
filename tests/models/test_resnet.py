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
    our_tree,
    random_images,
    randomise,
    torch_tree,
)

from sketch_jax.errors import InputError
from sketch_jax.models import resnet
from sketch_jax.models.convolutional import GroupNorm
from sketch_jax.models.resnet_blocks import plan_stages
from sketch_jax.trees import flatten

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")

SHRUNK = {"layers": (1, 1, 1, 1), "channels": (32, 32, 64, 64)}
CLASSES = 7

VARIANTS = {
    "wide_resnet50_2": 45,
    "resnet50t": 45,
    "senet154": 45,
    "ecaresnetlight": 45,
    "resnetrs50": 45,
    "resnetblur50d": 45,
    "resnetaa50": 64,
    "resnet50_gn": 45,
}
"""Image sizes of what differs from the named ones in parts alone."""
FULL_SIZE = ["resnet18", "resnet26d", "resnext50_32x4d", "seresnet50t", "resnetrs50"]


create = functools.partial(build, resnet)


def shrunk_timm(name, **changes):
    return timm.create_model(name, num_classes=CLASSES, **SHRUNK, **changes)


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize(
    ("name", "train"), [("resnet18", False), ("resnet18", True), ("seresnext50_32x4d", True)]
)
def test_answers_and_gradients_match_timm(name, train):
    assert_parity(create(name, **SHRUNK), shrunk_timm(name), train)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_match_timm_in_training(name):
    assert_forward_parity(create(name, VARIANTS[name], **SHRUNK), shrunk_timm(name), True)


def test_a_pruned_architecture_matches_timm_in_training():
    name, layers = "ecaresnet50d_pruned", SHRUNK["layers"]
    reference = timm.create_model(name, num_classes=CLASSES, layers=layers)
    assert_forward_parity(create(name, layers=layers), reference, True)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_parameters_are_named_and_shaped_as_in_timm(name):
    assert our_tree(create(name, 64, classes=1000)) == torch_tree(on_meta(name))


@pytest.mark.parametrize("name", sampled(resnet.ARCHITECTURES, 24))
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
    assert drop_paths(name) == timm_drop_paths(reference)


def drop_paths(name):
    stages = plan_stages(resnet.ARCHITECTURES[name], 0.2)
    return pytest.approx([place.drop_path for stage in stages for place in stage])


def timm_drop_paths(reference):
    stages = [reference.layer1, reference.layer2, reference.layer3, reference.layer4]
    return [block.drop_path.drop_prob if block.drop_path else 0.0 for stage in stages for block in stage]


def test_drop_path_grows_with_depth_as_in_timm():
    assert drop_paths("resnet34") == timm_drop_paths(on_meta("resnet34", drop_path_rate=0.2))


@pytest.mark.parametrize(("name", "zero_init_last"), [("seresnet18", False), ("seresnet50t", True)])
def test_new_parameters_are_distributed_as_timms(name, zero_init_last):
    changes = {**SHRUNK, "zero_init_last": zero_init_last}
    reference = timm.create_model(name, num_classes=CLASSES, **changes)
    assert_new_parameters_are_distributed_as_timms(create(name, **changes), reference)


@pytest.mark.parametrize("global_pool", ["avg", "max", "avgmax", "catavgmax"])
def test_global_pools_match_timm(global_pool):
    reference = shrunk_timm("resnet18", global_pool=global_pool)
    model = create("resnet18", **SHRUNK, global_pool=global_pool)
    assert model.feature_width == reference.head_hidden_size
    assert our_tree(model) == torch_tree(reference)
    features = random_images(5)[..., :1] * np.linspace(-2, 2, 64, dtype=np.float32)
    pooled = reference.forward_head(channels_first(features), pre_logits=True)
    np.testing.assert_allclose(model.pool({}, jnp.asarray(features)), pooled.numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def trees():
    return converted(randomise(shrunk_timm("resnet18")))


IMAGES = random_images(45)


def logits_of(trees, train, **changes):
    """A function from the number of a key to the logits of random images."""
    params, statistics = trees
    model = create("resnet18", **{**SHRUNK, **changes})

    @jax.jit
    def logits(key):
        features, _ = model.features(params, statistics, jnp.asarray(IMAGES), key, train)
        return model.head(params, features, key, train)

    return lambda seed=0: np.asarray(logits(jax.random.key(seed)))


def test_training_without_randomness_equals_evaluation_where_there_are_no_batch_statistics(trees):
    expected = logits_of(trees, False, norm_layer=GroupNorm, dropout=0.5, drop_path=0.5)()
    answer = logits_of(trees, True, norm_layer=GroupNorm)()
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("image_size", [225, 224, 96])
def test_averaging_in_pairs_works_where_timms_does(image_size):
    model = create("resnetaa50", image_size)
    assert flatten(jax.eval_shape(model.init, jax.random.key(0))[0])


def test_an_image_size_that_averaging_in_pairs_cannot_halve_is_refused():
    with pytest.raises(
        InputError, match=r"image size 240: resnetaa50 averages cells in pairs .*; the nearest is 256"
    ):
        create("resnetaa50", 240)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            {"global_pool": "mean"},
            "model argument global_pool: 'mean' is none of 'avg', 'max', 'avgmax', 'catavgmax'",
        ),
        ({"act_layer": "rellu"}, "model argument act_layer: 'rellu' is none of .*; did you mean 'relu'"),
        ({"aa_layer": "median"}, "model argument aa_layer: 'median' is none of 'avg', 'blur', 'blurpc'"),
    ],
)
def test_a_model_argument_that_names_nothing_is_refused(argument, message):
    model = create("resnet18", **argument)
    with pytest.raises(InputError, match=message):
        jax.eval_shape(model.init, jax.random.key(0))
