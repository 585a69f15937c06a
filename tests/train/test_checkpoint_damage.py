"""Whatever happens to a process or a disk, the newest whole checkpoint is found."""

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import (
    ROOT,
    assert_same_bits,
    directories,
    largest_of_data,
    refuse_reports,
    restored_step,
    save_steps,
    truncate,
    value_of,
)
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.files import free_bytes
from sketch_jax.train.checkpoints import Checkpoints


def flip_one_bit(checkpoint: Path) -> None:
    path = largest_of_data(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete_a_file(checkpoint: Path) -> None:
    (checkpoint / "manifest.ocdbt").unlink()


def empty_the_seal(checkpoint: Path) -> None:
    os.truncate(checkpoint / "checkpoint.json", 0)


def change_the_seal(checkpoint: Path) -> None:
    seal = checkpoint / "checkpoint.json"
    seal.write_text(seal.read_text().replace('"metric": 0.3', '"metric": 0.8'))


DAMAGES = {
    truncate: "where .* bytes, crc32 .* was written",
    flip_one_bit: "where .* bytes, crc32 .* was written",
    delete_a_file: r"manifest.ocdbt is unreadable \(No such file or directory\)",
    empty_the_seal: "checkpoint.json is unreadable",
    change_the_seal: "checkpoint.json was changed",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, damage):
    save_steps(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3})
    damage(tmp_path / "3")
    for best in (False, True):
        step, said = restored_step(tmp_path, best)
        assert step == 2
        assert len(said) == 1
        assert said[0].startswith(f"{tmp_path / '3'}: this checkpoint is damaged and is not used: ")
        assert re.search(DAMAGES[damage], said[0])


def test_a_run_goes_on_over_a_damaged_checkpoint(tmp_path):
    save_steps(tmp_path, {1: 0.1, 2: 0.2, 3: 0.9})
    truncate(tmp_path / "3")
    said: list[str] = []
    with Checkpoints(tmp_path, report=said.append) as checkpoints:
        found = checkpoints.restore_latest({"value": jnp.zeros(4, jnp.int32)})
        assert found is not None
        assert found.step == 2
        checkpoints.save(3, {"value": jnp.full(4, 3)}, extra={"position": 3}, metric=0.15)
    assert len(said) == 1
    assert restored_step(tmp_path) == (3, [])
    assert restored_step(tmp_path, best=True) == (2, [])


def test_only_damaged_checkpoints_are_an_error_and_not_a_fresh_start(tmp_path):
    save_steps(tmp_path, {1: 0.1, 2: 0.2})
    truncate(tmp_path / "1")
    truncate(tmp_path / "2")
    with pytest.raises(
        InputError, match="every checkpoint there is damaged; remove the directory to start over"
    ):
        restored_step(tmp_path)


def test_an_unfinished_checkpoint_is_no_checkpoint_and_is_cleared_away_by_the_next_save(tmp_path):
    save_steps(tmp_path, {1: 0.1, 2: 0.2})
    (tmp_path / "2" / "checkpoint.json").unlink()
    shutil.copytree(tmp_path / "2", tmp_path / "3.orbax-checkpoint-tmp")
    step, said = restored_step(tmp_path)
    assert step == 1
    assert said == [
        f"{tmp_path / name}: this checkpoint was never finished and is not used"
        for name in ("2", "3.orbax-checkpoint-tmp")
    ]
    said.clear()
    with Checkpoints(tmp_path, report=said.append) as checkpoints:
        checkpoints.save(2, {"value": jnp.full(4, 2)}, extra={"position": 2})
    assert directories(tmp_path) == ["1", "2"]
    assert restored_step(tmp_path) == (2, [])


SAVE_UNTIL_KILLED = """
import sys
import jax
from jax import numpy as jnp
from sketch_jax.train.checkpoints import Checkpoints

make = lambda step: {"small": jnp.full(50, step), "large": jnp.arange(400_000) * step}
with Checkpoints(sys.argv[1], report=lambda text: print("said", text, flush=True)) as checkpoints:
    found = checkpoints.restore_latest(make(0))
    step = 0 if found is None else found.step
    if found is not None:
        same = jax.tree.map(lambda left, right: bool((left == right).all()), found.state, make(step))
        assert all(jax.tree.leaves(same)) and found.extra == {"position": step}, step
    print("begin", step, flush=True)
    while True:
        step += 1
        checkpoints.save(step, make(step), extra={"position": step}, metric=1.0 / step)
        print("started", step, flush=True)
"""


def killed_in_mid_save(directory: Path, seconds: float) -> tuple[int, int]:
    """Step that a process began with, and the last save that it began before it was killed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(directory)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    begin, first = -1, ""
    while not first.startswith("started"):
        first = process.stdout.readline()
        assert first, process.stderr.read()
        begin = int(first.split()[1]) if first.startswith("begin") else begin
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    out, errors = process.communicate()
    assert (process.returncode, errors) == (-signal.SIGKILL, "")
    return begin, int((first + out).split("started")[-1])


def test_a_process_killed_in_mid_save_goes_on_from_a_whole_checkpoint(tmp_path):
    numbers = random.Random(0)
    least = 0
    for _ in range(3):
        begin, newest = killed_in_mid_save(tmp_path, numbers.uniform(0.3, 0.8))
        assert begin >= least
        least = newest - 1
        assert least > begin
    said: list[str] = []
    with Checkpoints(tmp_path, report=said.append) as checkpoints:
        found = checkpoints.restore_latest({"small": jnp.zeros(50, int), "large": jnp.zeros(400_000, int)})
        assert found is not None
        assert found.step >= least
        np.testing.assert_array_equal(found.state["large"], np.arange(400_000) * found.step)
        assert checkpoints.best() == (1, 1.0)
    assert all(text.endswith("this checkpoint was never finished and is not used") for text in said)


@contextlib.contextmanager
def largest_file_of(size: int):
    """Files cannot grow beyond a size: a disk that fills up, for everybody who may not mount one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int):
    """A real disk of a few megabytes."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_is_named_with_its_free_bytes_and_earlier_checkpoints_stay(tmp_path):
    with small_disk(tmp_path / "disk", 5) as disk:
        directory = disk / "checkpoints"
        with Checkpoints(directory, report=refuse_reports) as checkpoints:
            checkpoints.save(1, value_of(1))
            checkpoints.save(2, value_of(2))
            with pytest.raises(InputError) as caught:
                checkpoints.save(3, value_of(3))
            assert checkpoints.steps() == (1, 2)
            needed, free = (
                int(text.replace(",", "")) for text in re.findall(r"([\d,]+) bytes", str(caught.value))
            )
            assert needed > value_of(3)["value"].nbytes > 0.5 * free
            assert free == free_bytes(disk)
            assert str(caught.value) == (
                f"{directory}: cannot be written: {needed:,} bytes are needed, but only {free:,} bytes "
                "are free there; free some space or write to another disk"
            )
        (disk / "filler").write_bytes(bytes(free_bytes(disk)))
        with Checkpoints(directory, report=refuse_reports) as checkpoints:
            found = checkpoints.restore_latest(value_of(0))
            with pytest.raises(InputError, match="but only 0 bytes are free there"):
                checkpoints.save(3, value_of(3))
        assert directories(directory) == ["1", "2"]
        assert found is not None
        assert_same_bits(found.state, value_of(2))


def test_a_file_that_cannot_grow_is_refused_and_earlier_checkpoints_stay(tmp_path):
    with Checkpoints(tmp_path, report=refuse_reports) as checkpoints:
        checkpoints.save(1, value_of(1))
        checkpoints.wait()
        with largest_file_of(1_000_000):
            checkpoints.save(2, value_of(2))
            with pytest.raises(
                InputError, match=f"{tmp_path}: cannot be written: File too large .*ulimit -f"
            ):
                checkpoints.wait()
        assert directories(tmp_path) == ["1"]
        checkpoints.save(2, value_of(2))
        found = checkpoints.restore_latest(value_of(0))
    assert found is not None
    assert_same_bits(found.state, value_of(2))


def test_a_file_in_the_way_of_the_directory_is_refused(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with (
        Checkpoints(tmp_path / "checkpoints", report=refuse_reports) as checkpoints,
        pytest.raises(InputError, match="a file stands where a directory is needed"),
    ):
        checkpoints.save(1, value_of(1))
