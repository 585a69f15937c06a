import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.weights.export import new_directory, write_flax_directory, write_timm_directory
from sketch_jax.weights.names import to_flax, to_timm
from sketch_jax.weights.sources import open_weights
from sketch_jax.weights.timm_config import timm_config

PARAMS = {"fc": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2), "bias": np.ones(2, np.float32)}}


@pytest.mark.parametrize(
    ("name", "classifier", "size", "arguments"),
    [
        ("resnet18", "fc", 48, {}),
        ("mobilenetv2_035", "classifier", 48, {"pad_type": "same", "bn_eps": 1e-3}),
        ("vit_tiny_patch16_224", "head", 64, {"depth": 2}),
    ],
)
def test_timm_answers_from_the_directory_with_the_same_logits(tmp_path, name, classifier, size, arguments):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    resized = {"img_size": size} if name.startswith("vit") else {}
    model = timm.create_model(name, num_classes=3, **resized, **arguments).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) * 0.1 + 0.01)
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    config = timm_config(
        architecture=name,
        model_arguments=arguments,
        class_count=3,
        class_names=("a", "b", "c"),
        classifiers=(classifier,),
        feature_width=model.num_features,
        preprocessing=Preprocessing(image_size=size, mean=(0.5, 0.5, 0.5)),
        fixed_image_size="pos_embed" in state,
    )
    write_timm_directory(tmp_path / "out", *to_flax(state), config)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert timm.data.resolve_model_data_config(loaded)["mean"] == [0.5, 0.5, 0.5]
    assert list(timm.data.resolve_model_data_config(loaded)["input_size"]) == [3, size, size]


def test_both_layouts_hold_the_same_tensors(tmp_path):
    statistics = {"bn_0": {"mean": np.ones(3, np.float32), "var": np.full(3, 2.0, np.float32)}}
    write_timm_directory(tmp_path / "timm", PARAMS, statistics, {})
    write_flax_directory(tmp_path / "flax", PARAMS, statistics, {})
    timm, ours = (open_weights(str(tmp_path / kind)).tensors for kind in ("timm", "flax"))
    assert set(timm) == {*ours, "bn.0.num_batches_tracked"}
    for name in ours:
        np.testing.assert_array_equal(ours[name], timm[name])
        np.testing.assert_array_equal(ours[name], to_timm(PARAMS, statistics)[name])


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="out: already holds something; name a directory that is new"):
        write_timm_directory(tmp_path / "out", PARAMS, {}, {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match=r"mine\.txt: already holds something"):
        write_timm_directory(tmp_path / "out" / "mine.txt", PARAMS, {}, {})


def test_an_empty_directory_is_filled_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    write_timm_directory(tmp_path / "empty", PARAMS, {}, {})
    write_timm_directory(tmp_path / "a" / "b", PARAMS, {}, {})
    for directory in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert sorted(os.listdir(directory)) == ["config.json", "model.safetensors"]


def test_what_another_process_is_writing_at_the_same_place_is_left_alone(tmp_path):
    with new_directory(tmp_path / "out") as first:
        (first / "a").write_text("first")
        with new_directory(tmp_path / "out") as second:
            (second / "a").write_text("second")
        assert (first / "a").read_text() == "first"
        (tmp_path / "out" / "a").unlink()
    assert (tmp_path / "out" / "a").read_text() == "first"


def test_nothing_is_left_when_the_writing_fails(tmp_path):
    def write_half():
        with new_directory(tmp_path / "out") as partial:
            (partial / "file").write_text("half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert list(tmp_path.iterdir()) == []


FILL = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from sketch_jax.errors import InputError
    from sketch_jax.weights.export import write_timm_directory

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write_timm_directory(Path(sys.argv[1]), {"fc": {"kernel": np.ones((300, 300), np.float32)}}, {}, {})
    except InputError as error:
        sys.exit(str(error))
"""


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILL), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"{tmp_path / 'out'}: cannot be written: File too large (")
    assert list(tmp_path.iterdir()) == []
