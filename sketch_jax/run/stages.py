"""The stages of a run in order; each takes the values of the one before."""

import dataclasses
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sketch_jax.config import Config, config_to_json, run_directory
from sketch_jax.inference.submission import write_submission
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.metrics import Counts, count, per_class_recall, summary, task_summaries
from sketch_jax.predictions import Predictions, save_predictions
from sketch_jax.run.card import Card, speed_facts
from sketch_jax.run.data import keep_split
from sketch_jax.run.epoch_ends import selected_metric
from sketch_jax.run.phases import phase_of_state
from sketch_jax.run.programs import Predict, abstract_state, compile_programs, make_predict
from sketch_jax.run.record import complete_config, complete_record, model_record
from sketch_jax.run.setting import Setting, begin_again, prepare
from sketch_jax.run.texts import closing_lines, counted, opening_lines, submission_text
from sketch_jax.run.training import Trained, restore_predicting, train
from sketch_jax.train.checkpoints import Checkpoints, Restored
from sketch_jax.train.host_memory import keep_freed_memory
from sketch_jax.train.loop import held_out_names
from sketch_jax.train.options import Swa, averages_predict
from sketch_jax.train.program_cache import keep_compiled_programs
from sketch_jax.train.run_directory import CHECKPOINTS_NAME, open_run, refuse_other_config
from sketch_jax.train.signals import StoppedError, StopRequest, catch_stop_signals
from sketch_jax.train.state import TrainState, from_disk

FREE_FIELDS = (
    *("name", "output_dir", "logging", "checkpointing"),
    *("loading.workers", "loading.cache", "loading.cache_limit_gigabytes", "loading.prefetch_batches"),
)
"""Fields that may change from start to start: no parameter and no prediction depends on them."""

STOP_NOTICE = (
    "asked to stop: training saves after its next step, predictions are finished first; "
    "Ctrl-C now ends at once, without saving"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended."""

    directory: Path
    exit_code: int
    """0, or 128 and the number of the signal that stopped it."""
    metrics: Mapping[str, float]
    """`val/…` of the best checkpoint, and `test/…` where the test labels are known."""


def run(config: Config, console: Console | None = None) -> Result:
    """Trains, or goes on training, and predicts; everything is written to the run's directory.

    Args:
        config: all that decides the run.
        console: where messages go; None: standard output.

    Raises:
        InputError: the user can mend something; what was there before is untouched.
    """
    began = time.perf_counter()
    keep_freed_memory()
    keep_compiled_programs()
    stated = config_to_json(config)
    # Before the data are read: its split may not fit other data.
    refuse_other_config(run_directory(config), stated, FREE_FIELDS, complete_config)
    setting = prepare(config, console or Console(highlight=False, soft_wrap=True))
    with (
        open_run(setting.directory, stated, free_fields=FREE_FIELDS, complete=complete_config),
        Checkpoints(
            setting.directory / CHECKPOINTS_NAME,
            report=lambda text: setting.console.print(text, markup=False),
            keep_last=config.checkpointing.keep_last,
            higher_is_better=HIGHER_IS_BETTER[config.selection.metric],
            record=model_record(setting),
            complete=complete_record,
        ) as checkpoints,
    ):
        keep_split(setting.directory, setting.data)
        setting.console.print("\n".join(opening_lines(setting)), markup=False)
        card = Card(setting=setting, began=began)
        card.open()
        try:
            with catch_stop_signals(STOP_NOTICE) as stop:
                return _train_and_predict(setting, card, stop, checkpoints)
        except BaseException as error:
            card.write("failed", error=f"{type(error).__name__}: {error}")
            raise


def _train_and_predict(setting: Setting, card: Card, stop: StopRequest, checkpoints: Checkpoints) -> Result:
    try:
        trained = train(setting, checkpoints, stop, lambda: card.write("running"))
    except StoppedError as stopped:
        return _leave(setting, card, 0, stopped.signal_number, bool(checkpoints.steps()), {})
    if stop.requested is not None and trained.outcome.interrupted:
        return _leave(
            setting, card, trained.outcome.steps_taken, stop.requested, True, speed_facts(setting, trained)
        )
    return _predict(setting, card, trained, checkpoints)


def _leave(
    setting: Setting, card: Card, taken: int, signal_number: int, saved: bool, facts: Mapping[str, Any]
) -> Result:
    """The end of a run that was asked to stop: what was trained is saved already."""
    card.write("interrupted", **facts)
    cause = "Ctrl-C" if signal_number == signal.SIGINT else signal.Signals(signal_number).name
    setting.console.print(
        f"stopped by {cause} after {counted(taken, 'step')} of this start; "
        + ("all is saved: the same command goes on" if saved else "nothing was trained yet"),
        markup=False,
    )
    return Result(directory=setting.directory, exit_code=128 + signal_number, metrics={})


def _predict(setting: Setting, card: Card, trained: Trained, checkpoints: Checkpoints) -> Result:
    """Predicts with the best checkpoint, writes the results, and says what was made."""
    best, state, predict = _best(setting, trained, checkpoints)
    data, folder = setting.data, setting.directory / "predictions"
    folder.mkdir(exist_ok=True)
    files = [(setting.directory / "run.json", "what ran, how fast, how well")]
    found: dict[str, Counts] = {}
    if len(data.validation_rows):
        held_out = predict(state, data.dataset.train, data.validation_rows, trained.cache)
        files.append(_save(folder / "validation.npz", held_out, "held-out"))
        found["val"] = count(held_out.logits, held_out.labels)
    if data.dataset.test is not None:
        test = predict(state, data.dataset.test, np.arange(len(data.dataset.test)), None)
        files.append(_save(folder / "test.npz", test, "test"))
        found["test"] = count(test.logits, test.labels)
        if data.dataset.submission is not None:
            path = setting.directory / "submission.csv"
            write_submission(path, test, data.dataset.submission)
            files.append((path, submission_text(len(test.ids), data.dataset.tasks)))
    files.append((checkpoints.directory, f"steps {', '.join(map(str, checkpoints.steps()))}"))
    metrics = {
        f"{of}/{name}": value
        for of, counts in found.items()
        for name, value in (summary(counts) | task_summaries(counts, data.dataset.tasks)).items()
    }
    recalls = {of: _recalls(counts, data.dataset.train.class_names) for of, counts in found.items()}
    card.write(
        "finished",
        **(speed_facts(setting, trained) or card.earlier_speed),
        best={"step": best.step, **_best_metric(setting, best, metrics)},
        ended_early=trained.ended_early,
        final_metrics=metrics,
        per_class_recall=recalls,
    )
    seconds = card.facts["wall_seconds"], card.earlier_seconds
    lines = closing_lines(setting, seconds, best.step, metrics, recalls, files)
    setting.console.print("\n".join(["", *lines]), markup=False)
    return Result(directory=setting.directory, exit_code=0, metrics=metrics)


def _best(
    setting: Setting, trained: Trained, checkpoints: Checkpoints
) -> tuple[Restored, TrainState, Predict]:
    """The checkpoint that predicts: the best, or the last where the mean over the last epochs predicts."""
    found = restore_predicting(setting, checkpoints)
    assert found is not None, "training saves a checkpoint at the end of each epoch"
    phase, programs = phase_of_state(setting.phases, found.step), trained.programs
    if phase is not trained.phase:
        setting = begin_again(setting)
        programs = compile_programs(setting, phase, setting.start.model.image_size, 0)
    state = from_disk(found.state, abstract_state(setting, phase))
    averaged = averages_predict(setting.config.averaging)
    return found, state, make_predict(setting, phase, programs, averaged)


def _best_metric(setting: Setting, best: Restored, metrics: Mapping[str, float]) -> Mapping[str, Any]:
    """The metric of what predicts, by its name: a mean over the last epochs is measured at the end only."""
    if isinstance(setting.config.averaging, Swa):
        metric = setting.config.selection.metric
        return {f"val_swa/{metric}": metrics.get(f"val/{metric}")}
    return held_out_names({selected_metric(setting): best.metric})


def _recalls(counts: Counts, class_names: Sequence[str]) -> dict[str, float]:
    """Share of each class's images that are answered rightly; of classes without images there is none."""
    found = per_class_recall(counts)
    return {name: float(value) for name, value in zip(class_names, found, strict=True) if np.isfinite(value)}


def _save(path: Path, predictions: Predictions, what: str) -> tuple[Path, str]:
    save_predictions(path, predictions)
    return path, f"logits of {len(predictions.ids):,} {what} images"
