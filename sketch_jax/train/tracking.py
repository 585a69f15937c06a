"""Metrics over the steps of a run, as lines of JSON and for TensorBoard."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sketch_jax.files import append, open_to_append, write_atomically
from sketch_jax.train.event_files import EventFile

METRICS_NAME = "metrics.jsonl"


def parse_line(line: str) -> dict[str, Any] | None:
    """The metrics of a line; None where it was not written to its end.

    >>> parse_line('{"step": 10, "train/loss": 0.5}')
    {'step': 10, 'train/loss': 0.5}
    >>> parse_line('{"step": 10, "trai')
    """
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("step"), int) else None


def read_lines(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The finished lines of a `metrics.jsonl` and their metrics; empty when there is no such file."""
    if not Path(path).is_file():
        return {}
    lines = Path(path).read_text(errors="replace").split("\n")
    return {line: metrics for line in lines if (metrics := parse_line(line)) is not None}


def format_line(metrics: Mapping[str, Any]) -> str:
    """A line of `metrics.jsonl`; values that are not finite become null.

    >>> print(format_line({"step": 3, "train/loss": 0.25, "val/loss": float("nan")}), end="")
    {"step": 3, "train/loss": 0.25, "val/loss": null}
    """
    finite = {
        name: value if isinstance(value, int) or math.isfinite(value) else None
        for name, value in metrics.items()
    }
    return json.dumps(finite) + "\n"


class Tracker:
    """Writes metrics down as they come; a context manager.

    A run that goes on from step s takes back what was written of later steps: no step is there twice. Where
    it was asked to stop between two lines, there is a line for that step, too.
    """

    def __init__(self, directory: str | os.PathLike[str], *, step: int, tensorboard: bool = True):
        """Opens the files of a run, those of an earlier start included.

        Args:
            directory: of the run.
            step: number of steps done; later lines are removed.
            tensorboard: whether to write an event file too.

        Raises:
            InputError: the files cannot be written.
        """
        path = Path(directory) / METRICS_NAME
        kept = {line: metrics for line, metrics in read_lines(path).items() if metrics["step"] <= step}
        self._present = {_names(metrics) for metrics in kept.values() if metrics["step"] == step}
        write_atomically(path, "".join(f"{line}\n" for line in kept))
        self._lines = open_to_append(path)
        self._events = EventFile(directory, step + 1) if tensorboard else None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """Adds a line; one that an earlier start of the run wrote already is not repeated.

        Args:
            step: number of steps done.
            metrics: such as `train/loss`.

        Raises:
            InputError: the disk is full.
        """
        line = {"step": step, **metrics}
        if _names(line) in self._present:
            return
        append(self._lines, format_line(line).encode())
        if self._events is not None:
            self._events.write(step, metrics)

    def close(self) -> None:
        """Closes the files."""
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _names(line: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    return line["step"], tuple(sorted(line))
