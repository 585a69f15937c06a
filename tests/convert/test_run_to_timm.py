import json

import jax
import numpy as np
import optax
import pytest

from convert.__main__ import main
from sketch_jax.models.architectures import create_model
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.serialization import to_json
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.state import create_state
from sketch_jax.weights.sources import open_weights

CLASS_NAMES = ["cat", "dog", "owl"]
RUNS = {
    "test_efficientnet": (48, {"pad_type": "same", "bn_eps": 1e-3}),
    "vit_tiny_patch16_224": (64, {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 224}),
}


def disturb(tree, seed):
    """Values away from where a new model has them, every leaf; variances stay positive."""
    generator = np.random.default_rng(seed)

    def noisy(path, leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "var":
            return leaf + abs(noise)
        scale = 1.4 * (leaf.size / leaf.shape[-1]) ** -0.5 if path[-1].key == "kernel" else 0.1
        return leaf + scale * noise

    return jax.device_put(jax.tree_util.tree_map_with_path(noisy, jax.device_get(tree)))


def write_run(directory, name, metrics=(0.5, 0.9, 0.7)):
    """A run with a checkpoint for each metric, of different values; returns the model and its best values."""
    size, arguments = RUNS[name]
    model = create_model(name, arguments=arguments, class_count=len(CLASS_NAMES), image_size=size)
    preprocessing = Preprocessing(
        image_size=size, mean=(0.5, 0.4, 0.3), crop_mode="center", crop_fraction=0.9
    )
    record = {
        "model": {"name": name, "arguments": arguments},
        "class_names": CLASS_NAMES,
        "preprocessing": to_json(preprocessing),
    }
    values, init = [], jax.jit(model.init)
    with Checkpoints(directory / "checkpoints", report=print, keep_last=3, record=record) as checkpoints:
        for step, metric in enumerate(metrics):
            params, statistics = disturb(init(jax.random.key(step)), step)
            values.append((params, statistics))
            checkpoints.save(step, create_state(params, statistics, optax.adamw(1e-3)), metric=metric)
    return model, values[int(np.argmax(metrics))]


@pytest.mark.parametrize("name", RUNS)
def test_the_best_checkpoint_answers_in_timm_with_the_same_logits(tmp_path, name, capsys):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    model, (params, statistics) = write_run(tmp_path / "run", name)
    assert main(["to-timm", str(tmp_path / "run"), "--output", str(tmp_path / "run" / "timm")]) == 0
    assert capsys.readouterr().out.endswith(f"{name} from {tmp_path / 'run' / 'checkpoints' / '1'}\n")

    images = np.random.default_rng(0).standard_normal((2, model.image_size, model.image_size, 3), np.float32)

    @jax.jit
    def answer(images):
        features, _ = model.read_features(params, statistics, images, None, False)
        return model.head(params, features, None, False)

    ours = np.asarray(answer(images))
    exported = timm.create_model(f"local-dir:{tmp_path / 'run' / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        theirs = exported(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert 0.03 < np.abs(theirs[0] - theirs[1]).mean() < 20, "answers must depend on the images"
    assert np.abs(ours - theirs).max() < 1e-4
    data = timm.data.resolve_model_data_config(exported)
    assert list(data["input_size"]) == [3, model.image_size, model.image_size]
    assert (data["mean"], data["crop_pct"], data["crop_mode"]) == ([0.5, 0.4, 0.3], 0.9, "center")
    config = json.loads((tmp_path / "run" / "timm" / "config.json").read_text())
    assert config["label_names"] == CLASS_NAMES


def test_an_exported_run_is_a_source_of_weights_again(tmp_path):
    write_run(tmp_path / "run", "test_efficientnet", metrics=(0.1,))
    assert main(["to-timm", str(tmp_path / "run"), "--output", str(tmp_path / "timm")]) == 0
    weights = open_weights(f"local-dir:{tmp_path / 'timm'}")
    assert weights.config["model_args"] == RUNS["test_efficientnet"][1]
    assert "classifier.weight" in weights.tensors


def test_a_run_that_is_not_there_or_has_saved_nothing_is_refused(tmp_path, capsys):
    absent, failed = tmp_path / "absent", tmp_path / "failed"
    failed.mkdir()
    (failed / "run.json").write_text("{}")
    for source, fault in (
        (absent, "no such directory; name a run's"),
        (failed, "this run has no checkpoint yet"),
    ):
        assert main(["to-timm", str(source), "--output", str(tmp_path / "timm")]) == 2
        assert capsys.readouterr().err.startswith(f"error: {source}: {fault}")


def test_a_run_without_a_finished_checkpoint_is_refused(tmp_path, capsys):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert main(["to-timm", str(tmp_path / "run"), "--output", str(tmp_path / "timm")]) == 2
    expected = f"error: {tmp_path / 'run' / 'checkpoints'}: has no finished checkpoint; let the run reach"
    assert capsys.readouterr().err.startswith(expected)
    assert not (tmp_path / "timm").exists()
