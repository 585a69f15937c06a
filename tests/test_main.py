import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from command import (
    QUICKSTART,
    ROOT,
    SMALL,
    card,
    environment,
    final_state,
    finish,
    here,
    images_in,
    metrics,
    tiny,
    tiny_process,
)

from sketch_jax.config import Config, config_from_json, config_to_json, read_config
from sketch_jax.main import parse_config
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.predictions import load_predictions


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run, and what it printed."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    done = tiny_process(directory)
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


@pytest.mark.smoke
def test_a_run_leaves_every_file_that_the_readme_lists(finished):
    directory, _ = finished
    present = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "run.json",
        "split.csv",
        "metrics.jsonl",
        "predictions/validation.npz",
        "predictions/test.npz",
    } <= present
    assert any("tfevents" in name for name in present)
    assert any(name.startswith("checkpoints/") for name in present)


@pytest.mark.smoke
def test_a_run_says_what_it_will_do_before_it_starts_and_what_it_made_at_its_end(finished):
    directory, text = finished
    for expected in (
        "Doodles: 40 labelled images of 4 classes, 12 to predict",
        "32 to train on (8 a class), 8 held out",
        "test_efficientnet at 32 px:",
        "newly made",
        "2 epochs × 4 steps of 8 images = 8 steps",
        "1e-06 at first, 0.003 after 1 epoch, 0 at the end",
        "before training: held-out accuracy",
        "epoch 2/2",
        "images/s",
        "test accuracy",
        str(directory / "predictions" / "test.npz"),
        "next:",
        "configs/folder.py",
    ):
        assert expected in text, expected


def test_the_run_card_holds_what_ran_on_what_and_how_fast(finished):
    directory, _ = finished
    facts = card(directory)
    assert facts["status"] == "finished"
    assert facts["parameters"]["total"] == facts["parameters"]["trainable"] > 90_000
    assert facts["data"]["train"] == 32
    assert facts["images_per_second"] > 0
    assert 0 <= facts["data_wait_share"] < 1
    assert facts["compile_seconds"]["train"] > 0
    assert facts["final_metrics"].keys() >= {"val/accuracy", "test/accuracy", "test/macro_f1"}
    assert facts["versions"]["jax"] == jax.__version__


def test_predictions_hold_each_test_image_once_and_the_accuracy_is_theirs(finished):
    directory, _ = finished
    predictions = load_predictions(directory / "predictions" / "test.npz")
    assert len(set(predictions.ids)) == len(predictions.ids) == 12
    accuracy = (predictions.logits.argmax(-1) == predictions.labels).mean()
    assert card(directory)["final_metrics"]["test/accuracy"] == pytest.approx(accuracy)


def test_metrics_lines_have_the_losses_and_the_rate_of_their_step(finished):
    directory, _ = finished
    lines = metrics(directory)
    assert lines[0].keys() == {"step", *(f"val/{name}" for name in HIGHER_IS_BETTER)}
    steps = [line["step"] for line in lines if "train/loss" in line]
    assert steps == [2, 4, 6, 8]
    rates = {line["step"]: line["train/learning_rate"] for line in lines if "train/loss" in line}
    assert rates[6] == pytest.approx(1.5e-3 * (1 + 2**-0.5))  # schedule(5): a quarter down the cosine


def test_a_finished_run_started_again_takes_no_step_and_gives_the_same_predictions(finished, tmp_path):
    directory = shutil.copytree(finished[0], tmp_path / "copy")
    before, facts = load_predictions(directory / "predictions" / "test.npz").logits, card(directory)
    lines = metrics(directory)
    again = tiny_process(directory)
    assert again.returncode == 0, again.stderr
    assert "all 8 steps are done already: predicting again" in again.stdout
    np.testing.assert_array_equal(before, load_predictions(directory / "predictions" / "test.npz").logits)
    assert metrics(directory) == lines
    kept = ("steps_taken", "images_per_second", "data_wait_share", "compile_seconds")
    assert {name: card(directory)[name] for name in kept} == {name: facts[name] for name in kept}


@pytest.mark.smoke
def test_two_runs_of_one_configuration_are_bit_equal(finished, tmp_path):
    directory, _ = finished
    assert tiny_process(tmp_path / "again").returncode == 0
    for ours, theirs in zip(
        jax.tree.leaves(final_state(directory)), jax.tree.leaves(final_state(tmp_path / "again")), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_configuration_of_a_run_can_be_loaded_again(finished):
    directory, _ = finished
    config = read_config(directory / "config.json")
    assert config.model.name == "test_efficientnet"
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_options_override_fields_and_keep_their_types():
    config = parse_config(
        [
            "--config",
            QUICKSTART,
            "--epochs",
            "3",
            "--image-size",
            "None",
            "--augmentation.scale",
            "0.5",
            "1.5",
        ]
    )
    assert isinstance(config, Config)
    assert (config.epochs, config.image_size, config.augmentation.scale) == (3, None, (0.5, 1.5))


def test_every_option_in_help_has_a_description():
    done = subprocess.run(
        [sys.executable, "-m", "sketch_jax.main", "--help"],
        capture_output=True,
        text=True,
        env=environment(COLUMNS="80"),
    )
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    options = [index for index, line in enumerate(lines) if line.startswith("│ --")]
    assert len(options) > 40
    for index in options:
        assert len(lines[index + 1].strip("│ ")) > 10 or "default" in lines[index], lines[index]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for name in ("cat", "dog"):
        images_in(root / name, 6)
    return root


FOLDER = str(Path(QUICKSTART).with_name("folder.py"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source.root", "absent"], r"absent.*no such folder"),
        (["--epochs", "-1"], r"--epochs -1: must be at least 0"),
        (["--loss.label-smoothing", "1"], r"--loss.label-smoothing 1: must be at least 0 and below 1"),
        (["--model.name", "resnet81"], r"resnet81.*(resnet18|resnet101|resnet51)"),
        (["--image-size", "33"], r"33.*patch"),
        (["--batch-size", "64"], r"--batch-size 64: there are only 11 training images; choose at most 11"),
        (
            ["--schedule.warmup-epochs", "None", "--schedule.warmup-steps", "50"],
            r"--schedule.warmup-steps 50: a warm-up of 50 steps does not fit",
        ),
        (["--model.pretrained", "model.pth"], r"model.pth.*convert to-flax"),
        (["--model.pretrained", "local-dir:absent"], r"absent: no such directory"),
        (["--optimizer.learning-rat", "1"], r"Unrecognized.*--optimizer.learning-rate"),
        (["--optimizer.learning-rate", "fast"], r"(?s)learning-rate.*fast"),
    ],
)
def test_bad_options_end_in_one_message_and_leave_nothing_behind(folder, tmp_path, options, message):
    output = tmp_path / "run"
    given = ["--source.root", str(folder), *SMALL, "--output-dir", str(output), *options]
    done = here(FOLDER, *given)
    assert done.returncode == 2, done.stdout + done.stderr
    flat = re.sub(r"[│╭╰─╮╯\s]+", " ", done.stderr)
    assert re.search(message, flat), done.stderr
    assert not output.exists()


def test_a_configuration_that_is_not_there_is_refused_with_those_that_are():
    done = finish("configs/quikstart.py")
    assert done.returncode == 2
    assert "configs/quikstart.py: no such file" in done.stderr
    assert "quickstart.py" in done.stderr


def test_without_a_configuration_the_message_shows_a_command():
    done = subprocess.run([sys.executable, "-m", "sketch_jax.main"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--config configs/quickstart.py" in done.stderr


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(tmp_path):
    eight = "--xla_force_host_platform_device_count=8"
    done = tiny_process(tmp_path / "run", "--batch-size", "12", XLA_FLAGS=eight)
    assert done.returncode == 2
    assert "--batch-size 12: cannot be split evenly over 8 devices; choose a multiple of 8" in done.stderr


def test_a_run_in_the_directory_of_another_configuration_is_refused_and_nothing_changes(finished):
    directory, _ = finished
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}
    done = tiny(directory, "--seed", "5", "--optimizer.learning-rate", "0.1")
    assert done.returncode == 2
    assert "begun with another configuration" in done.stderr
    assert "optimizer.learning_rate: 0.003 → 0.1" in done.stderr
    assert "seed: 0 → 5" in done.stderr
    after = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}
    assert before == after


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    for name in ("cat", "dog"):
        images_in(tmp_path / "images" / name, 10)
    source = ["--source.root", str(tmp_path / "images"), "--loading.workers", "0", "--batch-size", "8"]
    run = [str(ROOT / "configs" / "folder.py"), *SMALL, *source]
    run += ["--schedule.warmup-epochs", "0", "--output-dir", str(tmp_path / "run")]
    done = here(*run)
    assert done.returncode == 0, done.stderr
    before = contents(tmp_path / "run")
    images_in(tmp_path / "other", 1, size=50)
    done = here(*run, "--source.root", str(tmp_path / "other"))
    assert done.returncode == 2
    assert f'source.root: "{tmp_path}/images" → "{tmp_path}/other"' in done.stderr
    shutil.copy(tmp_path / "other" / "0.png", tmp_path / "images" / "dog" / "3.png")
    done = here(*run)
    assert done.returncode == 2
    assert "the checkpoints there were made with other values; stored → given" in done.stderr
    assert re.search(r'data_fingerprint: "[0-9a-f]{16}" → "[0-9a-f]{16}"', done.stderr)
    assert "write to another directory, or remove this one to start over" in done.stderr
    assert contents(tmp_path / "run") == before


def contents(directory: Path) -> dict[Path, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in files}


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step_and_a_remedy(tmp_path):
    done = tiny(tmp_path / "run", "--optimizer.learning-rate", "1e30", "--schedule.warmup-epochs", "0")
    assert done.returncode == 2
    assert "both must be finite; try a lower --optimizer.learning-rate" in done.stderr
    assert card(tmp_path / "run")["status"] == "failed"


def test_a_start_that_saved_nothing_gives_its_directory_to_another_configuration_and_split(tmp_path):
    given = ["--schedule.warmup-epochs", "0", "--epochs", "1"]
    failed = tiny(tmp_path / "run", *given, "--optimizer.learning-rate", "1e30")
    assert failed.returncode == 2
    other = [*given, "--split.fraction", "0.5"]
    assert tiny(tmp_path / "run", *other).returncode == 0
    assert tiny(tmp_path / "fresh", *other).returncode == 0
    assert (tmp_path / "run" / "split.csv").read_bytes() == (tmp_path / "fresh" / "split.csv").read_bytes()
    assert metrics(tmp_path / "run") == metrics(tmp_path / "fresh")
    assert len(list((tmp_path / "run").glob("events*"))) == len(list((tmp_path / "fresh").glob("events*")))


def test_eight_devices_give_the_same_parameters_as_one(tmp_path):
    # Adam divides a gradient by its own size: where it is all rounding, so is the whole first step. A large
    # epsilon keeps the update proportional to the gradient there (at 1e-3 four steps differ by 5e-6 to 2e-5).
    short = ["--epochs", "1", "--schedule.warmup-epochs", "0", "--optimizer.epsilon", "1e-2"]
    assert tiny_process(tmp_path / "one", *short).returncode == 0
    eight = "--xla_force_host_platform_device_count=8"
    done = tiny_process(tmp_path / "eight", *short, XLA_FLAGS=eight)
    assert done.returncode == 0, done.stderr
    assert "8 × cpu" in done.stdout
    ours, theirs = final_state(tmp_path / "one"), final_state(tmp_path / "eight")
    for left, right in zip(
        jax.tree.leaves((ours.trainable, ours.statistics)),
        jax.tree.leaves((theirs.trainable, theirs.statistics)),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, atol=1e-5, rtol=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_stops_the_run_with_a_message_and_keeps_the_last_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        done = tiny_process(disk / "run", "--checkpointing.keep-last", "9", "--epochs", "9")
        assert done.returncode == 2, done.stdout
        assert "bytes are needed, but only" in done.stderr
        assert "Traceback" not in done.stderr
        assert list((disk / "run" / "checkpoints").glob("*/checkpoint.json"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
