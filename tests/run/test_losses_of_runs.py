"""Losses, tasks and sampling in whole runs on generated files."""

import csv
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from command import here, metrics
from mask_files import PEOPLE, write_mask_contest
from rich.console import Console

from convert.exportable import open_exportable
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import Config, config_from_json, config_to_json
from sketch_jax.data.mask_folders import MaskFolders
from sketch_jax.data.options import Loading
from sketch_jax.data.sampling import ClassBalanced, Oversampled
from sketch_jax.data.splits import KFold
from sketch_jax.errors import InputError
from sketch_jax.losses.options import (
    Asymmetric,
    CrossEntropy,
    EffectiveNumber,
    Focal,
    InverseFrequency,
    LogitAdjusted,
    MultiTask,
    Ordinal,
    Regression,
    SoftMacroF1,
    TaskLoss,
    WeightedSum,
)
from sketch_jax.main import parse_config
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.optim.schedule_options import WarmupCosine
from sketch_jax.predictions import load_predictions
from sketch_jax.run.setting import prepare

TASKS = MultiTask(
    losses=(
        TaskLoss(task="age", loss=Ordinal(class_weights=InverseFrequency(exponent=0.5)), weight=2.0),
        TaskLoss(task="gender", loss=WeightedSum(losses=(Focal(), SoftMacroF1()), weights=(1.0, 0.5))),
    )
)


def small(directory, root, **changes) -> Config:
    settings = {
        "name": "masks",
        "output_dir": str(directory),
        "epochs": 2,
        "batch_size": 7,
        "image_size": 32,
        "source": MaskFolders(root=str(root)),
        "split": KFold(count=2),
        "model": ModelOptions(name="test_vit"),
        "augmentation": Augmentation(mixing=Mixing(mixup_alpha=0.8, cutmix=None)),
        "schedule": WarmupCosine(warmup_epochs=0.0),
        "loading": Loading(workers=0),
    }
    return Config(**(settings | changes))


def finished(config: Config):
    """A run of the command with this configuration."""
    path = Path(config.output_dir).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config_to_json(config)))
    return here(str(path))


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    return write_mask_contest(tmp_path_factory.mktemp("contest"))


@pytest.fixture(scope="module")
def of_tasks(contest, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tasks") / "run"
    config = small(
        directory,
        contest,
        loss=TASKS,
        sampling=Oversampled(classes=(("age=old", 2.0), ("none/male/young", 3.0))),
    )
    return directory, finished(config)


def test_a_run_of_three_tasks_predicts_eighteen_classes_and_answers_as_info_csv(contest, of_tasks):
    directory, done = of_tasks
    assert done.returncode == 0, done.stderr
    assert "some images several times an epoch" in done.stdout
    assert all(np.isfinite(value) for line in metrics(directory) for value in line.values())
    held_out = load_predictions(directory / "predictions" / "validation.npz")
    assert held_out.logits.shape == (42, 18)
    np.testing.assert_allclose(np.exp(held_out.logits).sum(-1), 1.0, rtol=1e-4)
    test = load_predictions(directory / "predictions" / "test.npz")
    best = dict(zip(test.ids, test.logits.argmax(-1).tolist(), strict=True))
    with (directory / "submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ImageID"] for row in rows] == ["face2.jpg", "face1.jpg", "face0.jpg"]
    assert [int(row["ans"]) for row in rows] == [best[row["ImageID"]] for row in rows]


def test_no_person_is_on_both_sides_of_the_split(of_tasks):
    directory, _ = of_tasks
    with (directory / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({(row["group"], row["fold"]) for row in rows}) == len(PEOPLE)
    assert {row["id"].split("/")[0] for row in rows} == {row["group"] for row in rows}


def test_the_checkpoint_knows_its_heads_and_is_not_exported_to_timm(of_tasks):
    directory, _ = of_tasks
    (record,) = [
        json.loads(path.read_text())["record"]
        for path in sorted(directory.glob("checkpoints/*/checkpoint.json"))
    ][:1]
    assert record["model"]["heads"] == {"mask": 3, "gender": 2, "age": 2}
    assert record["model"]["tasks"]["names"] == ["mask", "gender", "age"]
    with pytest.raises(InputError, match="has heads mask, gender, age of its loss"):
        open_exportable(directory)


def test_a_loss_over_another_head_of_one_task_runs_with_balanced_classes(contest, tmp_path):
    loss = Regression(class_weights=EffectiveNumber())
    config = small(tmp_path / "run", contest, epochs=1, loss=loss, sampling=ClassBalanced(exponent=0.5))
    done = finished(config)
    assert done.returncode == 0, done.stderr
    assert load_predictions(tmp_path / "run" / "predictions" / "test.npz").logits.shape == (3, 18)


def test_ages_are_predicted_as_numbers(contest, tmp_path):
    ages = TaskLoss(task="age", loss=Regression(target="numbers"))
    changes = {"loss": MultiTask(losses=(ages,)), "augmentation": Augmentation()}
    config = small(tmp_path / "run", contest, epochs=1, **changes)
    done = finished(config)
    assert done.returncode == 0, done.stderr
    setting = prepare(config, Console(quiet=True))
    assert set(setting.data.dataset.train.numbers.tolist()) == {float(age) for *_, age in PEOPLE}
    assert setting.objective.heads == {"mask": 3, "gender": 2, "age": 1}
    train, rows = setting.data.dataset.train, np.array([3, 40, 11])
    batch = np.zeros((3, 32, 32, 3), np.uint8), train.labels[rows], np.ones(3, bool), rows
    _, targets = setting.at_size[32].augment(jax.random.key(0), 0, *batch)
    assert targets.shape == (3, 19)
    assert targets[:, 18].tolist() == train.numbers[rows].tolist()


def test_what_does_not_go_together_is_refused_before_the_run_begins(contest, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps({"worn/male/young": 1}))
    head = HeadOptions(rows=str(tmp_path / "rows.json"))
    config = small(tmp_path / "run", contest, loss=TASKS, model=ModelOptions(name="test_vit", head=head))
    wrong = small(tmp_path / "run", contest, sampling=Oversampled(classes=(("age=odl", 2.0),)))
    for refused, message in (
        (config, r"--model.head.rows: .* the loss asks for the heads mask, gender, age"),
        (wrong, r"'age=odl' is not; did you mean 'age=old'"),
    ):
        done = finished(refused)
        assert done.returncode == 2
        assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "loss", [TASKS, Asymmetric(), LogitAdjusted(tau=0.5), Regression(values=(1.0, 2.0, 4.0))]
)
def test_every_loss_survives_json(loss):
    config = Config(name="x", loss=loss, sampling=Oversampled(classes=(("cat", 2.0),)))
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_fields_of_losses_in_sums_and_tasks_are_set_on_the_command_line(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_to_json(Config(name="x", loss=TASKS, sampling=Oversampled()))))
    config = parse_config(
        [
            *("--config", str(path), "--loss.losses.0.weight", "3", "--loss.losses.1.loss.weights", "1", "4"),
            *("--loss.losses.1.loss.losses.0.gamma", "5", "--loss.losses.0.loss.class-weights.exponent", "1"),
            *("--sampling.classes", "cat", "2", "age=old", "3"),
        ]
    )
    assert isinstance(config.loss, MultiTask)
    age, gender = config.loss.losses
    assert (age.weight, age.loss.class_weights) == (3.0, InverseFrequency(exponent=1.0))
    assert (gender.loss.weights, gender.loss.losses[0]) == ((1.0, 4.0), Focal(gamma=5.0))
    assert config.sampling == Oversampled(classes=(("cat", 2.0), ("age=old", 3.0)))
    plain = parse_config(["--config", "configs/quickstart.py", "--loss.label-smoothing", "0.3"])
    assert plain.loss == CrossEntropy(label_smoothing=0.3)
