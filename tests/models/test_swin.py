"""Both generations of Swin transformers beside timm's."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from golden_trees import timm_shapes
from jax import numpy as jnp
from samples import sampled
from test_vision_transformer_parity import CLASSES, assert_parity, tensors_of
from test_vision_transformer_table import entry_points, input_size, our_shapes

from sketch_jax.errors import InputError
from sketch_jax.models import swin_transformer, swin_transformer_v2
from sketch_jax.models.architectures import create_model
from sketch_jax.models.shifted_windows import mix_in_windows
from sketch_jax.models.swin_record import plan_stages
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_flax

timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")

SWIN, SWIN_V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
SHRUNK = {"embed_dim": 24, "depths": (2, 1), "num_heads": (2, 4)}
SHIFTED = {**SHRUNK, "window_size": 4}
DEEPER = {**SHRUNK, "depths": (2, 1, 1), "num_heads": (2, 2, 3)}
SHALLOW = {"embed_dim": 24, "depths": (2,), "num_heads": (2,)}

CASES = {
    "shifted": (SWIN, 32, SHIFTED),
    "padded": (
        "swin_s3_tiny_224",
        36,
        {**DEEPER, "window_size": (4, 7, 2), "head_dim": (8, 6, None), "mlp_ratio": (2.0, 3.0, 2.0)},
    ),
    "windows_larger_than_maps": (
        SWIN,
        12,
        {**SHALLOW, "window_size": 4, "always_partition": True, "qkv_bias": False, "global_pool": "max"},
    ),
    "v2_shifted": (SWIN_V2, 32, {**SHIFTED, "dynamic_img_size": True}),
    "v2_padded": (SWIN_V2, 36, {**DEEPER, "window_size": (4, 3)}),
    "v2_windows_larger_than_maps": (SWIN_V2, 12, {**SHALLOW, "window_size": 4, "always_partition": True}),
    "v2_measured_by_other_windows": (
        "swinv2_base_window12to16_192to256",
        24,
        {
            **SHRUNK,
            "window_size": ((2, 4), (3, 2)),
            "pretrained_window_sizes": (6, (3, 5)),
            "qkv_bias": False,
            "act_layer": "gelu_tanh",
            "global_pool": "catavgmax",
            "mlp_ratio": 2.5,
        },
    ),
}
"""Kind -> (timm's name, image size, arguments)."""

TABLES = {
    "swin_transformer": swin_transformer.ARCHITECTURES,
    "swin_transformer_v2": swin_transformer_v2.ARCHITECTURES,
}
NAMES = [name for table in TABLES.values() for name in table]


def create(name=SWIN, *, size=32, classes=CLASSES, arguments=SHIFTED, **options):
    return create_model(name, arguments=arguments, class_count=classes, image_size=size, **options)


def reference(name=SWIN, *, size=32, classes=CLASSES, arguments=SHIFTED, **options):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=classes, img_size=size, **arguments, **options).eval()


def tensors(model):
    return tensors_of(model.state_dict().items())


def random_images(size=32):
    return np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)


def raise_a_scale(model):
    """Makes one head's scale of cosines larger than the largest that counts; more would magnify rounding."""
    scales = [scale for name, scale in model.named_parameters() if name.endswith("logit_scale")]
    with torch.no_grad():
        for scale in scales:
            scale.fill_(math.log(10.0))
        if scales:
            scales[0][0] = math.log(100.0) + 0.5


@pytest.mark.parametrize(("name", "size", "arguments"), CASES.values(), ids=CASES.keys())
def test_a_swin_transformer_answers_as_timms(name, size, arguments):
    assert_parity(name, arguments, size, raise_a_scale)


@pytest.mark.parametrize("name", [SWIN, SWIN_V2])
def test_new_parameters_are_distributed_as_timms(name):
    options = {"classes": 50, "arguments": {**SHRUNK, "depths": (1, 1), "window_size": 4}}
    expected = flatten(to_flax(tensors(reference(name, **options)))[0])
    ours = flatten(jax.jit(create(name, **options).init)(jax.random.key(0))[0])
    assert ours.keys() == expected.keys()
    for path, values in expected.items():
        tolerance = 6 * values.std() / values.size**0.5 + 1e-7
        assert abs(ours[path].mean() - values.mean()) <= tolerance, path
        assert abs(ours[path].std() - values.std()) <= tolerance, path


@pytest.mark.parametrize("module", TABLES)
def test_every_record_says_what_timms_entry_point_does(monkeypatch, module):
    stated = entry_points(monkeypatch, [module])
    assert stated.keys() == TABLES[module].keys()
    for name, (_, arguments) in stated.items():
        record = TABLES[module][name]
        assert record == dataclasses.replace(type(record)(img_size=input_size(name)), **arguments), name


@pytest.mark.parametrize("name", sampled(NAMES, 12))
def test_every_architecture_at_full_size_has_timms_parameters(name):
    assert our_shapes(name) == timm_shapes(name)


def test_drop_path_grows_with_depth_as_in_timm():
    arguments = {**DEEPER, "drop_path_rate": 0.3}
    theirs = reference(size=36, arguments=arguments)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in theirs.layers for block in stage.blocks]
    record = dataclasses.replace(swin_transformer.ARCHITECTURES[SWIN], **arguments)
    ours = [rate for stage in plan_stages(record) for rate in stage.drop_paths]
    np.testing.assert_allclose(ours, rates, rtol=1e-6)


OLDER = {"layers.1.downsample": "layers.0.downsample", "head.fc.": "head."}


def older_layout(current):
    """The layout of the first checkpoints: squares merged at the end of a stage, and buffers."""
    buffers = ("attn.relative_position_index", "attn.relative_coords_table", "attn_mask")
    older = {f"layers.0.blocks.1.{name}": np.zeros((2, 2)) for name in buffers}
    for name, tensor in current.items():
        for new, old in OLDER.items():
            name = name.replace(new, old)
        older[name] = tensor
    return older


@pytest.mark.parametrize("module", TABLES)
@pytest.mark.parametrize("headless", [False, True])
def test_older_checkpoints_are_filtered_as_in_timm(module, headless):
    name = next(iter(TABLES[module]))
    theirs = reference(name)
    older = older_layout(tensors(theirs))
    if module == "swin_transformer":
        del older["layers.0.blocks.1.attn.relative_coords_table"]
    if headless:
        older = {name: tensor for name, tensor in older.items() if not name.startswith("head.")}
    copied = {key: torch.tensor(value) for key, value in older.items()}
    expected = getattr(timm.models, module).checkpoint_filter_fn(copied, theirs)
    filtered = create(name).filter_checkpoint(older)
    assert filtered.keys() == expected.keys()
    for key, tensor in expected.items():
        assert filtered[key].tobytes() == tensor.numpy().tobytes(), key


@pytest.mark.parametrize("name", [SWIN, SWIN_V2])
def test_current_checkpoints_stay_as_they_are(name):
    current = tensors(reference(name))
    filtered = create(name).filter_checkpoint(current)
    assert filtered.keys() == current.keys()
    assert all(filtered[key] is tensor for key, tensor in current.items())
    params, _ = to_flax(filtered)
    adapted = flatten(create(name).adapt(params))
    assert all(adapted[path] is leaf for path, leaf in flatten(params).items())


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation uses torch in outdated ways
@pytest.mark.parametrize("name", [SWIN, SWIN_V2])
def test_weights_of_other_windows_and_sizes_answer_as_in_timm(name):
    small = reference(name)
    if name == SWIN:
        for key, tensor in small.state_dict().items():
            if key.endswith("table"):
                tensor.copy_(torch.randn(tensor.shape))
    changed = {**SHRUNK, "window_size": ((3, 5), (3, 4)), "patch_size": 5}
    overlay = {"state_dict": small.state_dict(), "num_classes": CLASSES}
    options = {"size": 45, "arguments": changed}
    theirs = reference(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    model, images = create(name, **options), random_images(45)
    params = jax.tree.map(jnp.asarray, model.adapt(to_flax(model.filter_checkpoint(tensors(small)))[0]))
    expected = theirs.forward_features(torch.tensor(images).permute(0, 3, 1, 2)).detach().numpy()
    actual = jax.jit(lambda params: model.features(params, {}, jnp.asarray(images), None, False)[0])(params)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"size": 30},
            f"image size 30 is not a multiple of 4, the patch size of {SWIN}; take 28 or 32",
        ),
        (
            {"arguments": {"window_size": (7, 7, 14)}},
            r"model argument window_size: \(7, 7, 14\) are not window sizes of 4 stages; give a positive "
            "number, two for height and width, or one of these for each stage",
        ),
        (
            {"arguments": {**SHRUNK, "window_size": 0}},
            r"model argument window_size: \(\(0, 0\), \(0, 0\)\) are not",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create(**options)


def test_windows_from_json_are_those_of_each_stage():
    shapes = our_shapes("swin_s3_tiny_224", arguments={"window_size": [7, [7, 3], 14, 7]})
    assert shapes["layers_0/blocks_0/attn/relative_position_bias_table"] == (13 * 13, 3)
    assert shapes["layers_1/blocks_0/attn/relative_position_bias_table"] == (13 * 5, 6)


def test_shifted_windows_mix_no_cells_from_opposite_sides():
    places = jnp.arange(36.0).reshape(1, 6, 6, 1)

    def sum_of_partners(cells, mask):
        together = jnp.broadcast_to(mask[:, 0] == 0.0, (len(cells), 9, 9))
        return jnp.einsum("wij,wjc->wic", together.astype(jnp.float32), cells)

    mixed = mix_in_windows(places, (3, 3), (1, 1), sum_of_partners)[0, :, :, 0]
    assert mixed[0, 0] == 0
    assert mixed[1, 1] == sum(6 * row + column for row in (1, 2, 3) for column in (1, 2, 3))
    assert mixed[5, 5] == 28 + 29 + 34 + 35
    assert mixed[0, 5] == 4 + 5


def test_without_classes_the_answer_is_the_pooled_features():
    model = create(classes=0)
    features = jax.random.normal(jax.random.key(1), (2, 4, 4, 48))
    assert "head" not in jax.eval_shape(model.init, jax.random.key(0))[0]
    assert model.feature_width == reference(classes=0).head_hidden_size == 48
    np.testing.assert_array_equal(model.head({}, features, None, False), model.pool({}, features))
