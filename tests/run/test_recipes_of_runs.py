"""Optimizers and schedules in whole runs: what they do to the rate, and that a stopped run goes on alike."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from command import TINY, final_state, finish, here, metrics
from rich.console import Console

from sketch_jax.config import Config, read_config
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.options import Loading
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.splits import HoldOut
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.optimizer import predicting_params
from sketch_jax.optim.options import Muon, Sam
from sketch_jax.optim.schedule_options import OneCycle, Plateau, Step, WarmupCosine
from sketch_jax.predictions import load_predictions
from sketch_jax.run.setting import prepare
from sketch_jax.run.texts import rate_text
from sketch_jax.run.trained_model import load_trained
from sketch_jax.train.checkpoint_arrays import read_leaves
from sketch_jax.train.step import make_predict_step
from sketch_jax.trees import flatten

FILE = """
from sketch_jax.config import Config
from sketch_jax.optim.options import *
from sketch_jax.optim.schedule_options import *
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import *

def get_config():
    return Config(name="recipe", {fields})
"""


def run(directory, fields, *options, command=here):
    """Runs the command with a configuration of these fields, shrunken; writes to `directory / run`."""
    file = directory / "recipe.py"
    file.write_text(FILE.format(fields=fields))
    small = [*TINY, "--model.name", "test_vit", "--checkpointing.keep-last", "99"]
    return command(str(file), *small, "--output-dir", str(directory / "run"), *options)


def arrays(directory, step):
    return read_leaves(directory / "run" / "checkpoints" / str(step), ["trainable/", "opt_state/"])


FALLING = "schedule=Plateau(metric='loss', patience=0, factor=0.5, threshold=0.99)"
"""Falls after each epoch but the first: no loss is a hundredth of the best."""


def test_a_plateau_lowers_the_rate_and_a_run_that_was_stopped_within_an_epoch_ends_bit_equal(tmp_path):
    fields = f"optimizer=Sam(base=ScheduleFreeAdamW(learning_rate=4e-3)), {FALLING}"
    options = ["--epochs", "3", "--checkpointing.every-steps", "3"]
    done = run(tmp_path, fields, *options)
    assert done.returncode == 0, done.stderr
    assert "0.004 at first, times 0.5 where loss stands still" in done.stdout
    lines = [line for line in metrics(tmp_path / "run") if "train/loss" in line]
    rates = {line["step"]: line["train/learning_rate"] for line in lines}
    assert [rates[step] for step in (4, 6, 8, 9, 12)] == pytest.approx([4e-3, 4e-3, 4e-3, 2e-3, 2e-3])
    expected = arrays(tmp_path, 12)
    assert expected["opt_state/rate_factor"] == 0.25
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "12")
    shutil.rmtree(tmp_path / "run" / "predictions")
    again = run(tmp_path, fields, *options, command=finish)
    assert "going on from the checkpoint of step 9" in again.stdout, again.stderr
    found = arrays(tmp_path, 12)
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_schedule_free_training_predicts_with_the_mean_of_its_weights(tmp_path):
    fields = "optimizer=ScheduleFreeAdamW(learning_rate=4e-3), schedule=Constant()"
    done = run(tmp_path, fields, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    config = read_config(tmp_path / "run" / "config.json")
    state, setting = final_state(tmp_path / "run"), prepare(config, Console(quiet=True))
    dataset, start = setting.data.dataset, setting.start
    rows = np.arange(len(dataset.test))
    images = next(iter(evaluation_batches(dataset.test, rows, start.preprocessing, batch_size=12))).images
    predict = jax.jit(make_predict_step(start.model, start.preprocessing))
    mean = predicting_params(config.optimizer, state.trainable, state.opt_state)
    expected = predict(mean, state.statistics, images)
    found = load_predictions(tmp_path / "run" / "predictions" / "test.npz").logits
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.abs(found - predict(state.trainable, state.statistics, images)).max() > 1e-2
    exported = flatten(load_trained(tmp_path / "run").params)
    for path, leaf in flatten(mean).items():
        np.testing.assert_allclose(exported[path], leaf, rtol=0, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("tuning", ["Lora()", "HeadOnly()"])
def test_the_mean_of_schedule_free_training_is_read_whatever_was_trained_at_whatever_rates(tmp_path, tuning):
    fields = (
        f"optimizer=ScheduleFreeAdamW(learning_rate=4e-2), schedule=Constant(), tuning={tuning}, "
        "rates=Rates(layer_decay=0.7), model=ModelOptions(name='test_vit', scan_blocks=True)"
    )
    done = run(tmp_path, fields, "--epochs", "1", "--model.scan-blocks", "True")
    assert done.returncode == 0, done.stderr
    config = read_config(tmp_path / "run" / "config.json")
    single = dataclasses.replace(config, model=dataclasses.replace(config.model, scan_blocks=False))
    setting = prepare(single, Console(quiet=True))
    test, start = setting.data.dataset.test, setting.start
    (batch,) = evaluation_batches(test, np.arange(len(test)), start.preprocessing, batch_size=12)
    trained = load_trained(tmp_path / "run")
    predict = jax.jit(make_predict_step(start.model, start.preprocessing))
    ours = predict(trained.params, trained.statistics, batch.images)
    found = load_predictions(tmp_path / "run" / "predictions" / "test.npz").logits
    np.testing.assert_allclose(ours, found, rtol=0, atol=1e-4)
    assert np.abs(ours - predict(start.params, start.statistics, batch.images)).max() > 1e-2


def config(directory, **changes):
    return Config(
        name="recipe",
        output_dir=str(directory),
        epochs=3,
        batch_size=8,
        image_size=32,
        source=Doodles(classes=("cat", "fish", "house", "star"), train_per_class=10, test_per_class=3),
        split=HoldOut(fraction=0.2),
        model=ModelOptions(name="test_vit"),
        loading=Loading(workers=0),
        **changes,
    )


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ({"schedule": Plateau()}, "0.001 at first, times 0.1 where accuracy stands still"),
        ({"schedule": WarmupCosine()}, "1e-06 at first, 0.001 after 1 epoch, 0 at the end"),
        ({"schedule": Step(every_epochs=1.0)}, "0.001 at first, 1e-05 at the end"),
        (
            {"schedule": Step(warmup_epochs=None, warmup_steps=3)},
            "1e-06 at first, 0.001 after 0.75 epochs, 0.001 at the end",
        ),
        ({"schedule": OneCycle()}, "4e-05 at first, 0.001 after 0.75 epochs, 4e-09 at the end"),
        ({"optimizer": Sam(base=Muon(learning_rate=0.5))}, "1e-06 at first, 0.5 after 1 epoch, 0 at the end"),
    ],
)
def test_a_run_says_how_its_rate_begins_peaks_and_ends(tmp_path, recipe, text):
    assert rate_text(prepare(config(tmp_path, **recipe), Console(quiet=True))) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--schedule.metric", "acuracy"],
            "invalid choice 'acuracy' for argu",
        ),
        (
            ["--split.fraction", "0"],
            "nothing is held out to measure on (1):\n  --schedule.metric loss\nhold images out, or leave the "
            "selection as it is and take a schedule of another kind",
        ),
    ],
)
def test_a_plateau_of_a_metric_that_is_not_measured_is_refused(tmp_path, options, message):
    done = run(tmp_path, FALLING, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()
