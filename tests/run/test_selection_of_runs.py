"""Which checkpoint of a run is the best, and runs that end early."""

import shutil

import pytest
from command import card, metrics, tiny, tiny_process

from sketch_jax.config import Config
from sketch_jax.errors import InputError
from sketch_jax.run.trained_model import load_trained
from sketch_jax.train.early_stopping import Patience, heed
from sketch_jax.train.options import Selection, Swa

STANDING = (
    "--model.name test_vit --epochs 9 --optimizer.learning-rate 1e-12 --selection.patience 2 "
    "--checkpointing.keep-last 9"
).split()
"""A model without running statistics stands still, so nothing betters after its first epoch of four steps."""


def last_step(directory):
    return max(line["step"] for line in metrics(directory))


def test_a_run_ends_once_its_metric_has_not_bettered_and_goes_on_with_what_it_knew(tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = tiny(straight, *STANDING)
    assert done.returncode == 0, done.stderr
    assert "ends early once accuracy has not bettered for 2 epochs" in done.stdout
    assert "training ends early: accuracy has not bettered 0." in done.stdout
    assert last_step(straight) == 12
    assert card(straight)["ended_early"] is True
    assert (straight / "predictions" / "test.npz").is_file()

    shutil.copytree(straight, broken)
    shutil.rmtree(broken / "checkpoints" / "12")
    for directory, begins in ((broken, 8), (straight, 12)):
        done = tiny_process(directory, *STANDING)
        assert done.returncode == 0, done.stderr
        assert f"going on from the checkpoint of step {begins}" in done.stdout
        assert "training ends early" in done.stdout
        assert last_step(directory) == 12
    assert metrics(broken) == metrics(straight)


def test_the_best_checkpoint_by_loss_is_the_one_with_the_lowest(tmp_path):
    options = ["--epochs", "4", "--selection.metric", "loss", "--optimizer.learning-rate", "0.03"]
    done = tiny(tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "the best step by loss" in done.stdout
    losses = {line["step"]: line["val/loss"] for line in metrics(tmp_path / "run") if line.get("val/loss")}
    del losses[0]
    best = min(losses, key=losses.__getitem__)
    assert card(tmp_path / "run")["best"] == {"step": best, "val/loss": losses[best]}
    assert load_trained(tmp_path / "run").origin.endswith(f"checkpoints/{best}")


def test_recalls_of_all_classes_are_on_the_card_and_the_hardest_are_named(tmp_path):
    done = tiny(tmp_path / "run", "--epochs", "0", "--selection.metric", "macro_f1")
    assert done.returncode == 0, done.stderr
    recalls = card(tmp_path / "run")["per_class_recall"]
    assert set(recalls["val"]) == set(recalls["test"]) == {"cat", "fish", "house", "star"}
    accuracy = card(tmp_path / "run")["final_metrics"]["test/accuracy"]
    assert sum(recalls["test"].values()) / 4 == pytest.approx(accuracy)  # three images of each class
    worst = min(recalls["val"], key=lambda name: (recalls["val"][name], name))
    assert f"hardest, by held-out recall: {worst} {recalls['val'][worst]:.2f}" in done.stdout


def test_a_metric_that_is_no_number_does_not_better_and_a_gain_below_the_least_does_not_count():
    options = Selection(patience=3, least_gain=0.01)
    known = Patience()
    for metric, bad_epochs in ((float("nan"), 1), (0.5, 0), (0.505, 1), (float("nan"), 2), (0.52, 0)):
        known = heed(options, known, metric)
        assert known.bad_epochs == bad_epochs
    assert known.best == 0.52


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patience": 0}, "--selection.patience 0: must be at least 1"),
        ({"least_gain": 0.1}, "--selection.least-gain 0.1: has no meaning without a patience"),
        ({"patience": 1, "least_gain": -0.1}, "--selection.least-gain -0.1: must be at least 0"),
    ],
)
def test_numbers_that_end_no_training_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Selection(**values)


def test_a_mean_over_the_last_epochs_allows_no_early_end():
    with pytest.raises(InputError, match=r"--selection.patience 2: the mean over the last epochs needs all"):
        Config(name="x", averaging=Swa(first_epoch=1), selection=Selection(patience=2))


@pytest.mark.parametrize(("option", "value"), [("patience", "3"), ("metric", "loss")])
def test_selection_where_nothing_is_held_out_is_refused(tmp_path, option, value):
    done = tiny(tmp_path / "run", "--split.fraction", "0", f"--selection.{option}", value)
    assert done.returncode == 2
    assert f"nothing is held out to measure on (1):\n  --selection.{option} {value}\n" in done.stderr
    assert not (tmp_path / "run").exists()
