"""Cross-validation: the runs of all folds, and what is gathered of them."""

import csv
import dataclasses
import io
import json
import re
import shutil

import numpy as np
import pytest
from command import card, images_in, tiny
from rich.console import Console
from tuned_runs import TINY

from sketch_jax.config import Config
from sketch_jax.data.csv_table import Csv
from sketch_jax.errors import InputError
from sketch_jax.flows.folds import config_of_fold, run_folds
from sketch_jax.metrics import log_softmax, summarise
from sketch_jax.predictions import load_predictions

CROSS = dataclasses.replace(TINY, folds=2, split=dataclasses.replace(TINY.split, fraction=0.1))


def validate(directory, **changes) -> str:
    console = Console(file=io.StringIO(), record=True, width=200)
    result = run_folds(dataclasses.replace(CROSS, output_dir=str(directory), **changes), console)
    assert result.exit_code == 0
    return console.export_text()


def predictions(directory, name):
    return load_predictions(directory / "predictions" / f"{name}.npz")


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("folds") / "run"
    return directory, validate(directory)


def split_of(directory):
    with open(directory / "split.csv", newline="") as file:
        return {row["id"]: int(row["fold"]) for row in csv.DictReader(file)}


def test_each_image_is_predicted_by_the_model_that_did_not_train_on_it(validated):
    directory, _ = validated
    out_of_fold = predictions(directory, "oof")
    split = split_of(directory / "fold0")
    assert split == split_of(directory / "fold1")
    assert list(out_of_fold.ids) == list(split)
    assert len(split) == 40
    for fold in range(2):
        held_out = predictions(directory / f"fold{fold}", "validation")
        assert {split[image] for image in held_out.ids} == {fold}
        rows = [out_of_fold.ids.index(image) for image in held_out.ids]
        np.testing.assert_array_equal(out_of_fold.logits[rows], held_out.logits)
        np.testing.assert_array_equal(out_of_fold.labels[rows], held_out.labels)


def test_the_test_set_is_predicted_by_each_model_and_by_the_mean_of_their_probabilities(validated):
    directory, _ = validated
    members = [predictions(directory, f"test_fold{fold}") for fold in range(2)]
    for fold, member in enumerate(members):
        np.testing.assert_array_equal(member.logits, predictions(directory / f"fold{fold}", "test").logits)
    mean = np.mean([np.exp(log_softmax(member.logits)) for member in members], axis=0)
    np.testing.assert_allclose(np.exp(predictions(directory, "test").logits), mean, rtol=1e-5)
    assert np.abs(members[0].logits - members[1].logits).max() > 0.01


def test_the_summary_has_the_mean_and_the_deviation_over_the_folds(validated):
    directory, text = validated
    facts = card(directory)
    losses = [card(directory / f"fold{fold}")["final_metrics"]["val/loss"] for fold in range(2)]
    assert facts["status"] == "finished"
    assert facts["mean"]["val/loss"] == pytest.approx(np.mean(losses))
    assert facts["deviation"]["val/loss"] == pytest.approx(np.std(losses, ddof=1))
    out_of_fold = predictions(directory, "oof")
    expected = summarise(out_of_fold.logits, out_of_fold.labels)
    assert facts["final_metrics"]["oof/accuracy"] == expected["accuracy"]
    assert "fold1: model 2 of 2" in text
    assert re.search(rf"\nmean +{facts['mean']['val/accuracy']:.4f} ", text)
    assert f"out of fold: accuracy {expected['accuracy']:.4f}" in text


def test_a_run_that_was_stopped_goes_on_with_the_folds_that_are_left(validated, tmp_path):
    directory = shutil.copytree(validated[0], tmp_path / "run")
    for name in ("fold1", "predictions"):
        shutil.rmtree(directory / name)
    config = json.loads((directory / "fold0" / "config.json").read_text())
    (directory / "fold0" / "config.json").write_text(
        json.dumps(config | {"output_dir": str(directory / "fold0")})
    )
    text = validate(directory)
    assert text.count("finished already") == 1
    for name in ("oof", "test"):
        np.testing.assert_array_equal(
            predictions(directory, name).logits, predictions(validated[0], name).logits
        )


def test_another_configuration_is_refused_once_a_fold_has_a_checkpoint(validated):
    with pytest.raises(InputError, match="begun with another configuration"):
        validate(validated[0], epochs=3)


def test_repetitions_have_seeds_and_folds_of_their_own(tmp_path):
    validate(tmp_path / "run", repeats=2)
    directory = tmp_path / "run"
    splits = [split_of(directory / f"seed{repeat}_fold0") for repeat in range(2)]
    assert splits[0] != splits[1]
    out_of_fold = predictions(directory, "oof")
    image = out_of_fold.ids[7]
    both = []
    for repeat in range(2):
        held_out = predictions(directory / f"seed{repeat}_fold{splits[repeat][image]}", "validation")
        both.append(np.exp(log_softmax(held_out.logits[[held_out.ids.index(image)]])))
    np.testing.assert_allclose(np.exp(out_of_fold.logits[7]), np.mean(both, axis=0)[0], rtol=1e-5)


def test_a_fold_is_an_ordinary_run():
    config = config_of_fold(dataclasses.replace(CROSS, seed=5, repeats=3), 2, 1)
    assert (config.folds, config.repeats, config.seed) == (None, 1, 7)
    assert (config.split.count, config.split.fold, config.split.seed) == (2, 1, None)
    assert config.output_dir == "runs/tiny/seed2_fold1"


def test_a_submission_of_the_mean_of_all_folds_is_written(tmp_path):
    root = tmp_path / "data"
    for name in ("cat", "dog"):
        images_in(root / "train" / name, 8)
    images_in(root / "test", 5)
    rows = [f"{name}/{index}.png,{name}" for name in ("cat", "dog") for index in range(8)]
    (root / "train.csv").write_text("\n".join(["image_path,target", *rows]) + "\n")
    tests = [f"{index}.png" for index in range(5)]
    (root / "test.csv").write_text("\n".join(["image_path", *tests]) + "\n")
    sample = [f"{index},{test},cat" for index, test in enumerate(tests)]
    (root / "sample_submission.csv").write_text("\n".join(["ID,image_path,target", *sample]) + "\n")
    source = Csv(root=str(root), label_column="target", class_name_column=None)
    validate(tmp_path / "run", source=source, batch_size=4)
    lines = (tmp_path / "run" / "submission.csv").read_text().splitlines()
    assert lines[0] == "ID,image_path,target"
    answers = predictions(tmp_path / "run", "test").logits.argmax(axis=1)
    assert lines[1:] == [f"{row},{row}.png,{('cat', 'dog')[answer]}" for row, answer in enumerate(answers)]


def test_the_command_line_trains_the_folds(tmp_path):
    done = tiny(tmp_path / "run", "--folds", "2", "--epochs", "0")
    assert done.returncode == 0, done.stderr
    assert "out of fold: accuracy" in done.stdout
    assert (tmp_path / "run" / "predictions" / "oof.npz").is_file()


def test_training_on_everything_holds_nothing_out(tmp_path):
    done = tiny(tmp_path / "run", "--train-on-all", "True", "--epochs", "1", "--schedule.warmup-epochs", "0")
    assert done.returncode == 0, done.stderr
    assert set(split_of(tmp_path / "run").values()) == {-1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds": 1}, "--folds 1: must be at least 2"),
        ({"repeats": 2}, "--repeats 2: repeats cross-validation; set --folds, too"),
        ({"folds": 3, "train_on_all": True}, "--train-on-all True: --folds 3 holds each fold out in turn"),
    ],
)
def test_folds_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Config(name="x", **fields)
