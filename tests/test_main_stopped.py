"""Runs that are killed, asked to stop, and started again."""

import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from command import QUICKSTART, TINY, card, final_state, finish, metrics, start

from sketch_jax.predictions import load_predictions


def wait_for(condition, process, seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


LONG = [*TINY, "--epochs", "40", "--checkpointing.every-steps", "3"]


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.smoke
def test_a_run_killed_at_five_moments_ends_bit_equal_to_the_straight_run(tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = finish(QUICKSTART, *LONG, "--output-dir", str(straight))
    assert done.returncode == 0, done.stderr
    seed = time.time_ns()
    print(f"moments drawn with seed {seed}")
    generator = np.random.default_rng(seed)
    path = broken / "metrics.jsonl"
    kills = 0
    for _ in range(5):
        target = line_count(path) + int(generator.integers(2, 14))
        process = start(QUICKSTART, *LONG, "--output-dir", str(broken))
        while process.poll() is None and line_count(path) < target:
            time.sleep(0.01)
        time.sleep(float(generator.uniform(0, 0.1)))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 3
    done = finish(QUICKSTART, *LONG, "--output-dir", str(broken))
    assert done.returncode == 0, done.stderr
    ours, theirs = final_state(straight), final_state(broken)
    assert int(ours.step) == 160
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(left, right)
    assert metrics(straight) == metrics(broken)
    for name in ("test", "validation"):
        left, right = (load_predictions(run / "predictions" / f"{name}.npz") for run in (straight, broken))
        np.testing.assert_array_equal(left.logits, right.logits)


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
