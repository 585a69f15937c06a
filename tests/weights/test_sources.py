import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sketch_jax.errors import InputError
from sketch_jax.weights.export import write_flax_directory
from sketch_jax.weights.names import to_flax
from sketch_jax.weights.sources import open_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "conv.0.weight": generator.standard_normal((4, 3, 2, 2), np.float32),
        "fc.weight": generator.standard_normal((2, 4), np.float32),
        "fc.bias": generator.standard_normal(2, np.float32),
        "bn.weight": generator.standard_normal(4, np.float32),
        "bn.running_mean": generator.standard_normal(4, np.float32),
    }


def assert_holds(weights, expected):
    assert set(weights.tensors) == set(expected)
    for name, tensor in expected.items():
        assert weights.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(weights.tensors[name], tensor)


def write_directory(directory: Path, config: dict | None = None, seed: int = 0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors(seed), directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config or {}))
    return directory


def write_shards(directory: Path) -> Path:
    directory.mkdir(parents=True)
    names = sorted(tensors())
    weight_map = {name: f"model-{1 + index % 2:05}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: tensors()[name] for name in names if weight_map[name] == file}, directory / file)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )
    return directory


def write_hub_cache(cache: Path, owner: str = "timm", name: str = "tiny.test") -> Path:
    """A cache as huggingface_hub leaves it after a download of the main branch."""
    repository = cache / f"models--{owner}--{name}"
    write_directory(repository / "snapshots" / COMMIT, {"architecture": "tiny"})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return cache


@pytest.mark.parametrize("prefix", ["local-dir:", ""])
def test_a_directory_in_timms_layout_is_opened(tmp_path, prefix):
    directory = write_directory(tmp_path / "weights", {"architecture": "tiny"})
    weights = open_weights(f"{prefix}{directory}")
    assert_holds(weights, tensors())
    assert weights.config == {"architecture": "tiny"}
    assert weights.origin == f"local-dir:{directory}"


def test_shards_are_read_as_one(tmp_path):
    assert_holds(open_weights(f"local-dir:{write_shards(tmp_path / 'weights')}"), tensors())


def test_a_missing_shard_is_named(tmp_path):
    directory = write_shards(tmp_path / "weights")
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"model-00002-of-00002\.safetensors: no such file, and .*index\.json names it"
    ):
        open_weights(f"local-dir:{directory}")


def test_an_index_without_shards_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(
        InputError, match="has no weight_map that names the shards; download or copy it again"
    ):
        open_weights(f"local-dir:{tmp_path}")


def test_a_directory_without_a_config_is_refused(tmp_path):
    directory = write_directory(tmp_path / "weights")
    (directory / "config.json").unlink()
    with pytest.raises(
        InputError, match=r"weights: has no config\.json, which says the architecture and how"
    ):
        open_weights(f"local-dir:{directory}")
    assert_holds(open_weights(str(directory / "model.safetensors")), tensors())


def test_the_directory_of_a_run_is_refused_with_the_command_that_exports_it(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(
        InputError, match=rf"is a run; export its model by `python -m convert to-timm {tmp_path}"
    ):
        open_weights(f"local-dir:{tmp_path / 'run'}")


@pytest.mark.parametrize("source", ["", "local-dir:", "hf-hub:"])
def test_a_source_without_a_name_is_refused(source):
    with pytest.raises(InputError, match=f"'{source}' names no weights; write a name or a path, or None"):
        open_weights(source)


def test_a_single_file_is_opened_with_the_config_of_its_directory(tmp_path):
    directory = write_directory(tmp_path / "weights", {"architecture": "tiny"})
    weights = open_weights(str(directory / "model.safetensors"))
    assert_holds(weights, tensors())
    assert weights.config == {"architecture": "tiny"}


def test_a_single_file_of_another_name_takes_no_config_from_its_directory(tmp_path):
    directory = write_directory(tmp_path / "weights", {"architecture": "tiny"})
    (directory / "model.safetensors").rename(directory / "other.safetensors")
    assert open_weights(str(directory / "other.safetensors")).config == {}


@pytest.mark.parametrize(
    ("address", "revision"),
    [
        ("https://huggingface.co/timm/resnet18.a1_in1k", ""),
        ("http://www.hf.co/timm/resnet18.a1_in1k/tree/main", "@main"),
        ("https://huggingface.co/timm/resnet18.a1_in1k/blob/491b427/model.safetensors", "@491b427"),
        ("hf_hub:timm/resnet18.a1_in1k@491b427", "@491b427"),
        ("hf://timm/resnet18.a1_in1k", ""),
    ],
)
def test_an_address_of_the_hub_is_refused_with_the_name_to_write(address, revision):
    with pytest.raises(InputError) as caught:
        open_weights(address)
    assert str(caught.value).endswith(f"is no name of weights here; write timm/resnet18.a1_in1k{revision}")


def test_a_directory_of_our_own_layout_gives_timms_names_and_layout(tmp_path):
    write_flax_directory(tmp_path / "ours", *to_flax(tensors()), {"architecture": "tiny"})
    weights = open_weights(f"local-dir:{tmp_path / 'ours'}")
    assert_holds(weights, tensors())
    assert weights.config == {"architecture": "tiny"}


@pytest.mark.parametrize("source", ["timm/tiny.test", "hf-hub:timm/tiny.test", f"timm/tiny.test@{COMMIT}"])
def test_a_cached_hub_name_needs_no_network(tmp_path, source):
    weights = open_weights(source, write_hub_cache(tmp_path / "cache"))
    assert_holds(weights, tensors())
    assert weights.config == {"architecture": "tiny"}
    assert weights.origin == f"timm/tiny.test@{COMMIT}"


def test_a_hub_name_that_is_not_cached_says_what_to_do_offline(tmp_path):
    code = (
        "import sys\n"
        "from sketch_jax.errors import InputError\n"
        "from sketch_jax.weights.sources import open_weights\n"
        "try: open_weights('timm/resnet18.a1_in1k')\n"
        "except InputError as error: sys.exit(str(error))"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith(
        "timm/resnet18.a1_in1k: model.safetensors is not cached here and the hub cannot be reached"
    )
    assert "hf download timm/resnet18.a1_in1k" in result.stderr
    assert "local-dir:DIRECTORY" in result.stderr
    assert "Traceback" not in result.stderr


class Bomb:
    """Pickles to a call that would leave a trace if it were unpickled."""

    def __init__(self, trace: str):
        self.trace = trace

    def __reduce__(self):
        return (open, (self.trace, "w"))


@pytest.mark.parametrize("source", ["timm/tiny.pt", "hf-hub:timm/tiny.pt"])
def test_a_tag_of_the_hub_may_end_like_a_pickle(tmp_path, source):
    write_hub_cache(tmp_path, name="tiny.pt")
    assert_holds(open_weights(source, tmp_path), tensors())


def test_a_relative_path_that_leads_nowhere_is_no_hub_name():
    with pytest.raises(InputError, match=r"'\.\./nowhere' names no weights: write a hub name"):
        open_weights("../nowhere")


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "x.pt", "x.pkl", "model.safetensors"])
@pytest.mark.parametrize("as_directory", [False, True])
def test_a_pickle_is_refused_and_never_unpickled(tmp_path, name, as_directory):
    trace = tmp_path / "trace"
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / name
    path.write_bytes(pickle.dumps(Bomb(str(trace))))
    with pytest.raises(InputError) as raised:
        open_weights(f"local-dir:{path.parent}" if as_directory else str(path))
    assert not trace.exists()
    message = str(raised.value)
    assert message.startswith(
        f"{path}: a run reads safetensors only: a pickled checkpoint can execute any code"
    )
    assert "python -m convert to-flax FILE --output DIR" in message
    assert "pip install -c constraints.txt -e '.[timm]'" in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("local-dir:{tmp}/none", "{tmp}/none: no such directory; local-dir: wants one with config.json"),
        ("local-dir:{tmp}", "{tmp}: has no model.safetensors; local-dir: wants"),
        ("{tmp}/none.safetensors", "{tmp}/none.safetensors: no such file"),
        ("resnet18", "'resnet18' names no weights: write a hub name (timm/resnet18.a1_in1k), local-dir:"),
        ("hf-hub:a/b/c", "a/b/c: model.safetensors cannot be had from the hub"),
    ],
)
def test_a_source_that_leads_nowhere_says_so(tmp_path, source, message):
    with pytest.raises(InputError) as raised:
        open_weights(source.format(tmp=tmp_path))
    assert message.format(tmp=tmp_path) in str(raised.value)


def test_a_damaged_config_is_named(tmp_path):
    directory = write_directory(tmp_path / "weights")
    (directory / "config.json").write_text('{"architecture": ')
    with pytest.raises(
        InputError, match=r"config\.json: not a readable JSON file .*; download or copy it again"
    ):
        open_weights(f"local-dir:{directory}")
    (directory / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: must hold a JSON object, not list"):
        open_weights(f"local-dir:{directory}")


def test_weights_without_tensors_are_refused(tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="holds no tensors; download or copy it again"):
        open_weights(f"local-dir:{tmp_path}")


def test_the_fingerprint_tells_weights_apart_and_not_places(tmp_path):
    first = open_weights(str(write_directory(tmp_path / "a"))).fingerprint
    same = open_weights(str(write_directory(tmp_path / "b"))).fingerprint
    other = open_weights(str(write_directory(tmp_path / "c", seed=1))).fingerprint
    assert first == same != other
    assert len(first) == 64


def test_real_weights_are_read_as_timm_reads_them(mobilenet_weights):
    timm = pytest.importorskip("timm")
    model = timm.create_model(f"local-dir:{mobilenet_weights}", pretrained=True)
    weights = open_weights(f"local-dir:{mobilenet_weights}")
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert set(weights.tensors) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(weights.tensors[name], tensor, err_msg=name)
