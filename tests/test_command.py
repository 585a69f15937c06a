"""What all commands do with what goes wrong."""

import pytest
from jax import numpy as jnp

from sketch_jax.command import guarded
from sketch_jax.main import main


def test_a_device_without_room_is_told_with_what_takes_less(capsys):
    assert guarded(lambda: jnp.ones((10**7, 10**7)).sum().item()) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "error: a device has no room for this (RESOURCE_EXHAUSTED: Out of memory allocating"
    )
    assert told.endswith("bytes.); take a smaller model or smaller images\n")


def test_a_run_that_finds_no_room_names_the_options_that_take_less(capsys, monkeypatch, root):
    from sketch_jax import run

    monkeypatch.setattr(run, "run", lambda config: jnp.ones((10**7, 10**7)).sum().item())
    assert main(["--config", str(root / "configs" / "quickstart.py")]) == 2
    assert "; choose a smaller --batch-size, or on an accelerator" in capsys.readouterr().err


def test_other_limits_of_a_device_keep_their_traceback():
    def fail() -> int:
        raise RuntimeError("RESOURCE_EXHAUSTED: Shared memory size limit exceeded")

    with pytest.raises(RuntimeError, match="Shared memory"):
        guarded(fail)


def test_other_errors_of_programs_keep_their_traceback():
    def fail() -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        guarded(fail)
