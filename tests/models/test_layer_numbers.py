"""Numbers of layers and factors of the learning rate against timm's, by parameter name."""

import functools
import re

import jax
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.architectures import FAMILIES, create_model, default_image_size, family_name
from sketch_jax.models.layer_numbers import PATTERNS, layer_of, number_layers
from sketch_jax.models.learning_rates import create_rate_of
from sketch_jax.models.trained_parameters import is_in_head
from sketch_jax.models.tuning_options import Rate, Rates
from sketch_jax.trees import flatten
from sketch_jax.weights.names import timm_name

FIRST_OF_FAMILIES = {name for family in FAMILIES for name in list(family.ARCHITECTURES)[:1]}
SPECIAL = {
    *("deit_tiny_distilled_patch16_224", "vit_base_patch16_clip_224", "vit_small_patch16_dinov3"),
    *("eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384", "vit_small_patch16_rope_mixed_224"),
    *("convnext_tiny_hnf", "mobilenet_edgetpu_v2_xs", "vgg11_bn", "nf_regnet_b1", "mobilevitv2_050"),
    *("coatnet_0_rw_224", "maxvit_tiny_rw_224", "swinv2_tiny_window8_256", "regnetz_005", "resnetrs50"),
}
NAMES = sorted(
    name
    for family in FAMILIES
    for name in family.ARCHITECTURES
    if family.__name__.rpartition(".")[2] != "metaformer"
)


@functools.cache
def described(name):
    model = create_model(name, class_count=10, image_size=default_image_size(name))
    return model, tuple(flatten(jax.eval_shape(model.init, jax.random.key(0))[0]))


def cases():
    chosen = FIRST_OF_FAMILIES | SPECIAL
    return [pytest.param(name, marks=[] if name in chosen else pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", cases())
def test_layers_and_layer_decay_are_those_of_timm(name):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from timm.models import group_parameters
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=10)
    numbers = group_parameters(theirs, theirs.group_matcher(), reverse=True)
    model, paths = described(name)
    layers = number_layers(name, paths)
    assert {timm_name(path): layer_of(layers, path) for path in paths} == {
        key: numbers[key] for key, _ in theirs.named_parameters()
    }
    names = {id(parameter): key for key, parameter in theirs.named_parameters()}
    scales = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(theirs, layer_decay=0.75)
        for parameter in group["params"]
    }
    rate_of = create_rate_of(Rates(layer_decay=0.75), model, paths)
    assert layers.count > 4
    assert min(scales.values()) == 0.75 ** (layers.count - 1)
    assert {timm_name(path): rate_of(path) for path in paths} == scales


def test_every_family_has_its_patterns_and_the_head_is_the_last_layer_of_each():
    assert PATTERNS.keys() == {family.__name__.rpartition(".")[2] for family in FAMILIES}
    for name in sorted(FIRST_OF_FAMILIES):
        model, paths = described(name)
        layers = number_layers(name, paths)
        in_head = {layer_of(layers, path) for path in paths if is_in_head(model, path)}
        assert in_head == {layers.count - 1}, name


def test_metaformers_which_timm_does_not_number_have_a_layer_for_each_block():
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    with torch.device("meta"):
        assert not hasattr(timm.create_model("caformer_s18"), "group_matcher")
    _, paths = described("caformer_s18")
    layers = number_layers("caformer_s18", paths)
    assert layers.count == 1 + (3 + 3 + 9 + 3) + 1
    expected = {
        "stem/conv/kernel": 0,
        "stages_0/blocks_0/norm1/scale": 1,
        "stages_1/downsample/conv/kernel": 4,
        "stages_1/blocks_0/mlp/fc1/kernel": 4,
        "stages_3/blocks_2/token_mixer/qkv/kernel": 18,
        "head/norm/scale": 19,
        "head/fc/fc2/kernel": 19,
    }
    assert {path: layer_of(layers, path) for path in expected} == expected
    assert expected.keys() <= set(paths)


def test_a_factor_is_that_of_the_first_pattern_times_the_layer_decay():
    model, paths = described("vit_tiny_patch16_224")
    factors = (Rate(pattern="^head/", factor=10.0), Rate(pattern="bias$", factor=0.5))
    rate_of = create_rate_of(Rates(layer_decay=0.5, factors=factors), model, paths)
    assert rate_of("head/bias") == 10.0
    assert rate_of("blocks_11/attn/qkv/bias") == 0.25
    assert rate_of("blocks_10/attn/qkv/kernel") == 0.25
    assert rate_of("pos_embed") == 0.5**13


def test_a_pattern_that_fits_no_path_is_refused_with_paths_near_to_it():
    model, paths = described("vit_tiny_patch16_224")
    with pytest.raises(InputError, match=re.escape("--rates.factors 'haed'; did you mean 'head'")):
        create_rate_of(Rates(factors=(Rate(pattern="haed", factor=2.0),)), model, paths)


def test_blocks_that_run_as_a_loop_have_a_rate_each_where_they_differ():
    model, paths = described("vit_tiny_patch16_224")
    rate_of = create_rate_of(Rates(factors=(Rate(pattern="attn", factor=3.0),)), model, paths, stacked=True)
    assert rate_of("blocks/attn/qkv/kernel") == 3.0
    assert rate_of("blocks/mlp/fc1/kernel") == 1.0
    rate_of = create_rate_of(Rates(layer_decay=0.5), model, paths, stacked=True)
    assert rate_of("blocks/mlp/fc1/kernel") == tuple(0.5 ** (12 - block) for block in range(12))
    assert rate_of("head/bias") == 1.0


def test_factors_out_of_range_and_broken_patterns_are_refused_together():
    with pytest.raises(InputError) as refusal:
        Rates(layer_decay=0.0, factors=(Rate(pattern="(", factor=-1.0),))
    text = str(refusal.value)
    assert "--rates.layer-decay 0: must be above 0 and at most 1" in text
    assert "--rates.factors '(' -1: must be at least 0" in text
    assert "--rates.factors '(': missing )" in text


def test_the_family_of_an_architecture_is_the_module_that_builds_it():
    assert family_name("timm/eva02_large_patch14_448.mim_m38m_ft_in22k_in1k") == "eva"
