"""Heads on stored features, by the command that users call, and beside the same heads trained by a run."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from command import ROOT, environment
from jax import numpy as jnp
from PIL import Image
from rich.console import Console
from tuned_runs import TINY, do_run

from scripts import run_script, summary
from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import config_to_json
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.folder import Folder
from sketch_jax.data.sampling import ClassBalanced
from sketch_jax.data.splits import KFold
from sketch_jax.errors import InputError
from sketch_jax.flows import head_grid
from sketch_jax.flows.features import plan_views, stored_features
from sketch_jax.flows.head_grid import HeadTraining, Orders, predict_heads, train_heads
from sketch_jax.flows.probe import ProbeOptions, draw_orders, head_of, run_probe
from sketch_jax.losses.softmax import cross_entropy
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.heads import create_pooled_head
from sketch_jax.models.model_options import ModelOptions
from sketch_jax.models.tuning_options import HeadOnly
from sketch_jax.optim.options import AdamW, Sam
from sketch_jax.optim.schedule_options import Constant, Plateau
from sketch_jax.predictions import load_predictions
from sketch_jax.run.setting import prepare
from sketch_jax.train.options import Ema

CONFIG = dataclasses.replace(
    TINY,
    epochs=1,
    source=Doodles(classes=("cat", "fish", "house", "star"), train_per_class=40, test_per_class=3),
    model=ModelOptions(name="test_efficientnet"),
    tuning=HeadOnly(),
    optimizer=AdamW(learning_rate=0.05),
    schedule=Constant(),
)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def quiet() -> Console:
    return Console(quiet=True)


def probe(directory, config=CONFIG, **changes):
    given = {"heads": ((),), "folds": 2, "seeds": 1, "rates": (), "decays": (), "views": 0}
    placed = dataclasses.replace(config, output_dir=str(directory))
    return run_probe(ProbeOptions(config=placed, **(given | changes)), quiet())


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("hidden", "start"), [((), "default"), ((16,), "xavier_uniform")])
def test_a_head_ends_as_a_run_through_the_frozen_backbone_trains_it(hidden, start, tmp_path):
    head = HeadOptions(start=start, hidden=hidden)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, head=head))
    facts = probe(tmp_path / "probe", config, heads=(hidden,))
    found = load_predictions(tmp_path / "probe" / "predictions" / facts["best"] / "oof.npz")
    split = KFold(count=2, fold=0)
    common = {"epochs": 1, "source": config.source, "model": config.model, "split": split}
    trained = common | {"tuning": HeadOnly(), "optimizer": config.optimizer, "schedule": Constant()}
    do_run(tmp_path / "fold0", **trained)
    do_run(tmp_path / "start0", **trained | {"epochs": 0})
    expected = load_predictions(tmp_path / "fold0" / "predictions" / "validation.npz")
    before = load_predictions(tmp_path / "start0" / "predictions" / "validation.npz")
    rows = [found.ids.index(image) for image in expected.ids]
    # Features are kept in float16, of 11 bits; a run reads them in float32.
    np.testing.assert_allclose(softmax(found.logits[rows]), softmax(expected.logits), atol=5e-4)
    tests = [load_predictions(path) for path in (
        tmp_path / "probe" / "predictions" / facts["best"] / "test_fold0.npz",
        tmp_path / "fold0" / "predictions" / "test.npz",
    )]  # fmt: skip
    assert tests[0].ids == tests[1].ids
    np.testing.assert_allclose(softmax(tests[0].logits), softmax(tests[1].logits), atol=5e-4)
    assert np.abs(softmax(expected.logits) - softmax(before.logits)).max() > 0.04


def grid(rates, seeds: int, optimizer=None):
    """Heads on made-up features: the training, and its arguments."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 40).astype(np.int32)
    features = (generator.normal(size=(40, 2, 5)) + 2 * np.eye(5)[labels][:, None]).astype(np.float16)
    training = HeadTraining(
        head=create_pooled_head(HeadOptions(hidden=(7,)), 5, 3),
        loss=cross_entropy,
        optimizer=optimizer or AdamW(weight_decay=0.1),
        class_count=3,
    )
    start = jax.vmap(training.head.init)(jnp.stack([jax.random.key(seed) for seed in range(seeds)]))
    drawn = [np.random.default_rng(seed) for seed in range(seeds)]
    orders = Orders(
        rows=np.stack([each.integers(0, 40, (12, 8)) for each in drawn]),
        views=np.stack([each.integers(0, 2, (12, 8)) for each in drawn]),
    )
    table = np.array([[rate] * 12 for rate in rates])
    return training, (start, jnp.asarray(features), jnp.asarray(labels), orders, table, 5)


@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.1), Sam(base=AdamW(), rho=0.1)])
def test_a_head_of_a_grid_ends_as_one_that_is_trained_alone(optimizer):
    training, (start, features, labels, orders, table, epoch) = grid((1e-2, 1e-1), 2, optimizer)
    together = train_heads(training, start, features, labels, orders, table, epoch)
    for trial in range(2):
        for rate in range(2):
            own_orders = Orders(rows=orders.rows[trial : trial + 1], views=orders.views[trial : trial + 1])
            own_start = jax.tree.map(lambda leaf, trial=trial: leaf[trial : trial + 1], start)
            alone = train_heads(training, own_start, features, labels, own_orders, table[rate : rate + 1], 12)
            for found, expected in zip(
                jax.tree.leaves(head_of(together, trial, rate)),
                jax.tree.leaves(head_of(alone, 0, 0)),
                strict=True,
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    answers = predict_heads(training.head, head_of(together, 0, 1), features[:, 0], np.arange(40))
    assert (answers.argmax(axis=1) == np.asarray(labels)).mean() > 0.8


@pytest.mark.parametrize("heads_at_a_time", [1, 2, 5])
def test_heads_that_wait_for_one_another_end_as_those_side_by_side(heads_at_a_time, monkeypatch):
    training, (start, features, labels, orders, table, epoch) = grid((1e-2, 1e-1), 3)
    together = train_heads(training, start, features, labels, orders, table, epoch)
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(start)) / 3
    monkeypatch.setattr(head_grid, "CACHE_BYTES", heads_at_a_time * (3 * one + 20))  # Adam keeps two more
    waiting = train_heads(training, start, features, labels, orders, table, epoch)
    for found, expected in zip(jax.tree.leaves(waiting), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_steps_are_reported_epoch_by_epoch():
    training, arguments = grid((1e-2,), 1)
    told = []
    train_heads(training, *arguments, report=lambda done, total: told.append((done, total)))
    assert told == [(5, 12), (10, 12), (12, 12)]


def test_a_trial_sees_views_of_the_stage_of_each_epoch(tmp_path):
    stages = (
        Stage(first_epoch=0, augmentation=Augmentation(horizontal_flip=0.5)),
        Stage(first_epoch=2, augmentation=Augmentation(vertical_flip=0.5)),
    )
    config = dataclasses.replace(
        CONFIG, epochs=3, augmentation=Curriculum(stages=stages), split=KFold(count=2)
    )
    setting = prepare(dataclasses.replace(config, output_dir=str(tmp_path / "run")), quiet())
    plan = plan_views(setting, 4)
    assert [view.stage for view in plan] == [None, 0, 0, 0, 0, 1, 1, 1, 1]
    assert plan[5].step == 2 * setting.plan.steps_per_epoch
    options = ProbeOptions(config=config, heads=((),), folds=2, seeds=2, rates=(), decays=(), views=4)
    orders, epoch = draw_orders(setting, options, setting.data.folds)
    assert epoch == 10
    assert orders.rows.shape == (4, 30, 8)
    assert set(np.unique(orders.views[:, :20])) == {1, 2, 3, 4}
    assert set(np.unique(orders.views[:, 20:])) == {5, 6, 7, 8}
    for trial, fold in enumerate((0, 1, 0, 1)):
        assert (setting.data.folds[orders.rows[trial]] != fold).all()
    assert not np.array_equal(orders.rows[0], orders.rows[2])


def features_of(config, views: int):
    setting = prepare(config, quiet())
    return stored_features(setting, setting.data.dataset.train, plan_views(setting, views), "training")


def test_augmented_views_differ_and_come_back_from_the_store(tmp_path):
    config = dataclasses.replace(
        CONFIG, output_dir=str(tmp_path / "run"), augmentation=Augmentation(rotation_degrees=20.0)
    )
    features, found = features_of(config, 2)
    assert features.shape[:2] == (160, 3)
    assert features.dtype == np.float16
    assert not found
    assert all(np.abs(features[:, a] - features[:, b]).max() > 0 for a, b in ((0, 1), (0, 2), (1, 2)))
    again, found = features_of(dataclasses.replace(config, epochs=7, optimizer=AdamW()), 2)
    assert found
    np.testing.assert_array_equal(again, features)


def drawings(root, count: int = 30):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(
                root / name / f"{index}.bmp"
            )
    return Folder(root=str(root))


def test_what_has_changed_is_computed_anew(tmp_path):
    source = drawings(tmp_path / "images", 8)
    config = dataclasses.replace(CONFIG, output_dir=str(tmp_path / "run"), source=source, batch_size=4)
    first, _ = features_of(config, 0)
    changed = tmp_path / "images" / "cat" / "3.bmp"
    before = changed.stat()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(changed)
    assert changed.stat().st_size == before.st_size
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    second, found = features_of(config, 0)
    assert not found
    different = np.abs(first[:].astype(np.float32) - second[:]).max(axis=(1, 2)) > 0
    assert different.sum() == 1
    assert not features_of(dataclasses.replace(config, seed=1), 0)[1]  # other new weights
    assert not features_of(dataclasses.replace(config, image_size=40), 0)[1]
    assert features_of(config, 0)[1]


def test_a_pass_that_was_killed_goes_on_and_ends_with_the_same_features(tmp_path, monkeypatch):
    source = drawings(tmp_path / "images", 400)
    config = dataclasses.replace(
        CONFIG, output_dir=str(tmp_path / "run"), source=source, batch_size=4,
        augmentation=Augmentation(rotation_degrees=20.0),
    )  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_to_json(config)))
    command = [sys.executable, str(ROOT / "scripts" / "probe.py"), "--config", str(file), "--views", "1"]
    process = subprocess.Popen(
        [*command, "--folds", "2"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline, told = time.monotonic() + 120, []
    while not told and time.monotonic() < deadline and process.poll() is None:
        told = list((tmp_path / "cache").glob("sketch_jax/features/*/progress.json"))
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert told, output
    done = json.loads(told[0].read_text())["rows"]
    assert 0 < done < 800
    resumed, found = features_of(config, 1)
    assert not found
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    straight, _ = features_of(config, 1)
    np.testing.assert_array_equal(np.asarray(resumed), np.asarray(straight))


def test_every_trial_is_kept_and_the_best_stands_for_the_run(tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_to_json(dataclasses.replace(CONFIG, output_dir=str(tmp_path / "run")))))
    grid = ["--folds", 2, "--seeds", 2, "--rates", 1e-3, 0.05, "--decays", 0, 0.1, "--heads", "linear", "8,4"]
    assert run_script("probe", "--config", file, "--views", 1, *grid) == 0
    text, facts = summary(capsys)
    folder = tmp_path / "run" / "predictions"
    trials = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert trials == sorted(facts["trials"])
    assert len(trials) == 16
    assert facts["heads"] == 32
    assert "linear_rate0.05_decay0.1_seed1" in trials
    for name in trials:
        oof = load_predictions(folder / name / "oof.npz")
        assert facts["trials"][name] == (oof.logits.argmax(axis=1) == oof.labels).mean()
        assert len(oof.ids) == 160
    assert facts["trials"][facts["best"]] == max(facts["trials"].values())
    best = load_predictions(folder / facts["best"] / "test.npz")
    np.testing.assert_array_equal(load_predictions(folder / "test.npz").logits, best.logits)
    assert "linear, rate 0.05, decay 0.1 " in text
    assert run_script("ensemble", *(folder / name for name in trials[:3])) == 0
    assert summary(capsys)[1]["members"] == trials[:3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augmentation": Augmentation(mixing=Mixing())},
            "--augmentation.mixing: features are kept image by image",
        ),
        ({"schedule": Plateau()}, "--schedule.kind Plateau, which heeds metrics between epochs"),
        (
            {"averaging": Ema(), "sampling": ClassBalanced()},
            r"(?s)not trained with \(2\):\n  --averaging\n  --sampling",
        ),
        ({"batch_size": 100}, "--batch-size 100: there are only 80 training images"),
    ],
)
def test_what_cannot_be_probed_is_told(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        probe(tmp_path / "run", dataclasses.replace(CONFIG, **changes), views=1)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--folds", 1, "--folds 1: must be at least 2"),
        ("--views", -1, "--views -1: must be at least 0"),
        ("--rates", -1, "--rates -1: must be at least 0"),
        ("--heads", "wide", "argument --heads: invalid head value: 'wide'"),
    ],
)
def test_values_out_of_range_are_told(option, value, message, capsys):
    with pytest.raises(SystemExit):
        run_script("probe", "--config", "x.py", option, value)
    assert message in capsys.readouterr().err


def test_the_directory_of_a_run_is_left_alone_and_an_earlier_grid_gives_way(tmp_path):
    do_run(tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(InputError, match=r"run: holds a run; give the grid a directory of its own"):
        probe(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    first = probe(tmp_path / "grid", rates=(0.01,), folds=3)
    second = probe(tmp_path / "grid", rates=(0.02,), folds=2)
    folder = tmp_path / "grid" / "predictions"
    assert not (folder / first["best"]).exists()
    assert sorted(path.name for path in (folder / second["best"]).iterdir()) == [
        "oof.npz", "test.npz", "test_fold0.npz", "test_fold1.npz",
    ]  # fmt: skip
    assert json.loads((tmp_path / "grid" / "probe.json").read_text())["best"] == second["best"]


def test_without_a_directory_a_grid_lies_beside_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ProbeOptions(config=CONFIG, heads=((),), folds=2, seeds=1, rates=(), decays=(), views=0)
    run_probe(options, quiet())
    assert (tmp_path / "runs" / "tiny-probe" / "probe.json").is_file()
