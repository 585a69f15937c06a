"""The members of an ensemble, found from what a user names: runs, cross-validations, files of predictions."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from sketch_jax.config import Config, config_from_json
from sketch_jax.errors import InputError
from sketch_jax.predictions import Predictions, load_predictions
from sketch_jax.run.texts import counted
from sketch_jax.train.run_directory import CONFIG_NAME, read_config_json

HELD_OUT_NAMES = ("oof.npz", "validation.npz")
"""Files of predictions of images that a model was not trained on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """The predictions of a model, or of the folds of one."""

    name: str
    path: Path
    held_out: Predictions | None
    """Of images that it was not trained on."""
    tests: tuple[Predictions, ...]
    """Of the test images, by each fold; empty: there are none."""


def read_members(paths: Sequence[Path], held_out: Sequence[Path]) -> Sequence[Member]:
    """Reads the members.

    Args:
        paths: of runs, of cross-validations, of directories of predictions, or npz files of test predictions.
        held_out: npz files of the held-out predictions of the members, in the same order; empty: those that
            are in the directories.

    Raises:
        InputError: a path holds no predictions, or the numbers differ.
    """
    if held_out and len(held_out) != len(paths):
        raise InputError(
            f"--held-out names {counted(len(held_out), 'file')} for {counted(len(paths), 'member')}; name "
            "one for each, in the same order"
        )
    members = [_read(path) for path in paths]
    if held_out:
        members = [
            dataclasses.replace(member, held_out=load_predictions(path))
            for member, path in zip(members, held_out, strict=True)
        ]
    names = short_names([member.path for member in members])
    return [dataclasses.replace(member, name=name) for member, name in zip(members, names, strict=True)]


def held_out_of(members: Sequence[Member]) -> Mapping[str, Predictions]:
    """Held-out predictions by member; empty unless all have some."""
    found = {member.name: member.held_out for member in members if member.held_out is not None}
    return found if len(found) == len(members) else {}


def config_beside(path: Path) -> Config | None:
    """The configuration of the run that predictions belong to; None: no run is around them."""
    for directory in (path, *path.resolve().parents[:3]):
        if (directory / CONFIG_NAME).is_file():
            found = read_config_json(directory)
            return config_from_json(found) if {"source", "split"} <= found.keys() else None
    return None


def _read(path: Path) -> Member:
    if path.suffix == ".npz":
        return Member(name="", path=path, held_out=None, tests=(load_predictions(path),))
    directory = path / "predictions" if (path / "predictions").is_dir() else path
    held_out = [directory / name for name in HELD_OUT_NAMES if (directory / name).is_file()]
    folds = sorted(directory.glob("test_*.npz"))
    tests = folds or [file for file in (directory / "test.npz",) if file.is_file()]
    if not held_out and not tests:
        raise InputError(
            f"{path}: holds no predictions; name a finished run, a cross-validation, or an npz file of "
            "predictions"
        )
    return Member(
        name="",
        path=path,
        held_out=load_predictions(held_out[0]) if held_out else None,
        tests=tuple(load_predictions(file) for file in tests),
    )


def short_names(paths: Sequence[Path]) -> Sequence[str]:
    """The last parts of the paths, as few as tell them apart; a path that is named again gets a number."""
    parts = [path.resolve().parts for path in paths]
    longest = max(map(len, parts))
    for count in range(1, longest + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [f"{name} ({names[:place].count(name) + 1})" if name in names[:place] else name
            for place, name in enumerate(names)]  # fmt: skip
