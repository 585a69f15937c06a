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
    channels_last,
    converted,
    our_answers,
    our_tree,
    random_images,
    randomise,
    torch_tree,
)

from sketch_jax.models import nfnet
from sketch_jax.models.nfnet_blocks import GAMMAS, plan_stages
from sketch_jax.models.weight_standardization import ScaledStdConv

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
reference_module = pytest.importorskip("timm.models.nfnet")
timm_layers = pytest.importorskip("timm.layers")

CLASSES = 7
SHRUNK = {"depths": (1, 2), "channels": (32, 48), "stem_chs": 32, "group_size": 8}
CHANGES = {
    **{name: {"num_features": 96} for name in ("nfnet_l0", "eca_nfnet_l0", "nfnet_f0", "dm_nfnet_f0")},
    "nf_regnet_b0": {"num_features": 96, "stem_chs": None},
    "nf_resnet26": {"group_size": None},
    "nf_seresnet26": {"channels": (64, 64), "group_size": None},
    "nf_ecaresnet26": {"stem_type": "deep_tiered"},
}

create = functools.partial(build, nfnet)


def shrunk(name, **changes):
    return {**SHRUNK, **CHANGES[name], **changes}


def shrunk_timm(name, **changes):
    return timm.create_model(name, num_classes=CLASSES, **shrunk(name, **changes))


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize("name", ["nfnet_l0", "dm_nfnet_f0", "nf_regnet_b0"])
def test_answers_and_gradients_match_timm(name):
    assert_parity(create(name, 61, **shrunk(name)), shrunk_timm(name), False)


@pytest.mark.parametrize("name", ["eca_nfnet_l0", "nf_resnet26", "nf_seresnet26", "nf_ecaresnet26"])
def test_variants_match_timm_in_training(name):
    assert_forward_parity(create(name, 61, **shrunk(name)), shrunk_timm(name), True)


@pytest.mark.parametrize("stem_type", ["deep", "3x3_pool"])
def test_other_stems_match_timm(stem_type):
    changes = {"stem_type": stem_type}
    model = create("nfnet_l0", 45, **shrunk("nfnet_l0", **changes))
    assert_forward_parity(model, shrunk_timm("nfnet_l0", **changes), False)


def test_a_group_size_that_widths_are_no_multiples_of_leads_to_timms_widths():
    changes = {"group_size": 3, "ch_div": 12, "bottle_ratio": 0.75}
    model = create("nfnet_l0", **shrunk("nfnet_l0", **changes))
    assert our_tree(model) == torch_tree(on_meta("nfnet_l0", num_classes=7, **shrunk("nfnet_l0", **changes)))


@pytest.mark.parametrize("pad_type", ["", "same"])
@pytest.mark.parametrize(("kernel_size", "stride", "groups"), [(1, 1, 1), (3, 2, 2), (7, 2, 1)])
def test_scaled_standardised_convolutions_match_timm(pad_type, kernel_size, stride, groups):
    kind = timm_layers.ScaledStdConv2dSame if pad_type else timm_layers.ScaledStdConv2d
    settings = {"stride": stride, "groups": groups, "gamma": 1.7, "eps": 1e-2}
    reference = randomise(kind(4, 6, kernel_size, **settings))
    ours = ScaledStdConv(6, kernel_size, stride, pad_type, groups, 1.7, 1e-2)
    images = np.random.default_rng(0).normal(size=(2, 8, 9, 4)).astype(np.float32)
    params, _ = converted(reference)
    expected = channels_last(reference(channels_first(images)))
    outputs = ours.apply({"params": params}, jnp.asarray(images))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_factors_of_activations_are_timms():
    assert {name: reference_module._nonlin_gamma[name] for name in GAMMAS} == GAMMAS


def test_pooled_features_and_a_network_without_classifier_match_timm():
    reference = randomise(shrunk_timm("nfnet_l0")).eval()
    params, statistics = converted(reference)
    model = create("nfnet_l0", classes=0, **shrunk("nfnet_l0"))
    del params["head"]
    features, answers, _ = our_answers(model, params, statistics, random_images(45), False)
    expected = reference.forward_head(channels_first(features), pre_logits=True).detach().numpy()
    np.testing.assert_allclose(model.pool(params, features), expected, atol=1e-5)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert our_tree(model) == torch_tree(on_meta("nfnet_l0", num_classes=0, **shrunk("nfnet_l0")))


@pytest.mark.parametrize("name", sampled(nfnet.ARCHITECTURES, 17))
def test_every_architecture_has_the_tree_widths_and_rates_of_timms(name):
    reference = on_meta(name, drop_path_rate=0.2).eval()
    model = create(name, 97, classes=1000)
    params, statistics = jax.eval_shape(model.init, jax.random.key(0))
    features, _ = jax.eval_shape(
        lambda *trees: model.features(*trees, jnp.zeros((1, 97, 97, 3)), None, False), params, statistics
    )
    with torch.device("meta"):
        their_shape = reference.forward_features(torch.zeros(1, 3, 97, 97)).shape
    assert statistics == {}
    assert our_tree(model) == torch_tree(reference)
    assert features.shape == (1, *their_shape[2:], their_shape[1])
    assert model.feature_width == reference.head_hidden_size
    places = [place for stage in plan_stages(nfnet.ARCHITECTURES[name], 0.2) for place in stage]
    blocks = [block for stage in reference.stages for block in stage]
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert [place.drop_path for place in places] == pytest.approx(rates)
    assert [place.beta for place in places] == pytest.approx([block.beta for block in blocks])
    assert [place.groups for place in places] == [block.conv2.groups for block in blocks]


def test_every_record_says_what_timms_entry_point_does(monkeypatch):
    stated = {}

    def note(_network, name, _pretrained, model_cfg, feature_cfg, **arguments):
        stated[name] = {**dataclasses.asdict(model_cfg), **arguments}

    monkeypatch.setattr(reference_module, "build_model_with_cfg", note)
    for name in timm.list_models(module="nfnet"):
        timm.models.model_entrypoint(name)()
    assert sorted(stated) == sorted(nfnet.ARCHITECTURES)
    for name, arguments in stated.items():
        attention = arguments.pop("attn_kwargs") or {}
        assert attention.pop("rd_divisor", 8) == 8
        assert nfnet.ARCHITECTURES[name] == nfnet.NfNet(**arguments, **attention), name


@pytest.mark.parametrize(
    ("name", "changes"), [("nfnet_l0", {"bottle_ratio": 0.5}), ("dm_nfnet_f0", {"zero_init_fc": True})]
)
def test_new_parameters_are_distributed_as_timms(name, changes):
    torch.manual_seed(0)
    model, reference = create(name, **shrunk(name, **changes)), shrunk_timm(name, **changes)
    assert_new_parameters_are_distributed_as_timms(model, reference)


def test_checkpoints_are_left_as_they_are():
    tensors = {"stem.conv1.gain": np.ones((4, 1, 1, 1), np.float32)}
    assert create("nfnet_l0").filter_checkpoint(tensors) is tensors
