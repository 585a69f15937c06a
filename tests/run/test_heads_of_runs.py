"""Heads in whole runs: a classifier without training, an MLP, several dropout masks."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
from command import here
from jax import numpy as jnp
from normalized_images import normalized_test_images

from convert.__main__ import main as convert
from sketch_jax.data.doodles import SUBJECTS, Doodles
from sketch_jax.data.records import Batch
from sketch_jax.losses.softmax import cross_entropy
from sketch_jax.models.architectures import create_model
from sketch_jax.predictions import load_predictions
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.train.state import create_state
from sketch_jax.train.step import make_train_step

CLASSES = list(SUBJECTS)[:10]
SIZE = 48
QUICKSTART = "configs/quickstart.py"


def run(root, directory, *options):
    sizes = f"--source.train-per-class 4 --source.test-per-class 2 --image-size {SIZE} --batch-size 8".split()
    choice = ["--source.classes", *CLASSES, "--split.fraction", "0.25", "--loading.workers", "0"]
    return here(str(root / QUICKSTART), "--output-dir", str(directory), *sizes, *choice, *options)


@pytest.fixture(scope="module")
def weights_of_1000_classes(tmp_path_factory):
    """A directory of weights in timm's layout, random in every tensor, and timm's model of them."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    from convert.randomize import randomize

    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=1000).eval()
    randomize(model, torch.randn(8, 3, SIZE, SIZE), torch.Generator().manual_seed(0))
    directory = tmp_path_factory.mktemp("weights")
    timm.models.save_for_hf(model, directory, safe_serialization=True)
    return directory, model


def test_ten_classes_start_from_rows_of_a_thousand_and_answer_as_timm_without_training(
    root, tmp_path, weights_of_1000_classes
):
    torch = pytest.importorskip("torch")
    directory, theirs = weights_of_1000_classes
    rows = dict(zip(CLASSES, np.random.default_rng(0).permutation(1000)[:10].tolist(), strict=True))
    (tmp_path / "rows.json").write_text(json.dumps({**rows, "a class of others": 3}))
    done = run(
        *(root, tmp_path / "run", "--epochs", "0", "--model.name", "None"),
        *("--model.pretrained", f"local-dir:{directory}", "--model.head.rows", str(tmp_path / "rows.json")),
    )
    assert done.returncode == 0, done.stderr
    assert "10 of 10 classes start from rows of the weights' classifier" in done.stdout
    assert "none: the start weights predict" in done.stdout
    predictions = load_predictions(tmp_path / "run" / "predictions" / "test.npz")
    source = Doodles(classes=tuple(CLASSES), test_per_class=2, train_per_class=4)
    images = normalized_test_images(tmp_path / "run", source)
    with torch.no_grad():
        expected = theirs(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    expected = expected[:, [rows[name] for name in CLASSES]]
    assert expected.std() > 0.3
    np.testing.assert_allclose(predictions.logits, expected, rtol=0, atol=1e-4)


def test_an_mlp_head_trains_is_started_again_and_says_why_timm_cannot_have_it(root, tmp_path, capsys):
    options = "--model.head.hidden 16 --model.head.dropout-samples 3 --model.dropout 0.5 --epochs 1".split()
    options += ["--model.name", "test_efficientnet", "--schedule.warmup-epochs", "0"]
    done = run(root, tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    predictions = load_predictions(tmp_path / "run" / "predictions" / "test.npz")
    assert predictions.logits.shape == (20, 10)
    again = run(root, tmp_path / "run", *options)
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(
        load_predictions(tmp_path / "run" / "predictions" / "test.npz").logits, predictions.logits
    )
    assert convert(["to-timm", str(tmp_path / "run"), "--output", str(tmp_path / "timm")]) == 2
    assert "its head has hidden layers, and timm's models end in one linear map" in capsys.readouterr().err


def test_rows_without_pretrained_weights_are_refused(root, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps({CLASSES[0]: 1}))
    done = run(root, tmp_path / "run", "--model.head.rows", str(tmp_path / "rows.json"))
    assert done.returncode == 2
    assert "--model.head.rows: there are no pretrained weights; set --model.pretrained, too" in done.stderr


def test_the_loss_of_several_dropout_masks_is_the_mean_over_them():
    arguments = {"embed_dim": 12, "depth": 1, "num_heads": 3}
    model = create_model(
        "vit_tiny_patch16_224", arguments=arguments, class_count=3, image_size=32, dropout=0.5
    )
    params, statistics = jax.jit(model.init)(jax.random.key(0))
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params
    )
    optimizer = optax.sgd(0.1)
    preprocessing = Preprocessing(image_size=32)
    targets = jax.nn.one_hot(jnp.asarray([0, 2, 1, 1]), 3)
    images = jnp.asarray(np.random.default_rng(0).random((4, 32, 32, 3)), jnp.float32)

    def losses(samples):
        train_step = make_train_step(
            model,
            preprocessing,
            lambda key, step, images, labels, mask, rows: (images, targets),
            optimizer,
            lambda step: 0.1,
            cross_entropy,
            samples,
        )
        state = create_state(params, statistics, optimizer)
        batch = Batch(images, None, jnp.ones(4, bool), None)

        @jax.jit
        def loss(step):
            return train_step(dataclasses.replace(state, step=step), {}, batch, jax.random.key(0))[1]["loss"]

        return [float(loss(step)) for step in range(24)]

    single, many = losses(1), losses(8)
    assert np.std(single) > 0.01
    assert np.std(many) < 0.6 * np.std(single)
    assert abs(np.mean(many) - np.mean(single)) < 3 * np.std(single) / 24**0.5
