"""The members of a soup: checkpoints of runs, and whether their parameters may be averaged at all."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sketch_jax.config import Config
from sketch_jax.data.splits import held_out_fold
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.flows.finished import read_run_config
from sketch_jax.flows.folds import fold_runs
from sketch_jax.flows.members import short_names
from sketch_jax.optim.options import ScheduleFreeAdamW, base_of
from sketch_jax.run.trained_model import Found, find_checkpoint, read_predicting
from sketch_jax.train.checkpoint_seal import is_sealed, read_seal
from sketch_jax.train.run_directory import CHECKPOINTS_NAME, SPLIT_NAME

SHARED_RECORD = ("model", "class_names", "preprocessing")
"""What must be the same in the records of all members."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoupMember:
    """A checkpoint of a run."""

    name: str
    directory: Path
    """Of the run."""
    found: Found

    @property
    def config(self) -> Config:
        """Of the run."""
        assert self.found.config is not None, "runs without config.json are refused"
        return self.found.config

    @property
    def start(self) -> str:
        """What its parameters began with: the fingerprint of weights, and the seed of what they lack."""
        weights = self.found.record["start"]
        return (
            f"seed {self.config.seed}"
            if weights is None
            else f"weights {weights[:12]}, seed {self.config.seed}"
        )

    @property
    def step(self) -> int:
        """Of the checkpoint."""
        return int(self.found.path.name)

    def held_out(self) -> set[str]:
        """Ids of the images that it was not trained on.

        Raises:
            InputError: its split.csv is gone.
        """
        path = self.directory / SPLIT_NAME
        if not path.is_file():
            raise InputError(f"{path}: is gone, so that nobody knows what {self.name} held out; put it back")
        fold = held_out_fold(self.config.split)
        with open(path, newline="", encoding="utf-8") as file:
            rows = [] if self.config.train_on_all else list(csv.DictReader(file))
        return {row["id"] for row in rows if int(row["fold"]) == fold}

    def load(self) -> dict[str, np.ndarray]:
        """Its leaves, below `trainable/` and `statistics/`."""
        return read_predicting(self.found)


def find_members(paths: Sequence[Path]) -> Sequence[SoupMember]:
    """The checkpoints that are meant by paths.

    Args:
        paths: a run stands for the checkpoint that it predicts with, a cross-validation for those of all its
            folds, `RUN/checkpoints` for all of a run, and `RUN/checkpoints/STEP` for that one.

    Raises:
        InputError: a path is nothing of these, or there is none; or the training was schedule-free.
    """
    places = [place for path in paths for place in _expand(path)]
    if not places:
        raise InputError("there is nothing to average; name a run at least")
    members = [(directory, find_checkpoint(directory, step)) for directory, step in places]
    free = [f"{found.path}" for _, found in members if _is_schedule_free(found)]
    refuse_faults(
        "schedule-free training predicts with a mean in the optimizer's state, which is not averaged",
        free,
        "leave them out, or vote with them: scripts/ensemble.py",
    )
    names = short_names(
        [directory / CHECKPOINTS_NAME / str(step) if step else directory for directory, step in places]
    )
    return [
        SoupMember(name=name, directory=directory, found=found)
        for name, (directory, found) in zip(names, members, strict=True)
    ]


def _is_schedule_free(found: Found) -> bool:
    return found.config is not None and isinstance(base_of(found.config.optimizer), ScheduleFreeAdamW)


def _expand(path: Path) -> Sequence[tuple[Path, int | None]]:
    """Directories of runs, with the step that is wanted of each."""
    if path.name == CHECKPOINTS_NAME:
        read_run_config(path.parent)
        steps = sorted(
            int(place.name) for place in path.iterdir() if place.name.isdigit() and is_sealed(place)
        )
        return [(path.parent, step) for step in steps]
    if path.parent.name == CHECKPOINTS_NAME and path.name.isdigit():
        read_run_config(path.parent.parent)
        return [(path.parent.parent, int(path.name))]
    config = read_run_config(path)
    return [(path, None)] if config.folds is None else [(run.directory, None) for run in fold_runs(config)]


def faults_of(first: SoupMember, other: SoupMember) -> str | None:
    """Why the parameters of a member cannot be averaged with those of the first, wherever they began."""
    mine, its = first.found.record, other.found.record
    if mine["model"]["name"] != its["model"]["name"]:
        return f"is a {its['model']['name']}, and {first.name} a {mine['model']['name']}"
    for part in SHARED_RECORD:
        if mine[part] != its[part]:
            what = part.replace("_", " ")
            return f"has another {what} than {first.name}: {_difference(mine[part], its[part])}"
    trained, its_trained = (_paths(member) for member in (first, other))
    if trained != its_trained:
        example = min(trained ^ its_trained)
        return f"has trained other parameters than {first.name}, such as {example}"
    return None


def starts_elsewhere(first: SoupMember, other: SoupMember, makes_new: bool) -> bool:
    """Whether a member began with other parameters than the first.

    Args:
        first: of the members.
        other: any.
        makes_new: whether some parameters are newly made, by the seed.
    """
    weights = [member.found.record["start"] for member in (first, other)]
    return weights[0] != weights[1] or (makes_new and first.config.seed != other.config.seed)


def _paths(member: SoupMember) -> set[str]:
    seal = read_seal(member.found.path)
    place = "averaged/trainable/" if member.found.averaged else "trainable/"
    return {path.removeprefix(place) for path in (*seal.packed, *seal.arrays) if path.startswith(place)}


def _difference(mine: Any, its: Any) -> str:
    if isinstance(mine, Mapping) and isinstance(its, Mapping):
        names = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
        return ", ".join(f"{name} {mine.get(name)!r} and {its.get(name)!r}" for name in names[:3])
    return f"{len(mine)} and {len(its)}"
