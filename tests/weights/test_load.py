import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from sketch_jax.errors import InputError
from sketch_jax.weights.load import fit, summary
from sketch_jax.weights.names import to_flax, to_timm
from sketch_jax.weights.sources import Weights, open_weights

CLASSES = 3


def state_dict(class_count: int | None = CLASSES, seed: int = 0) -> dict[str, np.ndarray]:
    """A small model: a convolution with norm, a position embedding and, if it has classes, a classifier."""
    generator = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "stem.0.weight": (8, 3, 3, 3),
        "stem.1.weight": (8,),
        "stem.1.bias": (8,),
        "stem.1.running_mean": (8,),
        "stem.1.running_var": (8,),
        "pos_embed": (1, 4, 8),
    }
    if class_count is not None:
        shapes |= {"head.weight": (class_count, 8), "head.bias": (class_count,)}
    tensors = {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return tensors | {"stem.1.num_batches_tracked": np.array(12, np.int64)}


def weights_of(tensors: dict[str, np.ndarray], **config) -> Weights:
    return Weights(tensors=tensors, config=config, fingerprint="", origin="some/weights")


def template(tensors: dict[str, np.ndarray]):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), to_flax(tensors))


def fit_small(
    tensors: dict[str, np.ndarray],
    wanted: dict[str, np.ndarray],
    adapt=lambda tree: tree,
    rows=None,
    filter_checkpoint=lambda tensors: tensors,
    **config,
):
    return fit(
        weights_of(tensors, **config),
        template(wanted),
        architecture="tiny",
        classifier="head",
        fresh=to_flax(wanted)[0],
        filter_checkpoint=filter_checkpoint,
        adapt=adapt,
        rows=rows,
    )


def without(tensors: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_weights_of_the_same_model_are_taken_as_they_are():
    tensors = state_dict()
    params, statistics, report = fit_small(tensors, state_dict(seed=1))
    back = to_timm(params, statistics)
    for name in without(tensors, "stem.1.num_batches_tracked"):
        np.testing.assert_array_equal(back[name], tensors[name])
    assert set(report.loaded) == set(tensors) - {"stem.1.num_batches_tracked"}
    assert report.new == report.dropped == report.resampled == ()
    assert report.loaded_values == 8 * 27 + 4 * 8 + 32 + 3 * 8 + 3


@pytest.mark.parametrize("present", [5, None])
def test_a_classifier_of_other_classes_is_newly_made(present):
    tensors, wanted = state_dict(present), state_dict(seed=1)
    params, statistics, report = fit_small(tensors, wanted)
    back = to_timm(params, statistics)
    np.testing.assert_array_equal(back["head.weight"], wanted["head.weight"])
    np.testing.assert_array_equal(back["head.bias"], wanted["head.bias"])
    np.testing.assert_array_equal(back["stem.0.weight"], tensors["stem.0.weight"])
    assert report.new == ("head.bias", "head.weight")
    assert report.dropped == (() if present is None else ("head.weight", "head.bias"))


def test_half_a_classifier_is_never_mixed_with_new_values():
    wanted = state_dict(seed=1)
    params, _, report = fit_small(without(state_dict(), "head.bias"), wanted)
    np.testing.assert_array_equal(params["head"]["kernel"], wanted["head.weight"].T)
    assert report.new == ("head.bias", "head.weight")
    assert report.dropped == ("head.weight",)


def test_a_model_without_classifier_leaves_the_weights_classifier_out():
    params, _, report = fit_small(state_dict(), state_dict(None))
    assert "head" not in params
    assert report.new == ()
    assert report.dropped == ("head.weight", "head.bias")


def test_a_module_whose_name_only_starts_like_the_classifier_is_no_classifier():
    with pytest.raises(InputError, match=r"head_norm\.weight: not in the weights; the model wants \[8\]"):
        fit_small(state_dict(), state_dict() | {"head_norm.weight": np.ones(8, np.float32)})


def test_all_misfits_are_listed_with_timms_names_and_shapes():
    tensors = without(state_dict(), "stem.1.bias", "stem.1.running_var")
    tensors["stem.0.weight"] = np.zeros((8, 1, 3, 3), np.float32)
    tensors["stem.1.running_mean"] = np.zeros(7, np.float32)
    tensors["blocks.0.gamma_1"] = np.zeros(8, np.float32)
    tensors["blocks.0.bn.running_mean"] = np.zeros(8, np.float32)
    with pytest.raises(InputError) as raised:
        fit_small(tensors, state_dict(), architecture="tiny", model_args={"depth": 2})
    assert str(raised.value).splitlines() == [
        "some/weights: the weights do not fit tiny: 6 tensors differ",
        "  stem.1.bias: not in the weights; the model wants [8]",
        "  blocks.0.gamma_1: [8] in the weights; the model has none",
        "  stem.0.weight: [8, 1, 3, 3] in the weights; the model wants [8, 3, 3, 3]",
        "  stem.1.running_var: not in the weights; the model wants [8]",
        "  blocks.0.bn.running_mean: [8] in the weights; the model has none",
        "  stem.1.running_mean: [7] in the weights; the model wants [8]",
        "stem.0.weight is of images of 1 channels, which the weights' config.json does not state: with "
        '"input_size": [1, height, width] in its pretrained_cfg it is fitted to 3',
        "its config.json says it is of tiny with arguments {'depth': 2}: does the model have them, too?",
    ]


def test_of_many_misfits_the_first_twenty_are_shown():
    tensors = state_dict() | {f"blocks.0.more_{index}": np.zeros(2, np.float32) for index in range(25)}
    with pytest.raises(InputError, match=r": 25 tensors differ\n") as raised:
        fit_small(tensors, state_dict())
    shown = [line for line in str(raised.value).splitlines() if line.startswith("  ")]
    assert len(shown) == 21
    assert shown[-1] == "  … and 5 more"


def test_weights_of_another_model_are_told_by_their_name():
    other = {"patch_embed.proj.weight": np.zeros((4, 3, 2, 2), np.float32)}
    with pytest.raises(InputError) as raised:
        fit_small(other, state_dict(), architecture="vit_huge")
    assert str(raised.value).endswith(
        "its config.json says it is of vit_huge: set --model.name vit_huge, or name other weights"
    )
    with pytest.raises(InputError) as raised:
        fit_small(other, state_dict())
    assert str(raised.value).endswith("set --model.name to the architecture it was made for")


def test_parameters_are_adapted_before_they_are_checked():
    tensors, wanted = state_dict(), state_dict(seed=1)
    wanted["pos_embed"] = np.zeros((1, 9, 8), np.float32)

    def adapt(tree):
        return {**tree, "pos_embed": np.resize(tree["pos_embed"], (1, 9, 8))}

    params, _, report = fit_small(tensors, wanted, adapt)
    np.testing.assert_array_equal(params["pos_embed"], np.resize(tensors["pos_embed"], (1, 9, 8)))
    assert report.resampled == ("pos_embed",)
    with pytest.raises(
        InputError, match=r"pos_embed: \[1, 4, 8\] in the weights; the model wants \[1, 9, 8\]"
    ):
        fit_small(tensors, wanted)


def test_parameters_that_adapting_adds_are_reported_as_new():
    tensors, wanted = state_dict(), state_dict() | {"norm.weight": np.ones(8, np.float32)}
    params, _, report = fit_small(tensors, wanted, lambda tree: {**tree, "norm": {"scale": np.ones(8)}})
    np.testing.assert_array_equal(params["norm"]["scale"], 1)
    assert report.new == ("norm.weight",)
    assert "norm.weight" not in report.loaded
    assert report.resampled == ()


def test_the_tree_is_the_models_and_holds_placed_values():
    tensors = dict(reversed(state_dict().items()))
    wanted = state_dict()
    params, statistics, _ = fit(
        weights_of(tensors),
        template(wanted),
        architecture="tiny",
        classifier="head",
        fresh={},
        place=jax.device_put,
    )
    assert jax.tree.structure((params, statistics)) == jax.tree.structure(to_flax(wanted))
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def test_the_summary_is_silent_about_nothing():
    report = fit_small(state_dict(5), state_dict()).report
    assert summary(report) == [
        "6 tensors (280 values) loaded from some/weights",
        "newly made: head.bias, head.weight",
        "in the weights but not used: head.weight, head.bias",
    ]


def rename(tensors):
    """The layout of a checkpoint whose names have a prefix, and which holds a counter of its own."""
    return {name.removeprefix("net."): tensors[name] for name in tensors if name != "net.step"}


def older(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"net.{name}": tensor for name, tensor in tensors.items()} | {"net.step": np.zeros(1, np.float32)}


def test_names_of_an_older_layout_are_told_by_the_first_few():
    tensors = older(state_dict())
    params, _, report = fit_small(tensors, state_dict(seed=1), filter_checkpoint=rename)
    np.testing.assert_array_equal(params["pos_embed"], tensors["net.pos_embed"])
    assert report.of_older_layout == tuple(tensors)
    assert report.dropped == report.resampled == report.new == ()
    assert summary(report) == [
        "8 tensors (307 values) loaded from some/weights",
        "of an older layout, renamed or left out: net.stem.0.weight, net.stem.1.weight, net.stem.1.bias, "
        "net.stem.1.running_mean, … and 6 more",
    ]
    few = fit_small(state_dict() | {"net.step": np.zeros(1)}, state_dict(), filter_checkpoint=rename).report
    assert summary(few)[1:] == ["of an older layout, renamed or left out: net.step"]


def test_reshaping_by_the_filter_is_no_resampling():
    tensors, wanted = state_dict(), state_dict(seed=1)
    wanted["pos_embed"] = np.zeros((1, 9, 8), np.float32)
    tensors["pos_embed"] = tensors["pos_embed"][0]

    def filter_checkpoint(tensors):
        return {**tensors, "pos_embed": tensors["pos_embed"][None]}

    def adapt(tree):
        return {**tree, "pos_embed": np.resize(tree["pos_embed"], (1, 9, 8))}

    assert fit_small(tensors, state_dict(), filter_checkpoint=filter_checkpoint).report.resampled == ()
    report = fit_small(tensors, wanted, adapt, filter_checkpoint=filter_checkpoint).report
    assert report.resampled == ("pos_embed",)
    assert report.of_older_layout == ()


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("stated", ["pretrained_cfg", "model_args"])
def test_a_first_convolution_of_other_channels_is_fitted_as_in_timm(channels, stated):
    torch = pytest.importorskip("torch")
    adapt_input_conv = pytest.importorskip("timm.models").adapt_input_conv
    tensors, wanted = state_dict(), state_dict(seed=1)
    generator = np.random.default_rng(2)
    tensors["stem.0.weight"] = generator.standard_normal((8, channels, 3, 3), np.float32)
    config = {"pretrained_cfg": {"input_size": [channels, 28, 28]}, "model_args": {"in_chans": channels}}
    params, statistics, report = fit_small(tensors, wanted, **{stated: config[stated]})
    expected = adapt_input_conv(3, torch.tensor(tensors["stem.0.weight"]), base_chans=channels)
    np.testing.assert_array_equal(to_timm(params, statistics)["stem.0.weight"], expected.numpy())
    assert report.of_other_channels == ("stem.0.weight",)
    assert report.resampled == ()
    assert summary(report)[1:] == ["fitted to images of 3 channels: stem.0.weight"]


@pytest.mark.parametrize(("channels", "stated"), [(1, None), (1, 3), (4, 1), (48, 1), (6, 12)])
def test_a_first_convolution_of_channels_that_are_not_stated_is_refused(channels, stated):
    tensors = state_dict()
    tensors["stem.0.weight"] = np.zeros((8, channels, 3, 3), np.float32)
    config = {} if stated is None else {"pretrained_cfg": {"input_size": [stated, 28, 28]}}
    with pytest.raises(InputError) as raised:
        fit_small(tensors, state_dict(), **config)
    assert str(raised.value).splitlines()[1:3] == [
        f"  stem.0.weight: [8, {channels}, 3, 3] in the weights; the model wants [8, 3, 3, 3]",
        f"stem.0.weight is of images of {channels} channels, which the weights' config.json does not state: "
        f'with "input_size": [{channels}, height, width] in its pretrained_cfg it is fitted to 3',
    ]


@pytest.mark.parametrize("channels", [1, 4])
def test_timm_itself_fits_a_model_of_other_channels_to_3_in_the_same_way(channels):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    state = timm.create_model("test_resnet", in_chans=channels).state_dict()
    size = (channels, 160, 160)
    theirs = timm.create_model(
        "test_resnet",
        in_chans=3,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": dict(state), "input_size": size},
    ).state_dict()
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    wanted = {name: tensor.numpy() for name, tensor in theirs.items()}
    fitted = fit(
        weights_of(tensors, pretrained_cfg={"input_size": size}),
        template(wanted),
        architecture="test_resnet",
        classifier="fc",
        fresh={},
    )
    assert fitted.report.of_other_channels == ("conv1.0.weight",)
    for name, tensor in to_timm(fitted.params, fitted.statistics).items():
        np.testing.assert_array_equal(tensor, wanted[name], err_msg=name)


def test_a_first_convolution_of_3_channels_is_taken_whatever_the_config_states():
    config = {"pretrained_cfg": {"input_size": [1, 28, 28]}}
    assert summary(fit_small(state_dict(), state_dict(), **config).report)[1:] == []


MEASURE = """
    import sys
    import jax, numpy as np
    from sketch_jax.weights.load import fit
    from sketch_jax.weights.sources import open_weights

    def resident(kind):
        with open("/proc/self/status") as status:
            return 1024 * int(next(line for line in status if line.startswith(kind)).split()[1])

    template = {f"blocks_{i}": {"kernel": jax.ShapeDtypeStruct((1024, 2048), np.float32)} for i in range(16)}
    jax.device_put(np.ones(3)).block_until_ready()
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    weights = open_weights(sys.argv[1])
    names = {"architecture": "x", "classifier": "head"}
    params, _, _ = fit(
        weights, (template, {}), fresh={}, filter_checkpoint=dict, place=jax.device_put, **names
    )
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    print((resident("VmHWM") - before) / size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_loading_needs_little_more_memory_than_the_model(tmp_path, dtype):
    tensors = {f"blocks.{index}.weight": np.full((2048, 1024), index, dtype) for index in range(16)}
    save_file(tensors, tmp_path / "model.safetensors")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path / "model.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0.9 < float(result.stdout) < 1.3


def test_a_real_model_is_fitted_from_a_file_of_half_precision(tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=7, depth=2).state_dict()
    halves = {name: torch.randn(tensor.shape).bfloat16() for name, tensor in state.items()}
    save_torch(halves, tmp_path / "model.safetensors")
    shapes = {name: np.zeros(tensor.shape, np.float32) for name, tensor in state.items()}
    params, statistics, report = fit(
        open_weights(str(tmp_path / "model.safetensors")),
        template(shapes),
        architecture="vit_tiny_patch16_224",
        classifier="head",
        fresh={},
    )
    assert len(report.loaded) == len(state)
    for name, tensor in to_timm(params, statistics).items():
        np.testing.assert_array_equal(tensor, halves[name].float().numpy(), err_msg=name)


@pytest.mark.parametrize("name", ["stem.0.weight", "stem.1.running_var"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_told_with_their_tensor(name, value):
    tensors = state_dict()
    tensors[name] = tensors[name].copy()
    tensors[name].flat[3] = value
    with pytest.raises(
        InputError, match=f"some/weights: {name} holds 1 values that are not finite; download"
    ):
        fit_small(tensors, state_dict())
