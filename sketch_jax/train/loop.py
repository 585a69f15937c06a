"""The loop of training: a plain for over batches; what varies is a value."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from sketch_jax.errors import InputError
from sketch_jax.train.state import TrainState

REMEDY = (
    "try a lower --optimizer.learning-rate, a longer --schedule.warmup-epochs, --optimizer.clip-norm 1, or "
    "--model.precision float32, with another --name or --output-dir; checkpoints of earlier steps are kept"
)
"""Against numbers that are not finite."""


Save = Callable[[int, TrainState, float | None], None]
"""Keeps the state of a step on disk, with its held-out metric or None."""


def best_steps_in_flight(backend: str) -> int:
    """How far to run ahead of the device.

    With one step the device is never idle, and never far ahead of what is shown. On the CPU the next step
    would hold memory of its own instead of using that of the last one while it is in the cache: there
    mobilenetv2_035 takes 133 ms a step, 141 with one in flight, 148 with ten.

    Args:
        backend: of JAX, such as "cpu".
    """
    return 0 if backend == "cpu" else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run is and what is due when, in steps."""

    steps: int
    steps_per_epoch: int
    batch_size: int
    """Images a step, over all devices."""
    log_every: int
    save_every: int | None
    """Steps between saves within an epoch; None: at the ends of epochs only."""
    steps_in_flight: int = 1
    """Steps handed to the device beyond the one that is waited for."""

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, ends after this step."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def logs(self, step: int) -> bool:
        """Whether training metrics are due after this step."""
        return self.ends_epoch(step) or step % self.log_every == 0

    def saves(self, step: int) -> bool:
        """Whether a save within an epoch is due after this step."""
        return self.save_every is not None and step % self.save_every == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calls:
    """What the loop calls."""

    evaluate: Callable[[TrainState], Mapping[str, float]]
    """Metrics of a state on the held-out examples; empty when there are none. Names with a slash are
    written as they are, others as `val/…`."""
    save: Save
    """Called after each epoch, when the plan says, and before an early leave."""
    write: Callable[[int, Mapping[str, float]], None]
    """Step and its metrics, `train/…` or `val/…`."""
    advance: Callable[[int, Mapping[str, float]], None]
    """Step just finished, with the newest metrics known."""
    stop_requested: Callable[[], bool]
    """Whether to save and leave."""
    selection: str = "accuracy"
    """The metric of `evaluate` that is saved with a state."""
    adjust: Callable[[TrainState, Mapping[str, float]], TrainState] = lambda state, measured: state
    """The state to save and to go on with after an evaluation; it may have another factor of the rate."""
    ends_early: Callable[[], bool] = lambda: False
    """Whether training is over before its plan, by what was measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a loop leaves behind."""

    state: TrainState
    metrics: Mapping[str, float]
    """Newest value of each metric."""
    training_seconds: float
    """Wall time of the steps alone."""
    steps_taken: int
    interrupted: bool


def mean_metrics(pending: list[tuple[int, Any]]) -> dict[str, float]:
    """Fetches metrics from the device and takes their mean over the steps.

    Args:
        pending: steps and their metrics, still on the device.

    Raises:
        InputError: a loss or a gradient norm is not finite.
    """
    steps = [step for step, _ in pending]
    fetched = jax.device_get([metrics for _, metrics in pending])
    for step, metrics in zip(steps, fetched, strict=True):
        if not math.isfinite(metrics["loss"]) or not math.isfinite(metrics["gradient_norm"]):
            raise InputError(
                f"step {step}: the loss is {metrics['loss']:g} and the gradient norm is "
                f"{metrics['gradient_norm']:g}, but both must be finite; {REMEDY}"
            )
    means = {f"train/{name}": float(np.mean([metrics[name] for metrics in fetched])) for name in fetched[0]}
    means["train/learning_rate"] = float(fetched[-1]["learning_rate"])
    return means


def fit(
    state: TrainState,
    train_step: Callable[[TrainState, Any, Any], tuple[TrainState, Any]],
    batches: Iterable[Any],
    key: Any,
    plan: Plan,
    calls: Calls,
) -> Outcome:
    """Trains from the state to the end of the plan, or until a stop is requested or it ends early.

    Args:
        state: start; its buffers are given up to the step.
        train_step: (state, batch, key) -> (state, metrics on the device).
        batches: staged batches, beginning with that of the state's next step.
        key: root of the run's randomness.
        plan: lengths.
        calls: evaluation, saving and reporting.

    Raises:
        InputError: a loss, held-out too, or a gradient norm is not finite.
    """
    first_step = step = int(jax.device_get(state.step))
    pending: list[tuple[int, Any]] = []
    latest: dict[str, float] = {}
    mark = time.perf_counter()
    training_seconds = 0.0
    for batch in batches:
        state, metrics = train_step(state, batch, key)
        step += 1
        pending.append((step, metrics))
        if len(pending) > plan.steps_in_flight:
            jax.block_until_ready(pending[-1 - plan.steps_in_flight][1])
        stopping = calls.stop_requested()
        if plan.logs(step) or plan.saves(step) or stopping:
            latest |= mean_metrics(pending)
            elapsed = time.perf_counter() - mark
            latest["train/images_per_second"] = len(pending) * plan.batch_size / elapsed
            training_seconds += elapsed
            pending = []
            calls.write(step, {name: value for name, value in latest.items() if name.startswith("train/")})
            measured = _evaluate_at_epoch_end(step, state, plan, calls)
            if measured:
                state = calls.adjust(state, measured)
            latest |= held_out_names(measured)
            if plan.ends_epoch(step) or plan.saves(step) or stopping:
                calls.save(step, state, measured.get(calls.selection))
            mark = time.perf_counter()
        calls.advance(step, latest)
        if stopping or calls.ends_early():
            break
    return Outcome(
        state=state,
        metrics=latest,
        training_seconds=training_seconds,
        steps_taken=step - first_step,
        interrupted=step < plan.steps and not calls.ends_early(),
    )


def _evaluate_at_epoch_end(step: int, state: TrainState, plan: Plan, calls: Calls) -> Mapping[str, float]:
    if not plan.ends_epoch(step):
        return {}
    measured = calls.evaluate(state)
    if measured:
        if not math.isfinite(measured["loss"]):
            raise InputError(
                f"step {step}: the held-out loss is {measured['loss']:g}, but it must be finite; {REMEDY}"
            )
        calls.write(step, held_out_names(measured))
    return measured


def held_out_names(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a state by the names that they are written with.

    >>> held_out_names({"loss": 0.5, "val_ema/loss": 0.25})
    {'val/loss': 0.5, 'val_ema/loss': 0.25}
    """
    return {name if "/" in name else f"val/{name}": value for name, value in measured.items()}
