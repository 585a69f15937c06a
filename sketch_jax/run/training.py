"""The training stage: programs compiled, images decoded, the loop run, checkpoints kept."""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import jax
import numpy as np
from rich.console import Console

from sketch_jax.augment.curriculum_options import span_at
from sketch_jax.data.cache import ImageCache
from sketch_jax.data.pipeline import training_batches
from sketch_jax.data.prefetch import Prefetcher
from sketch_jax.run.data import decode_to_memory
from sketch_jax.run.epoch_ends import EpochEnds, selected_metric
from sketch_jax.run.phases import Phase, end_step, next_phase, phase_of_state
from sketch_jax.run.programs import (
    Programs,
    abstract_state,
    compile_programs,
    frozen_of,
    initial_state,
    make_evaluate,
    make_predict,
    measure,
    state_of_next,
)
from sketch_jax.run.setting import Setting
from sketch_jax.run.statistics import make_measure_statistics
from sketch_jax.train.checkpoints import Checkpoints, Restored
from sketch_jax.train.loop import Calls, Outcome, Save, fit, held_out_names
from sketch_jax.train.mesh import stage
from sketch_jax.train.options import Swa
from sketch_jax.train.progress import TrainingProgress
from sketch_jax.train.signals import StoppedError, StopRequest
from sketch_jax.train.state import TrainState, for_disk, from_disk
from sketch_jax.train.tracking import Tracker

Value = TypeVar("Value")

SECONDS_BETWEEN_LOOKS = 0.2
"""Between looks at a request to stop while a program compiles."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What training leaves to the stages after it."""

    outcome: Outcome
    phase: Phase
    """That the last step was of."""
    programs: Programs
    """Of that phase."""
    cache: ImageCache | None
    """Decoded training and held-out images."""
    waited_seconds: float
    """Time that the loop waited for batches."""
    ended_early: bool
    """Whether a held-out metric ended training before all epochs were over."""
    compile_seconds: Mapping[str, float]
    """Of all programs of this start: `train` and `predict`."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Begun:
    """Where a start of a run stands before it trains in a phase."""

    phase: Phase
    programs: Programs
    state: TrainState
    cache: ImageCache | None


def train(
    setting: Setting,
    checkpoints: Checkpoints,
    stop: StopRequest,
    saved: Callable[[], None],
) -> Trained:
    """Trains from the newest whole checkpoint, or from the start.

    Args:
        setting: of the run.
        checkpoints: of the run.
        stop: whether to save and leave.
        saved: called after each save.

    Raises:
        StoppedError: the run was asked to stop before the loop began.
        InputError: a loss, held-out too, or a gradient norm is not finite, images cannot be read, or the disk
            is full.
    """
    phase, state, extra = restore(setting, checkpoints)
    ends = EpochEnds(setting, extra)
    if not ends.ends_early():
        phase, state = go_on(setting, phase, state)
    first_step = int(jax.device_get(state.step))
    steps_left = 0 if ends.ends_early() else setting.plan.steps - first_step
    size = size_at(setting, state)
    programs, cache = compile_and_decode(setting, phase, size, steps_left, stop)
    begun = Begun(phase=phase, programs=programs, state=state, cache=cache)
    with Tracker(
        setting.directory, step=first_step, tensorboard=setting.config.logging.tensorboard
    ) as tracker:
        save = create_save(setting, checkpoints, tracker, saved, ends)
        if first_step == 0:
            measured = make_evaluate(setting, phase, programs, cache)(state)
            report_before_training(measured, tracker, setting.console)
            if setting.plan.steps == 0:
                save(begun)(0, state, measured.get(selected_metric(setting)))
        with TrainingProgress(
            setting.plan, first_step, setting.console, selected_metric(setting)
        ) as progress:
            trained = run_phases(setting, begun, save, tracker, progress, stop, ends)
    checkpoints.wait()
    return trained


def restore(setting: Setting, checkpoints: Checkpoints) -> tuple[Phase, TrainState, Mapping[str, Any]]:
    """The phase of the newest whole checkpoint, its state and what stands beside it; or the start."""
    restored = checkpoints.restore_latest(lambda step: template_at(setting, step))
    if restored is None:
        return setting.phases[0], initial_state(setting), {}
    over = restored.step == setting.plan.steps
    setting.console.print(
        f"all {restored.step:,} steps are done already: predicting again"
        if over
        else f"going on from the checkpoint of step {restored.step:,}"
    )
    phase = phase_of_state(setting.phases, restored.step)
    return phase, from_disk(restored.state, abstract_state(setting, phase)), restored.extra


def template_at(setting: Setting, step: int) -> TrainState:
    """What a checkpoint of a step holds: shapes, types and placement."""
    return for_disk(abstract_state(setting, phase_of_state(setting.phases, step)))


def restore_predicting(setting: Setting, checkpoints: Checkpoints) -> Restored | None:
    """The checkpoint that predicts: the best, or the last where the mean over the last epochs predicts."""
    last = isinstance(setting.config.averaging, Swa)
    restore = checkpoints.restore_latest if last else checkpoints.restore_best
    return restore(lambda step: template_at(setting, step))


def go_on(setting: Setting, phase: Phase, state: TrainState) -> tuple[Phase, TrainState]:
    """The same, or the beginning of the next phase where this one is over."""
    following = next_phase(setting.phases, phase, int(jax.device_get(state.step)))
    return (phase, state) if following is phase else (following, state_of_next(setting, following, state))


def run_phases(
    setting: Setting,
    begun: Begun,
    save: Callable[[Begun], Save],
    tracker: Tracker,
    progress: TrainingProgress,
    stop: StopRequest,
    ends: EpochEnds,
) -> Trained:
    """Runs the loop for each phase and each image size that is left."""
    outcomes: list[Outcome] = []
    waited, compiled = 0.0, {(begun.phase, size_at(setting, begun.state)): begun.programs}
    while True:
        calls = Calls(
            evaluate=make_evaluate(setting, begun.phase, begun.programs, begun.cache),
            save=save(begun),
            write=tracker.write,
            advance=progress.advance,
            stop_requested=lambda: stop.requested is not None,
            selection=selected_metric(setting),
            adjust=ends.adjust,
            ends_early=ends.ends_early,
        )
        outcome, seconds = run_loop(setting, begun, calls)
        outcomes.append(outcome)
        waited += seconds
        if outcome.interrupted or ends.ends_early():
            break
        phase, state = go_on(setting, begun.phase, outcome.state)
        step = int(jax.device_get(state.step))
        if step == setting.plan.steps:
            break
        place = phase, size_at(setting, state)
        try:
            if place not in compiled:
                compiled[place] = next_programs(setting, begun, phase, step, stop)
        except StoppedError:
            outcomes.append(dataclasses.replace(outcomes.pop(), interrupted=True))
            break
        begun = dataclasses.replace(begun, phase=phase, programs=compiled[place], state=state)
    if ends.ends_early():
        setting.console.print(f"training ends early: {ends.cause()}", markup=False)
    return Trained(
        outcome=together(outcomes),
        phase=begun.phase,
        programs=begun.programs,
        cache=begun.cache,
        waited_seconds=waited,
        ended_early=ends.ends_early(),
        compile_seconds=seconds_of(compiled.values()),
    )


def next_programs(setting: Setting, begun: Begun, phase: Phase, step: int, stop: StopRequest) -> Programs:
    """The programs for the steps after so many, where the phase or the image size is another.

    Raises:
        StoppedError: the run was asked to stop while they were compiled.
    """
    size = span_at(setting.sizes, step).image_size
    at_size = f" at {size} px" if len(setting.at_size) > 1 else ""
    setting.console.print(f"compiling what is trained from step {step:,} on{at_size}", markup=False)
    predict = begun.programs.predict if phase is begun.phase else None
    return result_of(
        in_background(compile_programs, setting, phase, size, setting.plan.steps - step, predict), stop
    )


def size_at(setting: Setting, state: TrainState) -> int:
    """Image size, in pixels, of the next step."""
    return span_at(setting.sizes, int(jax.device_get(state.step))).image_size


def seconds_of(all_programs: Iterable[Programs]) -> Mapping[str, float]:
    """Seconds that programs took to compile; those that several have count once."""
    train = {id(programs.train): programs.train for programs in all_programs if programs.train is not None}
    predict = {id(programs.predict): programs.predict for programs in all_programs}
    return {
        "train": math.fsum(program.seconds for program in train.values()),
        "predict": math.fsum(program.seconds for program in predict.values()),
    }


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several loops, one after the other."""
    return dataclasses.replace(
        outcomes[-1],
        metrics={name: value for outcome in outcomes for name, value in outcome.metrics.items()},
        training_seconds=sum(outcome.training_seconds for outcome in outcomes),
        steps_taken=sum(outcome.steps_taken for outcome in outcomes),
    )


def create_save(
    setting: Setting,
    checkpoints: Checkpoints,
    tracker: Tracker,
    saved: Callable[[], None],
    ends: EpochEnds,
) -> Callable[[Begun], Save]:
    """Builds, for a phase, the function that keeps a state on disk; of the last the mean is finished."""

    def of_phase(begun: Begun) -> Save:
        def save(step: int, state: TrainState, metric: float | None) -> None:
            with jax.transfer_guard("allow"):
                if isinstance(setting.config.averaging, Swa) and step == setting.plan.steps > 0:
                    state = finish_mean(setting, begun, state, tracker)
                stored = for_disk(state)
            extra = {"position": {"step": step}, **ends.to_json()}
            checkpoints.save(step, stored, extra=extra, metric=metric)
            saved()

        return save

    return of_phase


def finish_mean(setting: Setting, begun: Begun, state: TrainState, tracker: Tracker) -> TrainState:
    """The last state with the statistics of its mean of weights measured; its metrics are written down."""
    average = state.averaged
    measure_statistics = make_measure_statistics(setting, begun.phase, begun.cache)
    statistics = measure_statistics(average["trainable"], average["statistics"])
    state = dataclasses.replace(state, averaged={**average, "statistics": statistics})
    predict = make_predict(setting, begun.phase, begun.programs, True)
    measured = measure(setting.data, predict, state, begun.cache)
    tracker.write(setting.plan.steps, {f"val_swa/{name}": value for name, value in measured.items()})
    return state


def report_before_training(measured: Mapping[str, float], tracker: Tracker, console: Console) -> None:
    """Writes down how good the state is before the first step: what unloaded weights would show at once."""
    if measured:
        tracker.write(0, held_out_names(measured))
        console.print(f"before training: held-out accuracy {measured['accuracy']:.4f}")


def compile_and_decode(
    setting: Setting, phase: Phase, image_size: int, steps_left: int, stop: StopRequest
) -> tuple[Programs, ImageCache | None]:
    """Compiles the programs while the images are decoded; those to train on only where a step is left.

    What is wrong with images is said at once, though the process ends with the compiler.

    Raises:
        InputError: images cannot be read.
        StoppedError: the run was asked to stop meanwhile.
    """
    data = setting.data
    rows = np.concatenate([data.train_rows if steps_left else data.train_rows[:0], data.validation_rows])
    if not setting.console.is_terminal:
        setting.console.print("compiling the programs and decoding the images", markup=False)
    compiling = in_background(compile_programs, setting, phase, image_size, steps_left)
    cache = decode_to_memory(
        data.dataset.train,
        rows,
        setting.start.preprocessing,
        setting.config.loading,
        setting.console,
        stop.raise_if_requested,
    )
    with setting.console.status("compiling the programs"):
        return result_of(compiling, stop), cache


def in_background(call: Callable[..., Value], *arguments: Any) -> Future[Value]:
    """Begins a call on a thread of its own, which does not outlive the process."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def result_of(future: Future[Value], stop: StopRequest) -> Value:
    """Waits for a call in the background.

    Raises:
        StoppedError: the run was asked to stop meanwhile.
    """
    while not wait([future], timeout=SECONDS_BETWEEN_LOOKS).done:
        stop.raise_if_requested()
    return future.result()


def run_loop(setting: Setting, begun: Begun, calls: Calls) -> tuple[Outcome, float]:
    """The loop over staged batches of a phase at one image size.

    Returns:
        Its outcome, and the seconds that it waited for batches.
    """
    state, program = begun.state, begun.programs.train
    if program is None:
        nothing = Outcome(state=state, metrics={}, training_seconds=0.0, steps_taken=0, interrupted=False)
        return nothing, 0.0
    config, data = setting.config, setting.data
    start_step = int(jax.device_get(state.step))
    of_phase = end_step(setting.phases, begun.phase, setting.plan.steps)
    plan = dataclasses.replace(setting.plan, steps=min(of_phase, span_at(setting.sizes, start_step).end_step))
    frozen = frozen_of(setting, begun.phase)
    batches = training_batches(
        data.dataset.train,
        data.train_rows,
        setting.start.preprocessing,
        batch_size=config.batch_size,
        seed=config.seed,
        steps=plan.steps,
        start_step=start_step,
        weights=setting.row_weights,
        loading=config.loading,
        cache=begun.cache,
    )

    def train_step(state: TrainState, batch: Any, key: Any) -> tuple[TrainState, Any]:
        return program.call(state, frozen, batch, key)

    with (
        Prefetcher(
            batches, lambda batch: stage(setting.mesh, batch), depth=config.loading.prefetch_batches
        ) as staged,
        jax.transfer_guard("disallow"),
    ):
        outcome = fit(state, train_step, staged, setting.key, plan, calls)
        return outcome, staged.waited_seconds
