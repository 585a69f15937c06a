import dataclasses
import json
import re

import numpy as np
import pytest

from convert.__main__ import main
from convert.verify import TOLERANCES

KEYS = {
    "name",
    "parameters",
    "max_abs_logits",
    "max_abs_features",
    "max_rel_gradient",
    "max_abs_statistics",
    "rms_logits",
    "rms_features",
    "round_trip",
    "modes",
}
SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}


def verify(capsys, *arguments: str) -> tuple[int, dict]:
    pytest.importorskip("timm")
    code = main(["verify", *arguments])
    (line,) = capsys.readouterr().out.splitlines()
    return code, json.loads(line)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_a_model_of_each_family_equals_timms_with_random_values(name, capsys):
    timm = pytest.importorskip("timm")
    size = {"img_size": 64} if name == "test_vit" else {}
    code, result = verify(capsys, name, "--image-size", "64")
    assert code == 0, result
    assert set(result) == KEYS
    assert result["name"] == name
    assert result["parameters"] == sum(
        value.numel() for value in timm.create_model(name, **size).parameters()
    )
    assert result["modes"] == (["eval"] if size else ["eval", "train"])
    assert result["round_trip"] is True
    assert all(0 <= result[key] <= tolerance for key, tolerance in TOLERANCES.items())
    assert 0.5 < result["rms_logits"] < 3
    assert 0.3 < result["rms_features"] < 10


def small_setting(image_size: int = 32):
    from convert.reference import Setting

    return Setting(name="vit_tiny_patch16_224", arguments=SMALL, class_count=7, image_size=image_size)


def forward_differences(setting, changes: dict) -> tuple[float, float]:
    """Of features and logits between timm's model and ours with other arguments, the same values in both."""
    import jax

    from convert.parity import create_ours, draw_inputs, fit_ours
    from convert.reference import build, run_timm, state_of

    inputs = draw_inputs(setting.image_size, 4, setting.class_count, 0)
    reference = build(setting, None, inputs.images, 0)
    expected = run_timm(reference, inputs, False)
    ours = create_ours(dataclasses.replace(setting, arguments={**setting.arguments, **changes}))
    params, statistics = fit_ours(ours, None, state_of(reference))
    images = jax.numpy.asarray(inputs.images)
    features, _ = jax.jit(lambda images: ours.features(params, statistics, images, None, False))(images)
    logits = ours.head(params, features, None, False)
    return float(np.abs(features - expected.features).max()), float(np.abs(logits - expected.logits).max())


def test_small_mistakes_in_a_transformer_are_seen():
    pytest.importorskip("timm")
    from sketch_jax.models.vision_transformer_record import LAYER_NORM

    wrong_epsilon = dataclasses.replace(LAYER_NORM, epsilon=1e-5)
    assert max(forward_differences(small_setting(), {})) < 1e-5
    for changes in ({"act_layer": "gelu_tanh"}, {"norm_layer": wrong_epsilon}):
        assert min(forward_differences(small_setting(), changes)) > 3e-4, changes


def test_a_small_mistake_in_a_convolutional_network_is_seen():
    pytest.importorskip("timm")
    from convert.reference import Setting

    setting = Setting(name="mobilenetv2_035", arguments={}, class_count=7, image_size=64)
    assert max(forward_differences(setting, {})) < 1e-4
    assert min(forward_differences(setting, {"bn_eps": 1e-6})) > 1e-2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("mobilenetv2_035", {}),
        ("deit3_small_patch16_224", {"img_size": 64, "depth": 3}),
        ("seresnet18", {}),
        ("test_nfnet", {}),
        ("vgg11", {"mlp_ratio": 0.1}),
    ],
)
def test_every_value_is_random_and_nothing_vanishes_or_explodes(name, arguments):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from convert.parity import draw_inputs
    from convert.randomize import randomize

    model = timm.create_model(name, num_classes=5, **arguments)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.from_numpy(draw_inputs(64, 4, 5, seed=1).images).permute(0, 3, 1, 2)
    randomize(model, images, torch.Generator().manual_seed(0))
    for key, value in model.state_dict().items():
        if value.is_floating_point() and value.numel() > 1:
            assert value.std() > 0, key
            assert (value == start[key]).float().mean() < 1e-3, key
    with torch.no_grad():
        logits = model(images)
        features = model.forward_features(images)
        centred = [logits - logits.mean(0), model.train()(images) - logits.mean(0)]
    assert 0.3 < features.square().mean().sqrt() < 10
    spread, in_training = (values.square().mean().sqrt().item() for values in centred)
    assert spread > 0.1
    assert max(spread, in_training) == pytest.approx(1, abs=1e-3)


def test_real_weights_equal_timms(capsys, mobilenet_weights):
    source = f"local-dir:{mobilenet_weights}"
    code, result = verify(capsys, "mobilenetv2_035", "--weights", source, "--image-size", "96")
    assert code == 0, result
    assert result["round_trip"] is True
    assert result["modes"] == ["eval"]


def test_weights_at_another_image_size_equal_timms(tmp_path, capsys):
    pytest.importorskip("timm")
    from convert.reference import build, state_of
    from sketch_jax.preprocessing import Preprocessing
    from sketch_jax.weights.export import write_timm_directory
    from sketch_jax.weights.names import to_flax
    from sketch_jax.weights.timm_config import timm_config

    setting = small_setting(image_size=64)
    images = np.random.default_rng(0).standard_normal((2, 64, 64, 3), np.float32)
    config = timm_config(
        architecture=setting.name,
        model_arguments=SMALL,
        class_count=7,
        class_names=(),
        classifiers=("head",),
        feature_width=48,
        preprocessing=Preprocessing(image_size=64),
        fixed_image_size=True,
    )
    state = state_of(build(setting, None, images, 0))
    write_timm_directory(tmp_path / "weights", *to_flax(state), config)
    source = ["--weights", f"local-dir:{tmp_path / 'weights'}"]
    for size in ([], ["--image-size", "96"]):
        code, result = verify(capsys, setting.name, *source, *size)
        assert code == 0, result


def test_wrong_gradients_are_seen_on_every_draw_and_a_kink_on_one():
    pytest.importorskip("timm")
    from convert.parity import measure
    from convert.reference import Inputs, Outputs

    def outputs(gradient: float) -> Outputs:
        features = np.ones((2, 3), np.float32)
        return Outputs(
            features=features, logits=features, gradients={"a": np.array([gradient])}, statistics={}
        )

    draws = [Inputs(np.full(1, index, np.float32), np.ones(1, np.float32)) for index in range(4)]
    right = lambda inputs: outputs(1.0)  # noqa: E731
    always_wrong = measure(draws, right, lambda inputs: outputs(1.01))
    wrong_at_first = measure(draws, right, lambda inputs: outputs(1.01 if inputs.images[0] == 0 else 1.0))
    never_finite = measure(draws, right, lambda inputs: outputs(float("nan")))
    assert always_wrong["max_rel_gradient"] == pytest.approx(0.01)
    assert wrong_at_first["max_rel_gradient"] == 0
    assert np.isnan(never_finite["max_rel_gradient"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "0"], "--image-size 0: must be at least 1"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message, capsys):
    pytest.importorskip("timm")
    assert main(["verify", "test_vit", *options]) == 2
    assert message in capsys.readouterr().err


def test_what_is_not_within_its_tolerance_is_said(capsys, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setitem(TOLERANCES, "max_abs_features", 0.0)
    assert main(["verify", "test_vit", "--image-size", "64"]) == 1
    assert re.search(r"^max_abs_features \S+: must be at most 0$", capsys.readouterr().err, re.MULTILINE)


def test_weights_that_do_not_fit_are_told_in_our_words(tmp_path, capsys, mobilenet_weights):
    pytest.importorskip("timm")
    source = f"local-dir:{mobilenet_weights}"
    assert main(["verify", "mobilenetv2_050", "--weights", source, "--image-size", "64"]) == 2
    assert "the weights do not fit mobilenetv2_050" in capsys.readouterr().err


def test_weights_without_config_and_classifier_are_compared(tmp_path, capsys, mobilenet_weights):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(mobilenet_weights / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "classifier" not in n}, tmp_path / "bare.safetensors")
    arguments = ["--weights", str(tmp_path / "bare.safetensors"), "--image-size", "64"]
    code, result = verify(capsys, "mobilenetv2_035", *arguments)
    assert code == 0, result
