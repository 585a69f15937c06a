"""Runs that are killed, asked to stop, and started again."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command import QUICKSTART, TINY, card, finish, metrics, start

from sketch_jax.predictions import load_predictions
from sketch_jax.train.checkpoint_arrays import read_leaves


def wait_for(condition, process, seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


LONG = [*TINY, "--epochs", "40", "--checkpointing.every-steps", "3"]


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def kill_five_times(config, options, directory) -> None:
    """Starts a run again and again, and kills it at moments that are drawn anew in each call."""
    seed = time.time_ns()
    print(f"moments drawn with seed {seed}")
    generator = np.random.default_rng(seed)
    path = directory / "metrics.jsonl"
    kills = 0
    for _ in range(5):
        target = line_count(path) + int(generator.integers(2, 14))
        process = start(config, *options, "--output-dir", str(directory))
        while process.poll() is None and line_count(path) < target:
            time.sleep(0.01)
        time.sleep(float(generator.uniform(0, 0.1)))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 3


def last_leaves(directory: Path):
    newest = max(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())
    return read_leaves(directory / "checkpoints" / str(newest), [""])


def assert_a_killed_run_ends_bit_equal(config, tmp_path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = finish(config, *LONG, "--output-dir", str(straight))
    assert done.returncode == 0, done.stderr
    kill_five_times(config, LONG, broken)
    done = finish(config, *LONG, "--output-dir", str(broken))
    assert done.returncode == 0, done.stderr
    ours, theirs = last_leaves(straight), last_leaves(broken)
    assert ours.keys() == theirs.keys()
    assert int(ours["step"]) == 160
    for path, leaf in ours.items():
        np.testing.assert_array_equal(theirs[path], leaf, err_msg=path)
    assert metrics(straight) == metrics(broken)
    for name in ("test", "validation"):
        left, right = (load_predictions(run / "predictions" / f"{name}.npz") for run in (straight, broken))
        np.testing.assert_array_equal(left.logits, right.logits)


@pytest.mark.smoke
def test_a_run_killed_at_five_moments_ends_bit_equal_to_the_straight_run(tmp_path):
    assert_a_killed_run_ends_bit_equal(QUICKSTART, tmp_path)


WITH_STATE = """
import dataclasses
from pathlib import Path

from sketch_jax.augment.curriculum_options import Curriculum, Stage
from sketch_jax.augment.options import Augmentation
from sketch_jax.config import read_config
from sketch_jax.data.sampling import ClassBalanced
from sketch_jax.models.tuning_options import Everything, HeadOnly, LastBlocks, Staged, TuningStage
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.train.options import Ema, Swa

def get_config():
    return dataclasses.replace(read_config(Path({quickstart!r})), epochs=40, {fields})
"""
STATES = {
    "an average, a plateau, a sampler and stages at sizes of their own": """
        averaging=Ema(warmup_power=0.5), sampling=ClassBalanced(),
        schedule=Plateau(metric="loss", patience=1, factor=0.7, threshold=0.1, warmup_epochs=0.0),
        augmentation=Curriculum(stages=(
            Stage(first_epoch=0, image_size=48, augmentation=Augmentation(shift=0.1)),
            Stage(first_epoch=11, image_size=None, augmentation=Augmentation(rotation_degrees=10.0)),
            Stage(first_epoch=27, image_size=48, augmentation=Augmentation(horizontal_flip=0.5)),
        )),
    """,
    "a mean of the last epochs and stages of tuning": """
        averaging=Swa(first_epoch=25),
        tuning=Staged(stages=(
            TuningStage(first_epoch=0, tuning=HeadOnly()),
            TuningStage(first_epoch=9, tuning=LastBlocks(count=1)),
            TuningStage(first_epoch=20, tuning=Everything()),
        )),
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("fields", STATES.values(), ids=STATES)
def test_what_a_run_keeps_beside_its_weights_survives_kills_bit_for_bit(fields, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(WITH_STATE.format(quickstart=QUICKSTART, fields=fields))
    assert_a_killed_run_ends_bit_equal(str(config), tmp_path)


def test_a_signal_saves_first_and_the_same_command_goes_on(tmp_path):
    output = tmp_path / "run"
    saved = 0
    for signal_number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = start(QUICKSTART, *LONG, "--epochs", "4000", "--output-dir", str(output))
        reached = line_count(output / "metrics.jsonl") + 3
        wait_for(lambda reached=reached: line_count(output / "metrics.jsonl") > reached, process)
        process.send_signal(signal_number)
        text, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert "asked to stop: training saves after its next step" in errors
        assert "all is saved: the same command goes on" in text
        assert ("going on from the checkpoint of step" in text) == (saved > 0)
        assert saved == 0 or f"going on from the checkpoint of step {saved:,}" in text
        assert card(output)["status"] == "interrupted"
        saved = max(int(path.name) for path in (output / "checkpoints").iterdir() if path.name.isdigit())
        assert saved == max(line["step"] for line in metrics(output))
    steps = [line["step"] for line in metrics(output) if "train/loss" in line]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_programs_compile_ends_the_run_at_once(tmp_path, number):
    output = tmp_path / "run"
    process = start(QUICKSTART, *TINY, "--output-dir", str(output), XDG_CACHE_HOME=str(tmp_path / "empty"))
    wait_for((output / "run.json").exists, process)
    time.sleep(0.3)
    asked = time.monotonic()
    process.send_signal(number)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, (text, errors)
    cause = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    assert f"stopped by {cause} after 0 steps of this start; nothing was trained yet" in text
    assert time.monotonic() - asked < 3.0
    assert "before training" not in text
    assert card(output)["status"] == "interrupted"
    assert "Traceback" not in errors


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for loaded libraries in /proc")
def test_ctrl_c_before_training_ends_the_command_with_a_word(tmp_path):
    process = start(QUICKSTART, *TINY, "--output-dir", str(tmp_path / "run"))
    wait_for(lambda: "libjax_common" in Path(f"/proc/{process.pid}/maps").read_text(), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 130, (text, errors)
    assert errors.endswith("stopped before training\n")
    assert "Traceback" not in errors
