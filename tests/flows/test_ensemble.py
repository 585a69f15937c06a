"""Ensembles of what finished runs left on disk, by the command that users call."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, images_in

from scripts import run_script, summary
from sketch_jax.config import Config, config_to_json
from sketch_jax.data.csv_table import Csv
from sketch_jax.ensemble.votes import probabilities, vote
from sketch_jax.predictions import Predictions, load_predictions, save_predictions

CLASSES = tuple("abc")
HELD_OUT = np.random.default_rng(0).integers(0, 3, 90).astype(np.int32)
TEST = np.random.default_rng(1).integers(0, 3, 12).astype(np.int32)
SCRIPT = ROOT / "scripts" / "ensemble.py"


def main(*arguments: object) -> int:
    return run_script("ensemble", *arguments)


def predictions(part: str, labels, seed: int, skill: float = 1.0) -> Predictions:
    noise = np.random.default_rng(seed).normal(size=(len(labels), 3))
    logits = (noise + skill * np.eye(3)[labels]).astype(np.float32)
    ids = tuple(f"{part}/{row}.png" for row in range(len(labels)))
    return Predictions(ids=ids, logits=logits, labels=labels, class_names=CLASSES)


def a_run(directory: Path, seed: int, folds: int = 0, skill: float = 1.0) -> Path:
    """What a run, or a cross-validation of so many folds, leaves of its predictions."""
    folder = directory / "predictions"
    folder.mkdir(parents=True)
    save_predictions(
        folder / ("oof.npz" if folds else "validation.npz"), predictions("train", HELD_OUT, seed, skill)
    )
    unknown = np.full_like(TEST, -1)
    for fold in range(folds or 1):
        test = predictions("test", TEST, seed + 100 + fold, skill)
        named = Predictions(ids=test.ids, logits=test.logits, labels=unknown, class_names=CLASSES)
        save_predictions(folder / (f"test_fold{fold}.npz" if folds else "test.npz"), named)
    if folds:
        save_predictions(folder / "test.npz", named)  # the mean of the folds counts as no fold
    return directory


@pytest.fixture
def runs(tmp_path):
    return [
        a_run(tmp_path / "one", 10),
        a_run(tmp_path / "two", 20, folds=2),
        a_run(tmp_path / "three", 30, skill=3),
    ]


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_folds_of_a_cross_validation_are_parts_of_one_member(runs, tmp_path, capsys):
    assert main(*runs, "--method", "soft-hard", "--output", tmp_path / "out") == 0
    _, facts = summary(capsys)
    assert facts["members"] == ["one", "two", "three"]
    folds = [load_predictions(runs[1] / "predictions" / f"test_fold{fold}.npz").logits for fold in (0, 1)]
    second = (probabilities(folds[0]) + probabilities(folds[1])) / 2
    others = [load_predictions(runs[index] / "predictions" / "test.npz").logits for index in (0, 2)]
    votes = sum(np.eye(3)[scores.argmax(axis=1)] for scores in (others[0], second, others[1]))
    found = load_predictions(tmp_path / "out" / "test.npz")
    np.testing.assert_array_equal(found.logits.argmax(axis=1), votes.argmax(axis=1))


def test_what_each_member_brings_is_told(runs, tmp_path, capsys):
    assert main(*runs, "--method", "learned", "--compare", "--output", tmp_path / "out") == 0
    text, facts = summary(capsys)
    held_out = [
        load_predictions(run / "predictions" / name)
        for run, name in zip(runs, ("validation.npz", "oof.npz", "validation.npz"), strict=True)
    ]
    for name, member in zip(facts["members"], held_out, strict=True):
        assert facts["alone"][name] == (member.logits.argmax(axis=1) == HELD_OUT).mean()
        assert f"{name:<5}  {facts['alone'][name]:11.4f}" in text
    assert "learnt on four fifths of them, scored on the rest, in turns" in text
    assert sum(facts["weight"]) == pytest.approx(1)
    assert np.argmax(facts["weight"]) == 2
    assert facts["compared"]["learned"] == facts["held_out"]["accuracy"]
    assert set(facts["compared"]) >= {"soft", "hard", "soft-hard", "greedy", "stacking"}
    assert "weighted" not in facts["compared"]
    assert "test" not in facts  # its labels are unknown
    rows = table(tmp_path / "out" / "recall_by_class.csv")
    assert rows[0] == ["class", "one", "two", "three", "together"]
    of_a = HELD_OUT == 0
    assert float(rows[1][1]) == pytest.approx((held_out[0].logits.argmax(axis=1) == 0)[of_a].mean(), abs=1e-4)
    bins = table(tmp_path / "out" / "reliability.csv")
    assert sum(int(row[2]) for row in bins[1:]) == len(HELD_OUT)
    together = load_predictions(tmp_path / "out" / "oof.npz")
    sure = probabilities(together.logits).max(axis=1) > 14 / 15
    assert int(bins[-1][2]) == sure.sum() > 0
    right = together.logits.argmax(axis=1) == HELD_OUT
    assert float(bins[-1][4]) == pytest.approx(right[sure].mean(), abs=1e-4)
    apart = table(tmp_path / "out" / "disagreement.csv")
    differ = (held_out[0].logits.argmax(axis=1) != held_out[1].logits.argmax(axis=1)).mean()
    assert float(apart[1][2]) == float(apart[2][1]) == pytest.approx(differ, abs=1e-4)


def test_files_of_predictions_are_members_with_their_held_out_files(runs, tmp_path, capsys):
    files = [runs[0] / "predictions" / "test.npz", runs[2] / "predictions" / "test.npz"]
    lessons = [run.parent / "validation.npz" for run in files]
    assert main(*files, "--held-out", *lessons, "--method", "greedy", "--output", tmp_path / "files") == 0
    assert main(runs[0], runs[2], "--method", "greedy", "--output", tmp_path / "runs") == 0
    first, second = (load_predictions(tmp_path / name / "test.npz") for name in ("files", "runs"))
    np.testing.assert_array_equal(first.logits, second.logits)
    assert summary(capsys)[1]["members"] == ["one", "three"]


def test_answers_of_a_source_without_a_sample_are_ids_and_classes(runs, tmp_path, capsys):
    assert main(runs[0], "--submission", tmp_path / "answers.csv") == 0
    rows = table(tmp_path / "answers.csv")
    answers = load_predictions(runs[0] / "predictions" / "test.npz").logits.argmax(axis=1)
    assert rows == [
        ["id", "label"],
        *([f"test/{row}.png", CLASSES[answer]] for row, answer in enumerate(answers)),
    ]


def test_answers_are_in_the_layout_of_the_runs_source(runs, tmp_path):
    root = tmp_path / "data"
    images_in(root / "train", 6)
    images_in(root / "test", 12)
    rows = [f"train/{row}.png,{row % 3},{CLASSES[row % 3]}" for row in range(6)]
    (root / "train.csv").write_text("\n".join(["image_path,target,class_name", *rows]))
    (root / "test.csv").write_text("\n".join(["image_path", *(f"test/{row}.png" for row in range(12))]))
    asked = [f"{row},test/{row}.png,0" for row in reversed(range(12))]
    (root / "sample_submission.csv").write_text("\n".join(["ID,image_path,target", *asked]))
    source = Csv(root=str(root), train_folder=".", test_folder=".")
    (runs[1] / "config.json").write_text(json.dumps(config_to_json(Config(name="x", source=source))))
    assert main(*runs, "--submission", tmp_path / "answers.csv", "--output", tmp_path / "out") == 0
    rows = table(tmp_path / "answers.csv")
    answers = load_predictions(tmp_path / "out" / "test.npz").logits.argmax(axis=1)
    assert rows[0] == ["ID", "image_path", "target"]
    assert rows[1:] == [[str(row), f"test/{row}.png", str(answers[row])] for row in reversed(range(12))]


def test_members_that_do_not_go_together_are_refused(runs, tmp_path, capsys):
    test = load_predictions(runs[0] / "predictions" / "test.npz")
    save_predictions(
        tmp_path / "other.npz",
        Predictions(ids=test.ids, logits=test.logits, labels=test.labels, class_names=("x", "y", "z")),
    )
    assert main(runs[0], tmp_path / "other.npz") == 2
    message = capsys.readouterr().err
    assert "predictions that do not go together with one 0" in message
    assert "its 3 classes are others, or in another order" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "learned"], "--method learned: learns from held-out images with labels"),
        (["--calibrate", "vector"], "--calibrate vector: learns from held-out images with labels"),
        (["--compare"], "with labels, and there are none of test.npz; name runs"),
        (["--method", "weighted", "--weights", "1", "2"], "--weights 1 2: give one for each of"),
        (["--method", "weighted", "--weights", "-1"], "at least 0 and not all 0"),
        (["--method", "weighted", "--weights", "nan"], "--weights nan: give one for each of"),
        (["--held-out", "a.npz", "b.npz"], "--held-out names 2 files for 1 member; name one for each"),
        (["--held-out", "a.npz"], "a.npz: no such predictions file"),
    ],
)
def test_what_a_recipe_lacks_is_told(options, message, runs, capsys):
    assert main(runs[0] / "predictions" / "test.npz", *options) == 2
    assert message in capsys.readouterr().err


def test_a_directory_without_predictions_is_refused(tmp_path, capsys):
    assert main(tmp_path) == 2
    assert f"{tmp_path}: holds no predictions; name a finished run" in capsys.readouterr().err


def test_a_submission_needs_test_images(runs, tmp_path, capsys):
    (runs[0] / "predictions" / "test.npz").unlink()
    assert main(runs[0], "--submission", tmp_path / "answers.csv") == 2
    assert "no member has predictions of test images" in capsys.readouterr().err
    assert main(runs[0], runs[2], "--submission", tmp_path / "answers.csv") == 2
    assert (
        "one: no predictions of test images, and three has some; leave the former out"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "answers.csv").exists()


def test_the_help_names_every_method_within_two_seconds():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, timeout=20, cwd="/"
    )
    assert done.returncode == 0
    for word in ("soft-hard", "stacking", "--held-out", "--submission", "RUN_OR_NPZ"):
        assert word in done.stdout


def test_members_that_held_out_other_images_are_scored_on_those_they_share(runs, tmp_path, capsys):
    one = load_predictions(runs[0] / "predictions" / "validation.npz")
    part = Predictions(ids=one.ids[:30], logits=one.logits[:30], labels=one.labels[:30], class_names=CLASSES)
    save_predictions(runs[0] / "predictions" / "validation.npz", part)
    assert main(*runs[:2], "--method", "learned", "--submission", tmp_path / "answers.csv") == 0
    text, facts = summary(capsys)
    assert (
        "the members held out other images (30 to 90): scored on the 30 held-out images that all have" in text
    )
    other = load_predictions(runs[1] / "predictions" / "oof.npz")
    assert facts["alone"]["two"] == (other.logits[:30].argmax(axis=1) == HELD_OUT[:30]).mean()
    assert "on test images each fold counts (one 1, two 2), on held-out images each member once" in text


def test_ties_stay_broken_in_what_is_written(tmp_path, capsys):
    generator = np.random.default_rng(0)
    labels = np.zeros(3000, np.int32)
    models = [generator.normal(size=(3000, 3)).astype(np.float32) for _ in range(4)]
    for number, logits in enumerate(models):
        ids = tuple(map(str, range(3000)))
        save_predictions(
            tmp_path / f"{number}.npz",
            Predictions(ids=ids, logits=logits, labels=labels, class_names=CLASSES),
        )
    files = [tmp_path / f"{number}.npz" for number in range(4)]
    assert main(*files, "--method", "hard", "--tie", "soft", "--output", tmp_path / "out") == 0
    expected = vote([[probabilities(logits) for logits in models]], "hard", "soft").argmax(axis=1)
    found = load_predictions(tmp_path / "out" / "test.npz").logits.argmax(axis=1)
    np.testing.assert_array_equal(found, expected)
    assert (expected != vote([[probabilities(logits) for logits in models]], "hard").argmax(axis=1)).any()


def test_options_of_another_method_are_refused(runs, capsys):
    with pytest.raises(SystemExit):
        main(runs[0], "--method", "soft", "--tie", "soft")
    assert "--tie soft: --method soft counts no votes; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.full(12, 9, np.int32)}, "labels are from 9 to 9, and there are 3 classes"),
        ({"ids": np.array(["a"] * 12)}, "11 ids are there twice"),
        (
            {"labels": np.zeros(4, np.int32)},
            "its parts do not fit together: ids 12, logits (12, 3), labels (4,)",
        ),
        ({"logits": np.full((12, 3), np.nan, np.float32)}, "12 rows hold logits that are not finite"),
    ],
)
def test_a_file_of_faulty_predictions_is_refused(changes, message, runs, tmp_path, capsys):
    with np.load(runs[0] / "predictions" / "test.npz") as arrays:
        np.savez(tmp_path / "bad.npz", **{**arrays, **changes})
    assert main(tmp_path / "bad.npz") == 2
    assert f"bad.npz: {message}" in capsys.readouterr().err


def test_models_of_one_task_each_answer_with_combinations(tmp_path, capsys):
    for name, seed in (("mask", 1), ("age", 2)):
        a_run(tmp_path / name, seed, folds=2 if name == "age" else 0)
    arguments = [tmp_path / "mask", tmp_path / "age", "--tasks"]
    assert main(*arguments, "--output", tmp_path / "out", "--submission", tmp_path / "answers.csv") == 0
    text, facts = summary(capsys)
    found = load_predictions(tmp_path / "out" / "oof.npz")
    parts = [
        load_predictions(tmp_path / name / "predictions" / file).logits.argmax(axis=1)
        for name, file in (("mask", "validation.npz"), ("age", "oof.npz"))
    ]
    np.testing.assert_array_equal(found.logits.argmax(axis=1), parts[0] * 3 + parts[1])
    both = (parts[0] == HELD_OUT) & (parts[1] == HELD_OUT)
    assert facts["held_out"]["all tasks"]["accuracy"] == both.mean()
    assert f"all tasks  {both.mean():11.4f}" in text
    assert table(tmp_path / "answers.csv")[1][1] in found.class_names
    with pytest.raises(SystemExit):
        main(*arguments, "--method", "hard")
    assert "--tasks: takes the mean of each member's folds" in capsys.readouterr().err
