import dataclasses
import json

import pytest

from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.weights.timm_config import architecture_from, image_channels, preprocessing_from, timm_config


def test_preprocessing_is_what_timm_makes_of_every_pretrained_config():
    timm = pytest.importorskip("timm")
    refused = {}
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name).to_dict()
        expected = timm.data.resolve_data_config({}, pretrained_cfg=config)
        try:
            ours = preprocessing_from({"architecture": name, "pretrained_cfg": config})
        except InputError as error:
            refused[name] = (expected["input_size"], str(error))
            continue
        assert dataclasses.asdict(ours) == {
            "image_size": expected["input_size"][1],
            "mean": expected["mean"],
            "std": expected["std"],
            "interpolation": expected["interpolation"],
            "crop_fraction": expected["crop_pct"],
            "crop_mode": expected["crop_mode"],
        }, name
    assert all(size[1] != size[2] or size[0] != 3 for size, _ in refused.values())
    assert len(refused) < 0.01 * len(timm.list_pretrained())


def test_silent_configs_get_timms_defaults_and_no_config_gets_ours():
    assert preprocessing_from({"architecture": "x", "pretrained_cfg": {}}) == Preprocessing(
        image_size=224, interpolation="bicubic", crop_fraction=0.875, crop_mode="center"
    )
    assert preprocessing_from({}) == Preprocessing(image_size=224)
    assert preprocessing_from({}, 96) == Preprocessing(image_size=96)


def test_another_image_size_changes_nothing_else():
    config = {"pretrained_cfg": {"input_size": [3, 448, 448], "mean": [0.5, 0.5, 0.5], "crop_pct": 1.0}}
    small, full = preprocessing_from(config, 96), preprocessing_from(config)
    assert small == dataclasses.replace(full, image_size=96)
    assert full.image_size == 448


@pytest.mark.parametrize(
    ("arguments", "fixed", "expected"),
    [
        ({"img_size": 384}, True, 384),
        ({"img_size": [384, 384]}, True, 384),
        ({"img_size": 384}, False, 224),
        ({"img_size": 384, "dynamic_img_size": True}, True, 224),
        ({"img_size": 384, "strict_img_size": False}, True, 224),
        ({}, True, 224),
    ],
)
def test_the_image_size_is_that_for_which_the_weights_model_was_built_as_in_timm(arguments, fixed, expected):
    timm = pytest.importorskip("timm")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": arguments,
        "pretrained_cfg": {"input_size": [3, 224, 224], "fixed_input_size": fixed},
    }
    theirs, _, _ = timm.models._hub._parse_model_cfg(json.loads(json.dumps(config)), {})
    assert timm.data.resolve_data_config({}, pretrained_cfg=theirs)["input_size"][1] == expected
    assert preprocessing_from(config).image_size == expected


def test_an_old_config_without_parts_is_read():
    config = {"architecture": "resnet18", "input_size": [3, 160, 160], "mean": [0.5, 0.4, 0.3]}
    assert preprocessing_from(config).image_size == 160
    assert preprocessing_from(config).mean == (0.5, 0.4, 0.3)
    assert architecture_from(config) == ("resnet18", {})


def test_weights_of_grey_images_take_images_of_3_channels_alike():
    config = {"architecture": "resnet18", "model_args": {"in_chans": 1, "act_layer": "gelu"}}
    config["pretrained_cfg"] = {"input_size": [1, 28, 28], "mean": [0.25], "std": (0.5,)}
    preprocessing = preprocessing_from(config)
    assert preprocessing.mean == (0.25, 0.25, 0.25)
    assert preprocessing.std == (0.5, 0.5, 0.5)
    assert preprocessing.image_size == 28
    assert architecture_from(config) == ("resnet18", {"act_layer": "gelu"})
    assert image_channels(config) == 1


def test_all_unsupported_wishes_are_told_at_once():
    wishes = {
        "input_size": [1, 224, 192],
        "mean": [0.5, 0.5, 0.5, 0.5],
        "std": [0.5, 0.5],
        "interpolation": "hamming",
        "crop_mode": "x",
    }
    with pytest.raises(InputError) as raised:
        preprocessing_from({"pretrained_cfg": wishes})
    assert str(raised.value).splitlines() == [
        "the weights' config.json asks for images that are not supported (5):",
        "  input_size [1, 224, 192]: must be [channels, side, side]",
        "  mean [0.5, 0.5, 0.5, 0.5]: must be 3 numbers, or one for all",
        "  std [0.5, 0.5]: must be 3 numbers, or one for all",
        "  interpolation 'hamming': must be one of nearest, bilinear, bicubic, lanczos",
        "  crop_mode 'x': must be one of center, squash, border",
        "change pretrained_cfg in config.json to what is supported",
    ]


def test_what_is_written_for_timm_is_read_back():
    preprocessing = Preprocessing(
        image_size=96, mean=(0.5, 0.4, 0.3), interpolation="bilinear", crop_fraction=0.9, crop_mode="center"
    )
    config = timm_config(
        architecture="resnet18",
        model_arguments={"act_layer": "gelu"},
        class_count=2,
        class_names=("cat", "dog"),
        classifiers=("head/fc",),
        feature_width=512,
        preprocessing=preprocessing,
        fixed_image_size=False,
    )
    config = json.loads(json.dumps(config))
    assert preprocessing_from(config) == preprocessing
    assert architecture_from(config) == ("resnet18", {"act_layer": "gelu"})
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 2
    assert config["pretrained_cfg"]["classifier"] == "head.fc"
    assert config["label_names"] == ["cat", "dog"]
