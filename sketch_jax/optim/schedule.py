"""Learning-rate schedules: functions of the step, so that nothing is stepped too often or forgotten."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.optim.ranges import flag
from sketch_jax.optim.schedule_options import (
    Constant,
    MultiStep,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    WarmRestarts,
    WarmUp,
    WarmupCosine,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """What a schedule is made for."""

    peak: float
    """Learning rate after the warm-up."""
    warmup: int
    """Steps of the warm-up."""
    steps: int
    """Steps of the whole run."""
    steps_per_epoch: int


def create_schedule(
    schedule: Schedule, peak_learning_rate: float, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Learning rate by step: linear from the initial rate to the peak, then what the schedule says.

    The first step after the warm-up has the peak. Steps may be an array. The rate of `Plateau` is still to be
    multiplied by a factor (`optim.plateau`).

    Args:
        schedule: lengths and rates.
        peak_learning_rate: rate at the end of the warm-up.
        steps: steps of the whole run; with none the rate is 0.
        steps_per_epoch: steps of one epoch.

    Raises:
        InputError: the warm-up is negative or fills the whole run.
    """
    if steps == 0:
        return optax.constant_schedule(0.0)
    warmup = warmup_length(schedule, steps, steps_per_epoch)
    if isinstance(schedule, OneCycle):
        return _one_cycle(schedule, peak_learning_rate, steps)
    _refuse_long_warmup(schedule, warmup, steps, steps_per_epoch)
    course = Course(peak=peak_learning_rate, warmup=warmup, steps=steps, steps_per_epoch=steps_per_epoch)
    main = AFTER_WARMUP[type(schedule)](schedule, course)

    def learning_rate(step: Any) -> Any:
        rising = _line(schedule.initial_learning_rate, course.peak, 1.0 - step / max(warmup, 1))
        return jnp.where(step < warmup, rising, main(step))

    return learning_rate


def warmup_length(schedule: Schedule, steps: int, steps_per_epoch: int) -> int:
    """Steps before the first one that has the peak rate.

    A warm-up in epochs that fills a run of one epoch is a tenth of it, so that a first try just runs.
    """
    if isinstance(schedule, OneCycle):
        return math.ceil(_rise_steps(schedule, steps))
    if is_shortened(schedule, steps, steps_per_epoch):
        return steps // 10
    return in_steps(schedule.warmup_epochs, schedule.warmup_steps, steps_per_epoch)


def is_shortened(schedule: Schedule, steps: int, steps_per_epoch: int) -> bool:
    """Whether a run of one epoch has a shorter warm-up than was asked for."""
    if isinstance(schedule, OneCycle) or schedule.warmup_epochs is None or steps > steps_per_epoch:
        return False
    return in_steps(schedule.warmup_epochs, None, steps_per_epoch) >= max(steps, 1)


def last_rate(schedule: Schedule, learning_rate: optax.Schedule, steps: int) -> float:
    """The rate that the end of a run has, or approaches where it falls to the end."""
    step = steps if isinstance(schedule, WarmupCosine) else max(steps - 1, 0)
    return np.asarray(learning_rate(step)).item()


def in_steps(epochs: float | None, steps: int | None, steps_per_epoch: int) -> int:
    """A duration of which one form is given.

    >>> in_steps(1.5, None, 10), in_steps(None, 7, 10)
    (15, 7)
    """
    if epochs is None:
        assert steps is not None, "records refuse durations of neither form"
        return steps
    return round(epochs * steps_per_epoch)


def _refuse_long_warmup(schedule: WarmUp, warmup: int, steps: int, steps_per_epoch: int) -> None:
    if warmup < steps:
        return
    name, given, fitting = "warmup_steps", f"{schedule.warmup_steps}", f"{steps // 10}"
    if schedule.warmup_epochs is not None:
        name, given = "warmup_epochs", f"{schedule.warmup_epochs:g}"
        fitting = f"{steps / steps_per_epoch / 10:g}"
    option = flag("schedule", name)
    raise InputError(
        f"{option} {given}: a warm-up of {warmup} steps does not fit in a run of {steps} steps; choose "
        f"{option} {fitting}, or more --epochs"
    )


def _line(start: Any, end: Any, left: Any) -> Any:
    # A weighted mean instead of a difference, so that both ends are exact in float32.
    return start * left + end * (1.0 - left)


def _half_cosine(start: Any, end: Any, left: Any) -> Any:
    # (1 + cos πp) / 2 of the progress p = 1 - left, without the digits that the sum loses near its end.
    return _line(start, end, jnp.sin(0.5 * jnp.pi * left) ** 2)


def _constant(schedule: Constant | Plateau, course: Course) -> optax.Schedule:
    return lambda step: course.peak


def _cosine(schedule: WarmupCosine, course: Course) -> optax.Schedule:
    """Loshchilov and Hutter, SGDR (2017), equation 5 without restarts."""

    def learning_rate(step: Any) -> Any:
        left = jnp.clip((course.steps - step) / (course.steps - course.warmup), 0.0, 1.0)
        return _half_cosine(course.peak, schedule.final_learning_rate, left)

    return learning_rate


def _step(schedule: Step, course: Course) -> optax.Schedule:
    """The rates of torch's StepLR."""
    every = max(in_steps(schedule.every_epochs, schedule.every_steps, course.steps_per_epoch), 1)

    def learning_rate(step: Any) -> Any:
        return _fallen(schedule, course, step // every)

    return learning_rate


def _multi_step(schedule: MultiStep, course: Course) -> optax.Schedule:
    """The rates of torch's MultiStepLR."""
    if schedule.at_epochs is not None:
        falls = [in_steps(epochs, None, course.steps_per_epoch) for epochs in schedule.at_epochs]
    else:
        falls = list(schedule.at_steps or ())

    def learning_rate(step: Any) -> Any:
        fallen = jnp.searchsorted(jnp.asarray(falls, jnp.int32), step, side="right")
        return _fallen(schedule, course, fallen)

    return learning_rate


def _fallen(schedule: Step | MultiStep, course: Course, falls: Any) -> Any:
    rate = course.peak * jnp.power(jnp.float32(schedule.factor), falls)
    return jnp.maximum(rate, min(schedule.minimum_learning_rate, course.peak))


def _warm_restarts(schedule: WarmRestarts, course: Course) -> optax.Schedule:
    """Loshchilov and Hutter, SGDR (2017), equation 5."""
    first = in_steps(schedule.cycle_epochs, schedule.cycle_steps, course.steps_per_epoch)
    starts, lengths, peaks = [course.warmup], [max(first, 1)], [course.peak]
    while starts[-1] + lengths[-1] < course.steps:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(max(round(first * schedule.cycle_growth ** len(lengths)), 1))
        peaks.append(peaks[-1] * schedule.peak_factor)

    def learning_rate(step: Any) -> Any:
        borders = jnp.asarray(starts, jnp.int32)
        cycle = jnp.maximum(jnp.searchsorted(borders, step, side="right") - 1, 0)
        length = jnp.asarray(lengths, jnp.int32)[cycle]
        left = jnp.clip((borders[cycle] + length - step) / length, 0.0, 1.0)
        return _half_cosine(jnp.asarray(peaks, jnp.float32)[cycle], schedule.final_learning_rate, left)

    return learning_rate


def _rise_steps(schedule: OneCycle, steps: int) -> float:
    return schedule.rise * steps - 1


def _one_cycle(schedule: OneCycle, peak: float, steps: int) -> optax.Schedule:
    """Smith and Topin, Super-Convergence (2018); the rates of torch's OneCycleLR in two phases."""
    top, last = max(_rise_steps(schedule, steps), 0.0), steps - 1
    initial = peak / schedule.initial_divisor
    final = initial / schedule.final_divisor
    anneal = {"cosine": _half_cosine, "linear": _line}[schedule.annealing]

    def learning_rate(step: Any) -> Any:
        rising = anneal(initial, peak, (top - step) / max(top, 1e-6))
        falling = anneal(peak, final, jnp.clip((last - step) / max(last - top, 1e-6), 0.0, 1.0))
        return jnp.where(step <= top, rising, falling)

    return learning_rate


AFTER_WARMUP: Mapping[type, Callable[[Any, Course], optax.Schedule]] = {
    Constant: _constant,
    WarmupCosine: _cosine,
    Step: _step,
    MultiStep: _multi_step,
    WarmRestarts: _warm_restarts,
    Plateau: _constant,
}
