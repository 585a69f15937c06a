"""A file is the old one or the new one, never half of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sketch_jax.errors import InputError
from sketch_jax.files import (
    append,
    free_bytes,
    make_directory,
    open_to_append,
    refuse_lack_of_space,
    unwritable,
    write_atomically,
)

ROOT = Path(__file__).parents[1]

REPLACE_UNTIL_KILLED = """
import sys
from sketch_jax.files import write_atomically

number = 0
while True:
    write_atomically(sys.argv[1], str(number % 10) * 300_000)
    number += 1
    print(number, flush=True)
"""


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "größer")
    assert path.read_bytes() == "größer".encode()
    write_atomically(str(path), b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    for wait_seconds in (0.0, 0.013, 0.037):
        process = subprocess.Popen(
            [sys.executable, "-c", REPLACE_UNTIL_KILLED, str(path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait_seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = path.read_text()
        assert len(content) == 300_000
        assert content == content[0] * 300_000


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_directory_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"absent/file: cannot be written: No such file or directory \(.* free there\)"
    ):
        write_atomically(tmp_path / "absent" / "file", "")


def test_a_directory_in_the_place_of_the_file_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        write_atomically(tmp_path / "file", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_directories_are_made_with_their_parents_and_may_exist(tmp_path):
    for _ in range(2):
        assert make_directory(tmp_path / "a" / "b").is_dir()


def test_what_is_appended_is_there_at_once(tmp_path):
    with open_to_append(tmp_path / "file") as file:
        append(file, b"one\n")
        append(file, b"two\n")
        assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"
    with open_to_append(tmp_path / "file") as file:
        append(file, b"three\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\nthree\n"


def test_a_full_device_is_named_when_appending():
    if not Path("/dev/full").exists():
        pytest.skip("needs the device that is always full")
    with (
        open_to_append("/dev/full") as file,
        pytest.raises(InputError, match=r"/dev/full.*No space left on device"),
    ):
        append(file, b"x")


def test_free_bytes_are_those_of_the_disk_also_of_what_does_not_exist_yet(tmp_path):
    found = os.statvfs(tmp_path)
    expected = found.f_bavail * found.f_frsize
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(expected, rel=0.05)


def test_lack_of_space_is_refused_before_writing(tmp_path):
    refuse_lack_of_space(tmp_path, 1)
    free = free_bytes(tmp_path)
    assert free is not None
    with pytest.raises(
        InputError, match=r"bytes are needed, but only [\d,]+ bytes are free there; free some space"
    ):
        refuse_lack_of_space(tmp_path, free)


def test_an_unknown_fault_has_a_remedy_too(tmp_path):
    message = str(unwritable(tmp_path, OSError(5, "Input/output error")))
    assert message.startswith(f"{tmp_path}: cannot be written: Input/output error (")
    assert message.endswith("write to another directory")
