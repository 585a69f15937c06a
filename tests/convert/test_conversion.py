import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from convert.__main__ import main

ARCHITECTURES = {"resnet18": 48, "mobilenetv2_035": 48, "vit_tiny_patch16_224": 224, "test_convnext": 96}


def random_model(name: str, class_count: int = 5):
    """A model of timm's with all values random, and images for it."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from convert.randomize import randomize

    torch.manual_seed(0)
    size = ARCHITECTURES[name]
    images = torch.randn(2, 3, size, size)
    model = timm.create_model(name, num_classes=class_count)
    randomize(model, images, torch.Generator().manual_seed(0))
    return model, images


def logits_of(directory: Path, images):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    with torch.no_grad():
        return timm.create_model(f"local-dir:{directory}", pretrained=True).eval()(images)


def write_shared(directory: Path, real: Path) -> Path:
    """A copy of the real weights that may be changed."""
    directory.mkdir()
    for name in ("config.json", "model.safetensors"):
        (directory / name).write_bytes((real / name).read_bytes())
    return directory


def test_there_and_back_gives_the_same_files_content(tmp_path, mobilenet_weights, capsys):
    source = f"local-dir:{mobilenet_weights}"
    assert main(["to-flax", source, "--output", str(tmp_path / "flax")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'flax'}: 312 tensors from {source}\n"
    assert main(["to-timm", str(tmp_path / "flax"), "--output", str(tmp_path / "timm")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'timm'}: mobilenetv2_035 from local-dir:")
    back = load_file(tmp_path / "timm" / "model.safetensors")
    original = load_file(mobilenet_weights / "model.safetensors")
    assert back.keys() == original.keys()
    for name, tensor in original.items():
        assert back[name].dtype == tensor.dtype
        np.testing.assert_array_equal(back[name], tensor, err_msg=name)
    configs = [
        json.loads((place / "config.json").read_text()) for place in (tmp_path / "timm", mobilenet_weights)
    ]
    assert configs[0] == configs[1]


@pytest.mark.parametrize(
    ("name", "suffix"), list(zip(ARCHITECTURES, ("pth", "bin", "pt", "pth"), strict=True))
)
def test_a_pickled_state_dict_reaches_timm_again_with_the_same_logits(tmp_path, name, suffix):
    torch = pytest.importorskip("torch")
    model, images = random_model(name)
    torch.save(model.state_dict(), tmp_path / f"model.{suffix}")
    flax, timm = tmp_path / "flax", tmp_path / "timm"
    source = str(tmp_path / f"model.{suffix}")
    assert main(["to-flax", source, "--output", str(flax), "--architecture", name]) == 0
    assert main(["to-timm", str(flax), "--output", str(timm)]) == 0
    with torch.no_grad():
        assert torch.equal(logits_of(timm, images), model(images))
    assert json.loads((timm / "config.json").read_text())["num_classes"] == 5


def test_a_checkpoint_of_openclip_reaches_timm_by_its_current_names(tmp_path):
    torch = pytest.importorskip("torch")
    model, images = random_model("test_convnext")
    torch.nn.init.zeros_(model.head.fc.bias)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("head.fc.")}
    tower = {f"visual.trunk.{name}": value for name, value in kept.items()}
    torch.save({**tower, "visual.head.proj.weight": model.head.fc.weight.data}, tmp_path / "clip.pth")
    flax, timm = tmp_path / "flax", tmp_path / "timm"
    command = ["to-flax", str(tmp_path / "clip.pth"), "--architecture", "test_convnext"]
    assert main([*command, "--output", str(flax)]) == 0
    assert main(["to-timm", str(flax), "--output", str(timm)]) == 0
    with torch.no_grad():
        assert torch.equal(logits_of(timm, images), model(images))


def test_averaged_weights_are_taken_from_a_training_checkpoint_and_prefixes_fall(tmp_path):
    torch = pytest.importorskip("torch")
    checkpoint = {
        "epoch": 3,
        "optimizer": {"lr": 0.1},
        "state_dict": {"module.fc.weight": torch.zeros(2, 3)},
        "state_dict_ema": {"module.fc.weight": torch.ones(2, 3, dtype=torch.bfloat16)},
    }
    torch.save(checkpoint, tmp_path / "last.pth.tar")
    assert main(["to-flax", str(tmp_path / "last.pth.tar"), "--output", str(tmp_path / "flax")]) == 0
    tensors = load_file(tmp_path / "flax" / "flax_model.safetensors")
    assert list(tensors) == ["params/fc/kernel"]
    np.testing.assert_array_equal(tensors["params/fc/kernel"], np.ones((3, 2), np.float32))


@pytest.mark.parametrize("place", ["model", "module", "encoder"])
def test_the_state_is_found_where_training_scripts_keep_it(tmp_path, place):
    torch = pytest.importorskip("torch")
    torch.save({"epoch": 3, place: {"module.fc.weight": torch.ones(2, 3)}}, tmp_path / "last.pth")
    assert main(["to-flax", str(tmp_path / "last.pth"), "--output", str(tmp_path / "flax")]) == 0
    assert list(load_file(tmp_path / "flax" / "flax_model.safetensors")) == ["params/fc/kernel"]


class Bomb:
    """Pickles to a call that would leave a trace if it were unpickled."""

    def __init__(self, trace: str):
        self.trace = trace

    def __reduce__(self):
        return (open, (self.trace, "w"))


def write_bad_pickles(directory: Path) -> dict[str, str]:
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.ones(2), "extra": Bomb(str(directory / "trace"))}, directory / "bomb.pth")
    (directory / "plain.pkl").write_bytes(pickle.dumps(Bomb(str(directory / "trace"))))
    torch.save({"fc.weight": torch.ones(1000)}, directory / "short.pth")
    (directory / "short.pth").write_bytes((directory / "short.pth").read_bytes()[:-2000])
    (directory / "text.pth").write_text("hello")
    torch.save([1, 2], directory / "list.pth")
    return {
        "bomb.pth": "holds more than tensors, so it is not read; save model.state_dict() alone",
        "plain.pkl": "holds more than tensors, so it is not read; save model.state_dict() alone",
        "short.pth": "not a whole checkpoint of torch (",
        "text.pth": "not a whole checkpoint of torch (KeyError: 101); download or copy it again",
        "list.pth": "holds no state dict of tensors; save model.state_dict() with torch.save",
        "none.pth": "no such file",
    }


@pytest.mark.parametrize("name", ["bomb.pth", "plain.pkl", "short.pth", "text.pth", "list.pth", "none.pth"])
def test_a_bad_pickle_is_refused_and_nothing_is_run_or_written(tmp_path, name, capsys):
    messages = write_bad_pickles(tmp_path)
    assert main(["to-flax", str(tmp_path / name), "--output", str(tmp_path / "flax")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / name}: {messages[name]}")
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "flax").exists()


def test_without_an_architecture_timm_cannot_be_reached(tmp_path, capsys, mobilenet_weights):
    source = write_shared(tmp_path / "source", mobilenet_weights) / "model.safetensors"
    (tmp_path / "source" / "config.json").unlink()
    assert main(["to-flax", str(source), "--output", str(tmp_path / "flax")]) == 0
    assert "no architecture is noted, so that runs need --model.name" in capsys.readouterr().err
    assert main(["to-timm", str(tmp_path / "flax"), "--output", str(tmp_path / "timm")]) == 2
    assert "config.json does not say the architecture" in capsys.readouterr().err
    assert not (tmp_path / "timm").exists()
    again = ["to-flax", str(source), "--output", str(tmp_path / "b"), "--architecture", "mobilenetv2_035"]
    assert main(again) == 0
    assert json.loads((tmp_path / "b" / "config.json").read_text())["num_classes"] == 0


def test_an_output_that_holds_something_is_left_alone(tmp_path, capsys, mobilenet_weights):
    directory = write_shared(tmp_path / "mine", mobilenet_weights)
    before = (directory / "config.json").read_bytes()
    assert main(["to-flax", f"local-dir:{mobilenet_weights}", "--output", str(directory)]) == 2
    assert "already holds something; name a directory that is new or empty" in capsys.readouterr().err
    assert (directory / "config.json").read_bytes() == before


def test_weights_without_a_config_are_prepared_as_timm_prepares_their_architectures(tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.pth")
    arguments = ["to-flax", str(tmp_path / "test_vit.pth"), "--output", str(tmp_path / "flax")]
    assert main([*arguments, "--architecture", "test_vit"]) == 0
    stated = json.loads((tmp_path / "flax" / "config.json").read_text())["pretrained_cfg"]
    expected = timm.get_pretrained_cfg("test_vit")
    assert stated["mean"] == list(expected.mean) != [0.485, 0.456, 0.406]
    assert (stated["crop_pct"], stated["interpolation"]) == (expected.crop_pct, expected.interpolation)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "test_resnet",
            "--architecture test_resnet: .* is of another architecture: .* names are missing, .* left over",
        ),
        ("resnt18", "no such architecture; did you mean 'resnet18'"),
    ],
)
def test_an_architecture_that_the_weights_are_not_of_is_refused(name, message, tmp_path, capsys):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.pth")
    arguments = ["to-flax", str(tmp_path / "test_vit.pth"), "--output", str(tmp_path / "flax")]
    assert main([*arguments, "--architecture", name]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "flax").exists()


def test_an_architecture_beside_a_config_that_says_another_is_refused(tmp_path, capsys, mobilenet_weights):
    arguments = ["to-flax", f"local-dir:{mobilenet_weights}", "--output", str(tmp_path / "flax")]
    assert main([*arguments, "--architecture", "resnet18"]) == 2
    assert "says mobilenetv2_035; leave the option out" in capsys.readouterr().err
