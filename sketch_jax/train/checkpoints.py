"""Checkpoints of a run: written beside the training, the last and the best kept, read whole or not at all."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.files import make_directory, refuse_lack_of_space, unwritable
from sketch_jax.train.checkpoint_arrays import (
    create_checkpointer,
    disk_error,
    read_arrays,
    refuse_other_leaves,
    start_writing,
)
from sketch_jax.train.checkpoint_seal import (
    DamagedError,
    Seal,
    check_files,
    discard,
    fingerprint_files,
    finite_or_none,
    is_sealed,
    json_copy,
    read_seal,
    write_seal,
)
from sketch_jax.train.differences import differences
from sketch_jax.train.packing import describe, is_packed, leaves_by_path
from sketch_jax.train.retention import best_step, kept_steps, ranked

UNFINISHED_MARK = ".orbax-checkpoint-tmp"


class Restored(NamedTuple):
    """A state read back from disk, and what stood beside it."""

    state: Any
    extra: Mapping[str, Any]
    step: int
    metric: float | None


class Checkpoints:
    """The checkpoints below one directory; a context manager that waits for the last save.

    A checkpoint counts from the moment its `checkpoint.json` is there: it is written last and lists every
    other file with its checksum. What was killed half-way lacks it; what was damaged later does not match it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        report: Callable[[str], None],
        keep_last: int = 2,
        higher_is_better: bool = True,
        record: Mapping[str, Any] | None = None,
        complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ):
        """Looks through the directory; writes nothing yet.

        Args:
            directory: holds a directory for each step; may not exist.
            report: told about each checkpoint that is passed over, and why.
            keep_last: newest checkpoints that are kept, beside the best; at least 1.
            higher_is_better: whether the best metric is the highest or the lowest.
            record: JSON values that stand in each checkpoint: all that is needed to use its arrays without
                the run; None: whatever stands there is accepted.
            complete: gives a record of an earlier version the fields that have come since.

        Raises:
            InputError: the checkpoints that are there were made with another record.
        """
        if keep_last < 1:
            raise InputError(f"keep_last {keep_last}: the newest checkpoint must be kept; use 1 or more")
        self.directory = Path(directory)
        self._report, self._keep_last, self._higher_is_better = report, keep_last, higher_is_better
        self._record, self._complete = record, complete
        self._metrics: dict[int, float | None] = {}
        self._damaged = False
        self._look_through()
        self._check_record()
        # Orbax is imported while the caller compiles; later the same thread finishes the saves.
        self._background = ThreadPoolExecutor(1, "checkpoints")
        self._checkpointer = self._background.submit(create_checkpointer)
        self._saving: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def steps(self) -> tuple[int, ...]:
        """Steps that have a finished checkpoint, oldest first."""
        return tuple(sorted(self._metrics))

    def best(self) -> tuple[int, float] | None:
        """Step and metric of the best checkpoint; None: none has a metric."""
        step = best_step(self._metrics, self._higher_is_better)
        metric = None if step is None else self._metrics[step]
        return None if step is None or metric is None else (step, metric)

    def record(self) -> Mapping[str, Any] | None:
        """What stands in the newest checkpoint about its model; None: there is no checkpoint."""
        found = read_seal(self._path(max(self._metrics))).record if self._metrics else None
        return None if found is None else self._complete(found)

    def save(
        self, step: int, state: Any, *, extra: Mapping[str, Any] | None = None, metric: float | None = None
    ) -> None:
        """Copies a state and returns; it is written in the background.

        A step that is saved already keeps its arrays and gets the new extra and metric.

        Args:
            step: not before the newest saved one.
            state: any pytree of `jax.Array`; its buffers may be given up as soon as this returns.
            extra: JSON values that are read back with the state.
            metric: by which the best is chosen; None or not finite: never the best.

        Raises:
            InputError: this save, or the one before it, could not be written.
        """
        self.wait()
        if self._metrics and step < max(self._metrics):
            raise ValueError(f"step {step} is saved after step {max(self._metrics)}")
        leaves = leaves_by_path(state)
        small = {path: leaf for path, leaf in leaves.items() if is_packed(leaf)}
        large = {path: leaf for path, leaf in leaves.items() if path not in small}
        seal = Seal(
            step=step,
            metric=finite_or_none(metric),
            extra=json_copy(extra),
            record=json_copy(self._record),
            packed={path: describe(leaf) for path, leaf in small.items()},
            arrays={path: describe(leaf) for path, leaf in large.items()},
            files={},
        )
        if step in self._metrics:
            self._renew(seal)
            return
        make_directory(self.directory)
        refuse_lack_of_space(self.directory, sum(leaf.nbytes for leaf in leaves.values()))
        with self._explaining():
            start_writing(self._checkpointer.result(), self._path(step), small, large)
        self._saving = self._background.submit(self._finish, seal)

    def wait(self) -> None:
        """Returns when the last save is on disk.

        Raises:
            InputError: it could not be written; what was saved before is untouched.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def close(self) -> None:
        """Waits for the last save and ends the threads.

        Raises:
            InputError: it could not be written.
        """
        try:
            self.wait()
        finally:
            self._checkpointer.result().close()
            self._background.shutdown()

    def restore_latest(self, template: Any) -> Restored | None:
        """Reads the newest checkpoint that is whole.

        Args:
            template: pytree of arrays or `jax.ShapeDtypeStruct`; their shardings say where leaves are put,
                on whatever devices they were saved. Or a function from a step to that of its checkpoint.

        Returns:
            None where nothing was saved.

        Raises:
            InputError: every checkpoint is damaged, or has other leaves than the template.
        """
        self.wait()
        return self._restore_first(sorted(self._metrics, reverse=True), template)

    def restore_best(self, template: Any) -> Restored | None:
        """Reads the best checkpoint that is whole; where none has a metric, the newest.

        Takes, returns and raises what `restore_latest` does.
        """
        self.wait()
        return self._restore_first(ranked(self._metrics, self._higher_is_better), template)

    def _path(self, step: int) -> Path:
        return self.directory / str(step)

    def _look_through(self) -> None:
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            if UNFINISHED_MARK in path.name or (path.name.isdigit() and not is_sealed(path)):
                self._report(f"{path}: this checkpoint was never finished and is not used")
            elif path.name.isdigit():
                try:
                    self._metrics[int(path.name)] = read_seal(path).metric
                except DamagedError as damage:
                    self._pass_over(int(path.name), damage)

    def _pass_over(self, step: int, damage: DamagedError) -> None:
        self._damaged = True
        self._metrics.pop(step, None)
        self._report(f"{self._path(step)}: this checkpoint is damaged and is not used: {damage}")

    def _check_record(self) -> None:
        stored = self.record()
        if stored is not None and self._record is not None:
            refuse_faults(
                f"{self.directory}: the checkpoints there were made with other values; stored → given",
                [f"{path}: {change}" for path, change in differences(stored, self._record).items()],
                "write to another directory, or remove this one to start over",
            )

    def _renew(self, seal: Seal) -> None:
        old = read_seal(self._path(seal.step))
        metric = old.metric if seal.metric is None else seal.metric
        if jax.process_index() == 0:
            write_seal(self._path(seal.step), dataclasses.replace(old, metric=metric, extra=seal.extra))
        self._metrics[seal.step] = metric

    def _finish(self, seal: Seal) -> None:
        path = self._path(seal.step)
        with self._explaining():
            self._checkpointer.result().wait_until_finished()
            if jax.process_index() == 0:
                write_seal(path, dataclasses.replace(seal, files=fingerprint_files(path)))
        self._metrics[seal.step] = seal.metric
        self._sweep()

    def _sweep(self) -> None:
        """Deletes what need not be kept, and all that is unfinished or damaged."""
        kept = kept_steps(self._metrics, self._keep_last, self._higher_is_better)
        self._metrics = {step: metric for step, metric in self._metrics.items() if step in kept}
        if jax.process_index() == 0:
            for path in self.directory.iterdir():
                if UNFINISHED_MARK in path.name or (path.name.isdigit() and int(path.name) not in kept):
                    discard(path)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turns failures of the disk into words for the user, and removes what was half-written."""
        try:
            yield
        except Exception as error:
            cause = disk_error(error)
            refusal = None if cause is None else unwritable(self.directory, cause)
            self._replace_checkpointer()
            # Writes that are still in flight may come between; the next save sweeps again.
            with contextlib.suppress(OSError):
                self._sweep()
            if refusal is None:
                raise
            raise refusal from error

    def _replace_checkpointer(self) -> None:
        """After a failure: orbax keeps what failed in mind and would raise it again later."""
        with contextlib.suppress(Exception):
            self._checkpointer.result().close()
        self._checkpointer = self._background.submit(create_checkpointer)

    def _restore_first(self, steps: Iterable[int], template: Any) -> Restored | None:
        for step in list(steps):
            expected = template(step) if callable(template) else template
            leaves = leaves_by_path(expected)
            try:
                seal = read_seal(self._path(step))
                check_files(self._path(step), seal)
            except DamagedError as damage:
                self._pass_over(step, damage)
                continue
            found = self._read(seal, leaves)
            state = jax.tree.unflatten(jax.tree.structure(expected), [found[path] for path in leaves])
            return Restored(state, seal.extra, seal.step, seal.metric)
        if self._damaged:
            raise InputError(
                f"{self.directory}: every checkpoint there is damaged; remove the directory to start over"
            )
        return None

    def _read(self, seal: Seal, leaves: Mapping[str, Any]) -> dict[str, Any]:
        path, stored = self._path(seal.step), {**seal.packed, **seal.arrays}
        refuse_other_leaves(path, stored, {path: describe(leaf) for path, leaf in leaves.items()})
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = {path: getattr(leaf, "sharding", None) or here for path, leaf in leaves.items()}
        return read_arrays(self._checkpointer.result(), path, seal, wanted)
