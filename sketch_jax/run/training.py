"""The training stage: programs compiled, images decoded, the loop run, checkpoints kept."""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from rich.console import Console

from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import training_batches
from sketch_jax.data.prefetch import Prefetcher
from sketch_jax.run.data import decode_to_memory
from sketch_jax.run.plateau import create_keeper
from sketch_jax.run.programs import (
    Predict,
    Programs,
    compile_programs,
    initial_state,
    make_evaluate,
    make_predict,
)
from sketch_jax.run.setting import Setting
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.loop import SELECTION_METRIC, Calls, Outcome, fit
from sketch_jax.train.mesh import stage
from sketch_jax.train.progress import TrainingProgress
from sketch_jax.train.state import TrainState, disk_template, for_disk, from_disk
from sketch_jax.train.tracking import Tracker


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What training leaves to the stages after it."""

    outcome: Outcome
    programs: Programs
    predict: Predict
    cache: ImageCache | None
    """Decoded training and held-out images."""
    waited_seconds: float
    """Time that the loop waited for batches."""


def train(
    setting: Setting,
    checkpoints: Checkpoints,
    stop_requested: Callable[[], bool],
    saved: Callable[[], None],
) -> Trained:
    """Trains from the newest whole checkpoint, or from the start.

    Args:
        setting: of the run.
        checkpoints: of the run.
        stop_requested: whether to save and leave.
        saved: called after each save.

    Raises:
        InputError: a loss, held-out too, or a gradient norm is not finite, images cannot be read, or the disk
            is full.
    """
    state = initial_state(setting)
    restored = checkpoints.restore_latest(disk_template(state))
    if restored is not None:
        state = from_disk(restored.state, state)
        setting.console.print(f"going on from the checkpoint of step {restored.step:,}")
    keeper = create_keeper(setting, {} if restored is None else restored.extra)
    first_step = int(jax.device_get(state.step))
    programs, cache = compile_and_decode(setting, state, setting.plan.steps - first_step)
    predict = make_predict(setting, programs)
    evaluate = make_evaluate(predict, setting.data, cache)

    def save(step: int, state: TrainState, metric: float | None) -> None:
        with jax.transfer_guard("allow"):
            stored = for_disk(state)
        extra = {"position": {"step": step}, **keeper.to_json()}
        checkpoints.save(step, stored, extra=extra, metric=metric)
        saved()

    with Tracker(
        setting.directory, step=first_step, tensorboard=setting.config.logging.tensorboard
    ) as tracker:
        if first_step == 0:
            measured = evaluate(state)
            keeper.check(measured)
            report_before_training(measured, tracker, setting.console)
            if setting.plan.steps == 0:
                save(0, state, measured.get(SELECTION_METRIC))
        with TrainingProgress(setting.plan, first_step, setting.console) as progress:
            calls = Calls(
                evaluate=evaluate,
                save=save,
                write=tracker.write,
                advance=progress.advance,
                stop_requested=stop_requested,
                adjust=keeper.adjust,
            )
            outcome, waited = run_loop(setting, state, programs, cache, calls)
    checkpoints.wait()
    return Trained(outcome=outcome, programs=programs, predict=predict, cache=cache, waited_seconds=waited)


def report_before_training(measured: Mapping[str, float], tracker: Tracker, console: Console) -> None:
    """Writes down how good the state is before the first step: what unloaded weights would show at once."""
    if measured:
        tracker.write(0, {f"val/{name}": value for name, value in measured.items()})
        console.print(f"before training: held-out accuracy {measured['accuracy']:.4f}")


def compile_and_decode(
    setting: Setting, state: TrainState, steps_left: int
) -> tuple[Programs, ImageCache | None]:
    """Compiles the programs while the images are decoded; those to train on only where a step is left.

    What is wrong with images is said at once, though the process ends with the compiler.
    """
    data = setting.data
    rows = np.concatenate([data.train_rows if steps_left else data.train_rows[:0], data.validation_rows])
    if not setting.console.is_terminal:
        setting.console.print("compiling the programs and decoding the images", markup=False)
    background = ThreadPoolExecutor(1)
    try:
        compiling = background.submit(compile_programs, setting, state, steps_left)
        cache = decode_to_memory(
            data.dataset.train, rows, setting.start.preprocessing, setting.config.loading, setting.console
        )
        with setting.console.status("compiling the programs"):
            return compiling.result(), cache
    finally:
        background.shutdown(wait=False)


def run_loop(
    setting: Setting,
    state: TrainState,
    programs: Programs,
    cache: ImageCache | None,
    calls: Calls,
) -> tuple[Outcome, float]:
    """The loop over staged batches; returns its outcome and the seconds it waited for them."""
    if programs.train is None:
        nothing = Outcome(
            state=state, metrics={}, seconds=0.0, training_seconds=0.0, steps_taken=0, interrupted=False
        )
        return nothing, 0.0
    config, data, plan = setting.config, setting.data, setting.plan
    first_step = int(jax.device_get(state.step))
    batches = training_batches(
        data.dataset.train,
        data.train_rows,
        setting.start.preprocessing,
        batch_size=config.batch_size,
        seed=config.seed,
        steps=plan.steps,
        start_step=first_step,
        loading=config.loading,
        cache=cache,
    )
    with (
        Prefetcher(
            batches, lambda batch: stage(setting.mesh, batch), depth=config.loading.prefetch_batches
        ) as staged,
        jax.transfer_guard("disallow"),
    ):
        outcome = fit(state, programs.train.call, staged, setting.key, plan, calls)
        return outcome, staged.waited_seconds
