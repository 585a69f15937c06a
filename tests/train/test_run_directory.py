"""A run's directory belongs to one process and one configuration."""

import errno
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sketch_jax.errors import InputError
from sketch_jax.train.differences import differences
from sketch_jax.train.run_directory import (
    open_run,
    read_run_card,
    refuse_other_config,
    write_run_card,
)

ROOT = Path(__file__).parents[2]
CONFIG = {
    "seed": 0,
    "model": {"name": "resnet18", "drop": 0.1},
    "sizes": [96, 128],
    "logging": {"every_steps": 20},
}


def save_a_checkpoint(directory) -> None:
    checkpoint = directory / "checkpoints" / "10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "checkpoint.json").write_text("{}")


def changed(**fields) -> dict:
    return json.loads(json.dumps(CONFIG)) | fields


def test_a_new_run_makes_its_directory_and_writes_its_configuration(tmp_path):
    with open_run(tmp_path / "runs" / "first", CONFIG) as begun:
        assert begun is False
    text = (tmp_path / "runs" / "first" / "config.json").read_text()
    assert json.loads(text) == CONFIG
    assert text.startswith('{\n  "seed": 0,')
    save_a_checkpoint(tmp_path / "runs" / "first")
    with open_run(tmp_path / "runs" / "first", CONFIG) as begun:
        assert begun is True
    assert (tmp_path / "runs" / "first" / "config.json").read_text() == text


def test_another_configuration_is_refused_field_by_field(tmp_path):
    with open_run(tmp_path, CONFIG):
        save_a_checkpoint(tmp_path)
    other = changed(seed=1, model={"name": "resnet34", "extra": None}, sizes=[96])
    with pytest.raises(InputError) as caught, open_run(tmp_path, other):
        pass
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: this run was begun with another configuration; stored → given (5):",
        "  seed: 0 → 1",
        '  model.name: "resnet18" → "resnet34"',
        "  model.drop: 0.1 → (absent)",
        "  sizes: [96, 128] → [96]",
        "  model.extra: (absent) → null",
        "give the stored values, use another --name or --output-dir, or remove the directory to start over",
    ]
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG


def test_what_a_start_left_that_saved_no_checkpoint_is_replaced_and_nothing_else(tmp_path):
    with open_run(tmp_path, CONFIG):
        write_run_card(tmp_path, {"status": "failed", "wall_seconds": 100.0})
        for name in ("split.csv", "metrics.jsonl", "events.out.tfevents.1.host.2", "notes.txt"):
            (tmp_path / name).write_text("of the first start")
        (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with open_run(tmp_path, changed(seed=1)) as begun:
        assert not begun
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".lock", "config.json", "notes.txt", "checkpoints"}
    assert json.loads((tmp_path / "config.json").read_text()) == changed(seed=1)


def test_a_directory_of_something_else_that_has_a_configuration_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    (tmp_path / "split.csv").write_text("of others")
    for _ in range(2):
        with pytest.raises(InputError, match="begun with another configuration"):
            refuse_other_config(tmp_path, CONFIG, ())
    with pytest.raises(InputError, match="begun with another configuration"), open_run(tmp_path, CONFIG):
        pass
    assert (tmp_path / "config.json").read_text() == '{"architecture": "resnet18"}'
    assert (tmp_path / "split.csv").read_text() == "of others"
    assert not (tmp_path / ".lock").exists()


def test_a_split_that_lies_ready_before_the_first_start_is_kept(tmp_path):
    (tmp_path / "split.csv").write_text("by hand")
    with open_run(tmp_path, CONFIG):
        assert (tmp_path / "split.csv").read_text() == "by hand"


def test_free_fields_may_change_and_the_new_value_is_written(tmp_path):
    with open_run(tmp_path, CONFIG):
        save_a_checkpoint(tmp_path)
    other = changed(logging={"every_steps": 5})
    with pytest.raises(InputError, match=r"logging.every_steps: 20 → 5"), open_run(tmp_path, other):
        pass
    with open_run(tmp_path, other, free_fields=("logging",)) as begun:
        assert begun
    assert json.loads((tmp_path / "config.json").read_text()) == other


def test_a_free_field_frees_no_field_that_only_begins_like_it(tmp_path):
    with open_run(tmp_path, {"log": 1, "logging": 1}):
        save_a_checkpoint(tmp_path)
    with (
        pytest.raises(InputError, match="logging: 1 → 2"),
        open_run(tmp_path, {"log": 2, "logging": 2}, free_fields=("log",)),
    ):
        pass


def test_a_configuration_that_is_no_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    save_a_checkpoint(tmp_path)
    with (
        pytest.raises(InputError, match=r"config.json: not JSON .*; remove the directory"),
        open_run(tmp_path, CONFIG),
    ):
        pass


HOLD = """
import sys
from sketch_jax.train.run_directory import open_run

with open_run(sys.argv[1], {}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError) as caught, open_run(tmp_path, {}):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: process {holder.pid} is writing this run; wait for it, stop it, "
        "or use another --name or --output-dir"
    )
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with open_run(tmp_path, {}):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = f"{tmp_path}/run: this file system locks no files (No locks available), and two runs"
    with pytest.raises(InputError, match=re.escape(message)), open_run(tmp_path / "run", {"seed": 0}):
        pass


def test_one_process_cannot_hold_a_run_twice(tmp_path):
    with (
        open_run(tmp_path, {}),
        pytest.raises(InputError, match=f"process {os.getpid()}"),
        open_run(tmp_path, {}),
    ):
        pass


def test_an_export_in_progress_is_no_half_written_file(tmp_path):
    (tmp_path / ".timm.1a2b.partial").mkdir()
    with open_run(tmp_path, {}):
        assert (tmp_path / ".timm.1a2b.partial").is_dir()


def test_half_written_files_of_a_killed_start_are_removed(tmp_path):
    (tmp_path / ".run.json.123.partial").write_text("{")
    with open_run(tmp_path, {}):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    for place in (tmp_path / "run", tmp_path / "run" / "below"):
        with (
            pytest.raises(InputError, match="a file stands where a directory is needed"),
            open_run(place, {}),
        ):
            pass


def test_a_read_only_disk_is_named(tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        for place in (tmp_path, tmp_path / "run"):
            with (
                pytest.raises(InputError, match="cannot be written: Read-only file system"),
                open_run(place, {}),
            ):
                pass
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


AS_NOBODY = """
import os, sys
from sketch_jax.errors import InputError
from sketch_jax.train.run_directory import open_run
if os.getuid() == 0:
    os.setuid(65534)
try:
    with open_run(sys.argv[1], {}):
        print("opened")
except InputError as error:
    print(error)
"""


def test_a_directory_without_permission_is_named():
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, directory],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
    assert done.stderr == ""
    assert done.stdout.startswith(f"{directory}/.lock: cannot be written: Permission denied (")
    assert done.stdout.endswith("you may not write there: write elsewhere or change the permissions\n")


def test_the_run_card_is_replaced_whole_and_is_strict_json(tmp_path):
    assert read_run_card(tmp_path) == {}
    write_run_card(
        tmp_path, {"status": "running", "metrics": {"loss": float("nan"), "best": [float("inf"), 1.5]}}
    )
    card = json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    assert card == {"status": "running", "metrics": {"loss": None, "best": [None, 1.5]}}
    write_run_card(tmp_path, {"status": "finished"})
    assert read_run_card(tmp_path) == {"status": "finished"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_card_that_does_not_fit_leaves_the_old_one(tmp_path):
    write_run_card(tmp_path, {"status": "running"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match=r"run.json: cannot be written: File too large"):
            write_run_card(tmp_path, {"status": "x" * 2000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_run_card(tmp_path) == {"status": "running"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_records_are_equal_whether_they_come_from_python_or_from_json():
    assert differences({"a": [1, 2], "b": {}, "c": "é"}, {"a": (1, 2), "b": {}, "c": "é"}) == {}
    assert differences({"a": {}}, {"a": {"b": 1}}) == {"a": "{} → (absent)", "a.b": "(absent) → 1"}
