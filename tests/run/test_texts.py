import json
import shlex

import pytest

from sketch_jax.config import Config, config_to_json, run_directory
from sketch_jax.data.sources import Folder
from sketch_jax.losses.options import Ordinal
from sketch_jax.main import parse_config
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.run.texts import next_steps, preprocessing_text


@pytest.mark.parametrize("pretrained", [None, "timm/resnet18.a1_in1k"])
@pytest.mark.parametrize("given", [True, False])
def test_the_command_to_try_next_writes_to_another_directory(tmp_path, monkeypatch, pretrained, given):
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "a run" if given else tmp_path / "runs" / "first"
    directory.mkdir(parents=True)
    config = Config(
        name="first",
        output_dir=str(directory) if given else None,
        source=Folder(root="images"),
        model=ModelOptions(name="resnet18", pretrained=pretrained),
    )
    (directory / "config.json").write_text(json.dumps(config_to_json(config)))
    command, *_ = next_steps(config, directory)
    words = shlex.split(command, comments=True)
    assert words[:3] == ["python", "-m", "sketch_jax.main"]
    following = parse_config(words[3:])
    assert run_directory(following).resolve() != run_directory(config).resolve()
    assert following.source == config.source


@pytest.mark.parametrize(
    ("changes", "goes_back"),
    [
        ({}, True),
        ({"model": ModelOptions(name="resnet18", head=HeadOptions(hidden=(8,)))}, False),
        ({"loss": Ordinal()}, False),
    ],
)
def test_the_way_back_to_timm_is_shown_where_there_is_one(changes, goes_back, tmp_path):
    config = Config(name="x", source=Folder(root="images"), **changes)
    assert any("to-timm" in line for line in next_steps(config, tmp_path)) == goes_back


def test_how_images_are_prepared_is_told():
    text = preprocessing_text(Preprocessing(image_size=96, mean=(0.5, 0.5, 0.5), std=(0.25, 0.2, 0.1)))
    assert text == "96 px, bicubic, squash crop of 1, mean 0.5 0.5 0.5, deviation 0.25 0.2 0.1"
