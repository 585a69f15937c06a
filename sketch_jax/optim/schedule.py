"""Learning-rate schedules: functions of the step, so that nothing is stepped too often or forgotten."""

from typing import Any

import optax
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.optim.options import WarmupCosine


def create_schedule(
    schedule: WarmupCosine, peak_learning_rate: float, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Learning rate by step: linear from the initial rate to the peak, then cosine to the final rate.

    The first step after the warm-up has the peak; the step after the last one would have the final rate.

    Args:
        schedule: lengths and rates.
        peak_learning_rate: rate at the end of the warm-up.
        steps: steps of the whole run; with none the rate is 0.
        steps_per_epoch: steps of one epoch.

    Raises:
        InputError: the warm-up is negative or fills the whole run.

    References:
        Loshchilov and Hutter, SGDR (2017), equation 5 without restarts.
    """
    if steps == 0:
        return optax.constant_schedule(0.0)
    warmup_steps = round(schedule.warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_steps < steps:
        raise InputError(
            f"--schedule.warmup-epochs {schedule.warmup_epochs:g}: a warm-up of {warmup_steps} steps does "
            f"not fit in a run of {steps} steps; choose --schedule.warmup-epochs "
            f"{steps / steps_per_epoch / 10:g}, or more --epochs"
        )

    def learning_rate(step: Any) -> Any:
        warmed = step / max(warmup_steps, 1)
        progress = jnp.clip((step - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
        remaining = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        # Weighted means instead of a difference, so that both ends are exact in float32.
        rising = schedule.initial_learning_rate * (1.0 - warmed) + peak_learning_rate * warmed
        falling = schedule.final_learning_rate * (1.0 - remaining) + peak_learning_rate * remaining
        return jnp.where(step < warmup_steps, rising, falling)

    return learning_rate
