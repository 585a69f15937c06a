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

from sketch_jax.errors import InputError
from sketch_jax.models import vgg
from sketch_jax.models.convolutional import BatchNorm

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
reference_module = pytest.importorskip("timm.models.vgg")

CLASSES = 7
SHRUNK = {"cfg": (8, "M", 12, 16, "M"), "mlp_ratio": 1 / 128}
NORMS = {"vgg11": None, "vgg11_bn": torch.nn.BatchNorm2d}

create = functools.partial(build, vgg)


def shrunk_timm(name, **changes):
    arguments = {"num_classes": CLASSES, "norm_layer": NORMS[name], **SHRUNK, **changes}
    return reference_module.VGG(**arguments)


@pytest.mark.parametrize(("name", "train"), [("vgg11", False), ("vgg11_bn", False), ("vgg11_bn", True)])
def test_answers_and_gradients_match_timm(name, train):
    assert_parity(create(name, 29, **SHRUNK), shrunk_timm(name), train)


@pytest.mark.parametrize("image_size", [4, 19, 37])
def test_maps_smaller_and_larger_than_the_kernel_of_the_head_match_timm(image_size):
    assert_forward_parity(create("vgg11", image_size, **SHRUNK), shrunk_timm("vgg11"), False)


def test_pooled_features_and_a_network_without_classifier_match_timm():
    reference = randomise(shrunk_timm("vgg11")).eval()
    params, statistics = converted(reference)
    model = create("vgg11", classes=0, **SHRUNK)
    del params["head"]
    features, answers, _ = our_answers(model, params, statistics, random_images(45), False)
    expected = reference.forward_head(channels_first(features), pre_logits=True).detach().numpy()
    np.testing.assert_allclose(model.pool(params, features), expected, atol=1e-5)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert our_tree(model) == torch_tree(shrunk_timm("vgg11", num_classes=0))


@pytest.mark.parametrize("name", sampled(vgg.ARCHITECTURES, 4))
def test_every_architecture_has_the_tree_and_widths_of_timms(name):
    with torch.device("meta"):
        reference = timm.create_model(name).eval()
        their_shape = reference.forward_features(torch.zeros(1, 3, 97, 97)).shape
    model = create(name, 97, classes=1000)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    features, _ = jax.eval_shape(
        lambda *trees: model.features(*trees, jnp.zeros((1, 97, 97, 3)), None, False), params, statistics
    )
    assert our_tree(model) == torch_tree(reference)
    assert features.shape == (1, *their_shape[2:], their_shape[1])
    assert model.feature_width == reference.head_hidden_size


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = {}

    def note(_network, name, _pretrained, feature_cfg, pretrained_filter_fn, **arguments):
        stated[name] = arguments

    monkeypatch.setattr(reference_module, "build_model_with_cfg", note)
    for name in timm.list_models(module="vgg"):
        timm.models.model_entrypoint(name)()
    assert sorted(stated) == sorted(vgg.ARCHITECTURES)
    norms = {None: None, torch.nn.BatchNorm2d: BatchNorm}
    for name, arguments in stated.items():
        cfg, norm_layer = tuple(arguments.pop("model_cfg")), norms[arguments.pop("norm_layer", None)]
        assert vgg.ARCHITECTURES[name] == vgg.Vgg(cfg=cfg, norm_layer=norm_layer, **arguments), name


def test_new_parameters_are_distributed_as_timms():
    model = create("vgg11_bn", **SHRUNK)
    assert_new_parameters_are_distributed_as_timms(model, shrunk_timm("vgg11_bn"))


def test_checkpoints_of_torchvision_are_renamed_and_reshaped_as_in_timm():
    generator = np.random.default_rng(0)
    shapes = {
        "features.0.weight": (4, 3, 3, 3),
        "features.0.bias": (4,),
        "classifier.0.weight": (2, 512 * 49),
        "classifier.0.bias": (2,),
        "classifier.3.weight": (3, 4096),
        "classifier.3.bias": (3,),
        "classifier.6.weight": (5, 3),
        "classifier.6.bias": (5,),
    }
    tensors = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    ours, theirs = create("vgg11").filter_checkpoint(tensors), reference_module._filter_fn(tensors)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)
    assert create("vgg11").filter_checkpoint(ours) is ours


def test_images_of_which_nothing_is_left_are_refused():
    create("vgg11", 32)
    with pytest.raises(InputError, match="image size 31: vgg11 halves images 5 times; take at least 32"):
        create("vgg11", 31)
