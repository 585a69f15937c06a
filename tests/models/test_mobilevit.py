"""The MobileViT family beside timm's."""

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

from sketch_jax.models import mobilevit
from sketch_jax.models.mobilevit_blocks import plan_stages, resize

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
timm_mobilevit = pytest.importorskip("timm.models.mobilevit")

SHRUNK = {
    "channels": (16, 24),
    "depths": (1, 1),
    "transformer_dims": (32,),
    "transformer_depths": (1,),
    "bottle_ratio": 2.0,
    "stem_chs": 16,
}
NARROW = {1: {**SHRUNK, "num_features": 40}, 2: {**SHRUNK, "transformer_dims": (16,)}}
NAMES = {1: "mobilevit_xs", 2: "mobilevitv2_050"}
EVEN, ODD = 48, 42
"""Image sizes at which patches fill the last map, and at which they do not."""
CLASSES = 7

create = functools.partial(build, mobilevit)


def shrunk(version, size=EVEN, **changes):
    return create(NAMES[version], size, **{**NARROW[version], **changes})


def timm_stages(record):
    """The blocks of a record as timm states them."""
    plain = len(record.depths) - len(record.transformer_dims)
    stages = []
    for stage, (channels, depth) in enumerate(zip(record.channels, record.depths, strict=True)):
        shape = {"d": depth, "c": channels, "s": 2 if stage else 1, "br": record.bottle_ratio}
        if stage < plain:
            stages.append(timm_mobilevit._inverted_residual_block(**shape))
            continue
        shape["transformer_depth"] = record.transformer_depths[stage - plain]
        shape["patch_size"] = record.patch_size
        if record.version == 1:
            width = record.transformer_dims[stage - plain]
            stages.append(timm_mobilevit._mobilevit_block(**shape, transformer_dim=width))
        else:
            stages.append(timm_mobilevit._mobilevitv2_block(**shape))
    return tuple(stages)


def shrunk_timm(version, classes=CLASSES, **changes):
    record = mobilevit.MobileVit(version=version, **NARROW[version])
    return timm.create_model(
        NAMES[version],
        num_classes=classes,
        blocks=timm_stages(record),
        stem_chs=record.stem_chs,
        num_features=record.num_features,
        **changes,
    )


def on_meta(name, **changes):
    with torch.device("meta"):
        return timm.create_model(name, **changes)


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(("size", "train"), [(EVEN, True), (ODD, False)])
def test_answers_and_gradients_match_timm(version, size, train):
    assert_parity(shrunk(version, size), shrunk_timm(version), train)


def test_deeper_transformers_and_larger_patches_match_timm():
    changes = {"transformer_depths": (2,), "patch_size": 4}
    blocks = timm_stages(mobilevit.MobileVit(version=1, **{**NARROW[1], **changes}))
    reference = timm.create_model(
        NAMES[1], num_classes=CLASSES, blocks=blocks, stem_chs=16, num_features=40, global_pool="catavgmax"
    )
    model = shrunk(1, ODD, **changes, global_pool="catavgmax")
    assert model.feature_width == reference.head_hidden_size
    assert_forward_parity(model, reference, True)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("sizes", [((5, 7), (6, 8)), ((6, 8), (5, 7)), ((1, 3), (4, 4))])
def test_maps_are_resized_as_in_torch(align_corners, sizes):
    old, new = sizes
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, *old, 3)), jnp.float32)
    expected = torch.nn.functional.interpolate(
        channels_first(inputs), size=new, mode="bilinear", align_corners=align_corners
    )
    answer = resize(inputs, *new, align_corners=align_corners)
    np.testing.assert_allclose(answer, channels_last(expected), rtol=0, atol=1e-5)


def drop_paths(name):
    stages = plan_stages(mobilevit.ARCHITECTURES[name], 0.2)
    return pytest.approx([place.drop_path for stage in stages for place in stage])


def timm_drop_paths(reference):
    rates = []
    for block in [block for stage in reference.stages for block in stage]:
        part = block.transformer[-1].drop_path1 if hasattr(block, "transformer") else block.drop_path
        rates.append(getattr(part, "drop_prob", 0.0))
    return rates


@pytest.mark.parametrize("name", sampled(mobilevit.ARCHITECTURES, 4))
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
    assert model.classifier == reference.default_cfg["classifier"].replace(".", "/")
    assert drop_paths(name) == timm_drop_paths(reference)


def test_every_record_says_what_timms_configuration_does():
    byobnet = pytest.importorskip("timm.models.byobnet")
    plain = {"stem_type": "3x3", "stem_pool": "", "downsample": "", "act_layer": "silu"}
    assert sorted(timm.list_models(module="mobilevit")) == sorted(mobilevit.ARCHITECTURES)
    for name, record in mobilevit.ARCHITECTURES.items():
        stated = {"stem_chs": record.stem_chs, "num_features": record.num_features}
        expected = byobnet.ByoModelCfg(blocks=timm_stages(record), **stated, **plain)
        assert timm_mobilevit.model_cfgs[name] == expected, name
        assert mobilevit.IMAGE_SIZES[name] == timm.get_pretrained_cfg(name).input_size[-1]


@pytest.mark.parametrize("version", NAMES)
def test_new_parameters_are_distributed_as_timms(version):
    assert_new_parameters_are_distributed_as_timms(shrunk(version), shrunk_timm(version))


@pytest.fixture(scope="module")
def trees():
    return converted(randomise(shrunk_timm(2)))


def test_without_classes_the_answer_is_the_pooled_features(trees):
    params, statistics = trees
    params = {name: part for name, part in params.items() if name != "head"}
    images = random_images(EVEN)
    features, answer, _ = our_answers(shrunk(2, classes=0), params, statistics, images, False)
    np.testing.assert_allclose(answer, np.asarray(features).mean((1, 2)), rtol=0, atol=1e-5)
