"""Compiled programs kept from process to process; each case is a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from sketch_jax.train.program_cache import remove_halves

SCRIPT = """
import json, jax
from jax import numpy as jnp
from sketch_jax.train.program_cache import keep_compiled_programs

directory = keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
value = jax.jit(lambda x: (x @ x).sum())(jnp.arange(16.0).reshape(4, 4))
used = str(jax.config.jax_compilation_cache_dir)
print(json.dumps([directory and str(directory), sum(hits), float(value), used]))
"""


def run_script(**environment):
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def test_a_second_process_finds_the_programs_of_the_first(tmp_path):
    directory, hits, value, _ = run_script(XDG_CACHE_HOME=str(tmp_path))
    assert directory.startswith(str(tmp_path / "sketch_jax" / "programs-"))
    assert hits == 0
    again, hits, same, _ = run_script(XDG_CACHE_HOME=str(tmp_path))
    assert again == directory
    assert hits > 0
    assert same == value


def test_a_directory_that_jax_was_told_stands(tmp_path):
    told = str(tmp_path / "elsewhere")
    directory, _, _, used = run_script(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=told)
    assert (directory, used) == (None, told)
    assert not (tmp_path / "sketch_jax").exists()


def test_an_empty_directory_turns_keeping_off(tmp_path):
    directory, _, _, used = run_script(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR="")
    assert (directory, used) == (None, "None")
    assert not (tmp_path / "sketch_jax").exists()


@pytest.mark.parametrize("lost", ["-atime", "-cache"])
def test_an_entry_that_a_killed_process_left_in_half_is_made_anew(tmp_path, lost):
    directory, *_ = run_script(XDG_CACHE_HOME=str(tmp_path))
    entries = list(Path(directory).glob(f"*{lost}"))
    assert entries
    for entry in entries:
        entry.unlink()
    for program in Path(directory).glob("*-cache"):
        program.write_bytes(program.read_bytes()[:100])
    for hits_wanted in (False, True):
        _, hits, value, _ = run_script(XDG_CACHE_HOME=str(tmp_path), PYTHONWARNINGS="error")
        assert (hits > 0, value) == (hits_wanted, 3920.0)


def test_a_run_does_not_wait_for_a_lock_that_another_holds(tmp_path):
    (tmp_path / ".lockfile").touch()
    (tmp_path / "half-cache").write_text("")
    with filelock.FileLock(tmp_path / ".lockfile"):
        began = time.monotonic()
        remove_halves(tmp_path)
        assert time.monotonic() - began < 5
    assert (tmp_path / "half-cache").exists()
    remove_halves(tmp_path)
    assert not (tmp_path / "half-cache").exists()


def test_a_run_goes_on_where_no_directory_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    directory, hits, value, _ = run_script(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (directory, hits) == (None, 0)
    assert value == 3920.0
