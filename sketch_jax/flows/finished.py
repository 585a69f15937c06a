"""A finished run, opened again: its data, and the model that predicts."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from sketch_jax.config import Config, config_from_json
from sketch_jax.data.pipeline import evaluation_batches
from sketch_jax.data.records import Examples
from sketch_jax.errors import InputError
from sketch_jax.inference.predict import predict_logits
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.run.phases import Phase, phase_of_state
from sketch_jax.run.programs import abstract_state, frozen_of, make_predicting_leaves
from sketch_jax.run.record import complete_record, model_record
from sketch_jax.run.setting import Setting, prepare
from sketch_jax.run.training import restore_predicting
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.mesh import stage
from sketch_jax.train.options import averages_predict
from sketch_jax.train.run_directory import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    read_config_json,
    read_run_card,
)
from sketch_jax.train.state import from_disk
from sketch_jax.trees import Tree


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A run and the leaves that it predicts with."""

    setting: Setting
    phase: Phase
    trainable: Tree
    frozen: Tree
    statistics: Tree


def read_run_config(directory: Path) -> Config:
    """The configuration of a run, to be used where it lies now.

    Raises:
        InputError: the directory is of no run.
    """
    if not (directory / CONFIG_NAME).is_file():
        raise InputError(f"{directory}: is no run, as it has no {CONFIG_NAME}; name the directory of one")
    config = config_from_json(read_config_json(directory))
    return dataclasses.replace(config, output_dir=str(directory))


def open_finished(config: Config, console: Console) -> Finished:
    """The model of a run's best checkpoint, and its data; the run's files stay as they are.

    Args:
        config: of the run, from `read_run_config`.
        console: for progress and messages.

    Raises:
        InputError: there is no finished checkpoint, or data or start weights are gone or have changed.
    """
    setting = prepare(config, console)
    directory = setting.directory
    status = read_run_card(directory).get("status")
    if status != "finished":
        console.print(
            f"{directory}: the run has not come to its end ({status}): its best checkpoint so far predicts",
            markup=False,
        )
    with Checkpoints(
        directory / CHECKPOINTS_NAME,
        report=lambda text: console.print(text, markup=False),
        higher_is_better=HIGHER_IS_BETTER[config.selection.metric],
        record=model_record(setting),
        complete=complete_record,
    ) as checkpoints:
        found = restore_predicting(setting, checkpoints)
    if found is None:
        raise InputError(f"{directory}: has no finished checkpoint; let the run reach its first one")
    phase = phase_of_state(setting.phases, found.step)
    state = from_disk(found.state, abstract_state(setting, phase))
    find_leaves = make_predicting_leaves(setting, phase, averages_predict(setting.config.averaging))
    trainable, statistics = find_leaves(state)
    return Finished(
        setting=setting,
        phase=phase,
        trainable=trainable,
        frozen=frozen_of(setting, phase),
        statistics=statistics,
    )


def answer_rows(
    finished: Finished, answer: Callable[[int, Any], Any], examples: Examples, rows: np.ndarray, what: str
) -> np.ndarray:
    """What a function of images says of some rows, on the host; a progress bar is shown.

    Args:
        finished: whose data and loading it is.
        answer: (number of the batch, images on the devices) -> an array whose first axis is theirs.
        examples: a table of the data.
        rows: of the table.
        what: the rows are, for people.
    """
    setting = finished.setting
    batches = evaluation_batches(
        examples,
        rows,
        setting.start.preprocessing,
        batch_size=setting.config.batch_size,
        loading=setting.config.loading,
    )
    columns = [*Progress.get_default_columns()[:-1], TimeRemainingColumn()]
    with Progress(*columns, console=setting.console, transient=True) as bar:
        task = bar.add_task(f"predicting {what} images", total=len(rows))
        numbers = itertools.count()

        def counting(images: Any) -> Any:
            bar.advance(task, setting.config.batch_size)
            return answer(next(numbers), images)

        return predict_logits(counting, batches, lambda images: stage(setting.mesh, images), len(rows))
