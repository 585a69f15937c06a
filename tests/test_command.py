"""What all commands do with what goes wrong."""

import pytest
from jax import numpy as jnp

from sketch_jax.command import guarded


def test_a_device_without_room_is_told_with_what_takes_less(capsys):
    assert guarded(lambda: jnp.ones((10**7, 10**7)).sum().item()) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the memory of the device is too small for this (RESOURCE_EXHAUSTED: ")
    assert "choose a smaller --batch-size, or for training the same batch in parts by" in told
    assert len(told.splitlines()) == 1


def test_other_errors_of_programs_keep_their_traceback():
    def fail() -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        guarded(fail)
