"""Folders, tables and weights that this user may not read are named, with the system's reason."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sketch_jax.data.files import list_images
from sketch_jax.data.tables import read_table
from sketch_jax.errors import InputError
from sketch_jax.weights.tensors import read_stored

NOBODY = 65534


@pytest.fixture
def place():
    """A folder that anybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def not_as_root():
    """Root may read everything; another user takes over for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("images", lambda path: list_images(path, nested=True)),
        ("train.csv", lambda path: read_table(path, option="--source.train", required=True)),
        ("model.safetensors", read_stored),
    ],
)
def test_what_this_user_may_not_read_is_named_with_the_reason(place, name, read):
    path = place / name
    if path.suffix == "":
        path.mkdir()
    elif path.suffix == ".csv":
        path.write_text("id,label\n1,cat\n")
    else:
        save_file({"a": np.zeros(2, np.float32)}, path)
    path.chmod(0)
    with not_as_root(), pytest.raises(InputError) as refusal:
        read(path)
    path.chmod(0o700)
    assert str(refusal.value) == (
        f"{path}: cannot be read (Permission denied); check its permissions and the disk"
    )
