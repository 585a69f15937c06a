"""Directories of weights for timm, and for this project: they appear whole or not at all."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sketch_jax.errors import InputError
from sketch_jax.files import PARTIAL_SUFFIX, make_directory, sync_directory, unwritable, write_atomically
from sketch_jax.trees import flatten
from sketch_jax.weights.names import to_timm
from sketch_jax.weights.sources import CONFIG_FILE, OUR_WEIGHTS_FILE, WEIGHTS_FILE
from sketch_jax.weights.tensors import OUR_FORMAT, write_tensors


def write_timm_directory(
    directory: Path, params: Mapping[str, Any], statistics: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Writes a model in timm's layout, for `timm.create_model("local-dir:DIRECTORY", pretrained=True)`.

    Args:
        directory: must not exist yet, or be empty.
        params: parameters by our paths.
        statistics: running statistics by our paths.
        config: what `timm_config` builds, or the `config.json` of the weights.

    Raises:
        InputError: the directory holds something, or cannot be written.
    """
    with new_directory(directory) as partial:
        _write_config(partial, config)
        write_tensors(partial / WEIGHTS_FILE, to_timm(params, statistics), "pt")


def write_flax_directory(
    directory: Path, params: Mapping[str, Any], statistics: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Writes a model with our paths and layouts (`params/…`, `statistics/…`); `open_weights` reads it.

    Args, Raises: as for `write_timm_directory`.
    """
    leaves = flatten({"params": params, "statistics": statistics})
    with new_directory(directory) as partial:
        _write_config(partial, config)
        arrays = {path: np.asarray(leaf) for path, leaf in leaves.items()}
        write_tensors(partial / OUR_WEIGHTS_FILE, arrays, OUR_FORMAT)


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A directory to be filled in a `with` block, which gets its name only once the block is through.

    Raises:
        InputError: the directory holds something already, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory}: already holds something; name a directory that is new or empty")
    make_directory(directory.absolute().parent)
    place = directory.absolute()
    partial = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        partial.mkdir()
        yield partial
        sync_directory(partial)
        os.replace(partial, directory)
        sync_directory(directory.absolute().parent)
    except OSError as error:
        raise unwritable(directory, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_config(directory: Path, config: Mapping[str, Any]) -> None:
    write_atomically(directory / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
