"""Views of each image through finished runs, by the command that users call."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tuned_runs import TINY, do_run

from scripts import run_script, summary
from sketch_jax.ensemble.merges import learn_class_weights, merge
from sketch_jax.flows.folds import run_folds
from sketch_jax.flows.predict import PredictOptions, make_learn
from sketch_jax.inference.view_options import Views, list_views
from sketch_jax.optim.options import ScheduleFreeAdamW
from sketch_jax.predictions import Predictions, load_predictions
from sketch_jax.tasks import cross_product
from sketch_jax.train.options import Ema, Swa


def predictions(directory, name) -> Predictions:
    return load_predictions(directory / "predictions" / f"{name}.npz")


def view(directory, *views: str, merge: str = "mean_logits") -> tuple[Predictions, Predictions]:
    """Held-out and test predictions through some views."""
    name = "-".join([*views, merge])
    assert run_script("predict", directory, "--views", *views, "--merge", merge, "--name", name) == 0
    return predictions(directory, f"{name}/validation"), predictions(directory, f"{name}/test")


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def assert_same_answers(found: Predictions, expected: Predictions):
    assert found.ids == expected.ids
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(softmax(found.logits), softmax(expected.logits), atol=2e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("views") / "run"
    do_run(directory, epochs=3)
    return directory


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"averaging": Ema(decay=0.5)},
        {"averaging": Swa(first_epoch=1)},
        {"optimizer": ScheduleFreeAdamW(learning_rate=3e-3)},
    ],
    ids=["newest", "ema", "swa", "schedule-free"],
)
def test_the_image_itself_is_answered_as_the_run_answered_it(changes, tmp_path):
    do_run(tmp_path / "run", **changes)
    held_out, test = view(tmp_path / "run", "identity")
    assert_same_answers(held_out, predictions(tmp_path / "run", "validation"))
    assert_same_answers(test, predictions(tmp_path / "run", "test"))


def test_views_are_merged_image_by_image(finished):
    parts = [view(finished, name) for name in ("identity", "vertical_flip")]
    for how in ("mean_logits", "mean", "max"):
        for part, found in enumerate(view(finished, "identity", "vertical_flip", merge=how)):
            each = [views[part].logits for views in parts]
            np.testing.assert_allclose(softmax(found.logits), merge(each, how), atol=2e-6)
    assert np.abs(parts[0][1].logits - parts[1][1].logits).max() > 0.01


def test_weights_of_views_are_learnt_on_held_out_images():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 80)
    logits = [generator.normal(size=(80, 4)) + skill * np.eye(4)[labels] for skill in (2, 1)]
    views = Views(kinds=("identity", "vertical_flip"))
    options = PredictOptions(run=Path("x"), views=views, merge="learned")
    tests = [generator.normal(size=(5, 4)) for _ in logits]
    found = make_learn(options, list_views(views), None)(logits, labels)(tests)
    weights = learn_class_weights(logits, labels)
    np.testing.assert_allclose(found, softmax(tests[0] * weights[0] + tests[1] * weights[1]), rtol=1e-9)


def test_views_can_count_for_one_task_alone():
    tasks = cross_product({"mask": ("worn", "none"), "age": ("young", "old")})
    generator = np.random.default_rng(0)
    of_mask, of_age = (
        softmax(generator.normal(size=(2, 6, 2)).reshape(12, 2)).reshape(2, 6, 2) for _ in "ab"
    )
    logits = [np.log(np.einsum("rm,ra->rma", of_mask[v], of_age[v]).reshape(6, 4)) for v in range(2)]
    views = Views(kinds=("vertical_flip", "identity"))
    options = PredictOptions(run=Path("x"), views=views, merge="mean", task="age")
    found = make_learn(options, list_views(views), tasks)(logits, np.zeros(0))(logits)
    age = merge(logits, "mean").reshape(6, 2, 2).sum(axis=1)
    np.testing.assert_allclose(found.reshape(6, 2, 2), np.einsum("rm,ra->rma", of_mask[1], age), rtol=1e-9)


def test_random_views_are_the_same_each_time_and_differ_from_one_another(finished, capsys):
    options = [finished, "--views", "color_jitter", "auto_augment", "--passes", 2]
    assert run_script("predict", *options, "--name", "once") == 0
    assert run_script("predict", *options, "--name", "twice") == 0
    once, twice = (predictions(finished, f"{name}/test") for name in ("once", "twice"))
    np.testing.assert_array_equal(once.logits, twice.logits)
    _, facts = summary(capsys)
    assert facts["views"] == ["color_jitter_0", "color_jitter_1", "auto_augment_0", "auto_augment_1"]


def test_what_each_view_turns_right_and_wrong_is_told(finished, capsys):
    assert run_script("predict", finished, "--views", "identity", "vertical_flip", "--name", "told") == 0
    text, facts = summary(capsys)
    plain, flipped = (view(finished, name)[0] for name in ("identity", "vertical_flip"))
    right = [each.logits.argmax(axis=1) == each.labels for each in (plain, flipped)]
    lost, won = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert f"vertical_flip  {right[1].mean():11.4f}  {lost:11d}  {won:11d}" in text
    together = predictions(finished, "told/validation")
    assert facts["held_out"]["accuracy"] == (together.logits.argmax(axis=1) == together.labels).mean()
    test = predictions(finished, "told/test")
    assert facts["test"]["accuracy"] == (test.logits.argmax(axis=1) == test.labels).mean()


def test_every_fold_of_a_cross_validation_predicts_and_its_images_are_gathered(tmp_path, capsys):
    directory = tmp_path / "folds"
    run_folds(dataclasses.replace(TINY, folds=2, output_dir=str(directory)))
    moved = shutil.move(directory, tmp_path / "moved")
    assert run_script("predict", moved, "--views", "identity", "--name", "plain") == 0
    for name in ("oof", "test_fold0", "test_fold1", "test"):
        assert_same_answers(predictions(moved, f"plain/{name}"), predictions(moved, name))
    assert run_script("ensemble", moved, moved / "predictions" / "plain") == 0
    _, facts = summary(capsys)
    assert facts["members"] == ["moved", "plain"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "identity", "--merge", "learned"], "--merge learned: learns from held-out images"),
        (["--task", "age"], "--task age: the classes of this source are not made of tasks"),
        (["--name", "../up"], "--name '../up': must be the name of a directory"),
        (["--views", "scales", "--scales", "9"], "scales 9: must be above 0, at most 4"),
    ],
)
def test_what_cannot_be_predicted_is_told(options, message, tmp_path, capsys):
    do_run(tmp_path / "run", train_on_all=True)
    assert run_script("predict", tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err


def test_a_directory_that_is_no_finished_run_is_refused(finished, tmp_path, capsys):
    assert run_script("predict", tmp_path) == 2
    assert f"{tmp_path}: is no run, as it has no config.json" in capsys.readouterr().err
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    assert run_script("predict", copy) == 2
    assert f"{copy}: has no finished checkpoint; let the run reach its first one" in capsys.readouterr().err
