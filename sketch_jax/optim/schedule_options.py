"""What a user sets about the learning rate over the steps (imports no jax, so that `--help` starts fast).

Every duration is given in epochs or in steps, exactly one of them; the other is None.
"""

import dataclasses
from typing import Literal

from sketch_jax.errors import InputError
from sketch_jax.metric_names import Metric
from sketch_jax.optim.ranges import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    AT_LEAST_ZERO,
    INSIDE_ONE,
    flag,
    refuse_out_of_range,
    refuse_unless_one,
)

RANGES = {
    "warmup_epochs": AT_LEAST_ZERO,
    "warmup_steps": AT_LEAST_ZERO,
    "initial_learning_rate": AT_LEAST_ZERO,
    "final_learning_rate": AT_LEAST_ZERO,
    "minimum_learning_rate": AT_LEAST_ZERO,
    "every_epochs": ABOVE_ZERO,
    "every_steps": ABOVE_ZERO,
    "at_epochs": ABOVE_ZERO,
    "at_steps": ABOVE_ZERO,
    "factor": ABOVE_ZERO,
    "cycle_epochs": ABOVE_ZERO,
    "cycle_steps": ABOVE_ZERO,
    "cycle_growth": AT_LEAST_ONE,
    "peak_factor": ABOVE_ZERO,
    "rise": INSIDE_ONE,
    "initial_divisor": AT_LEAST_ONE,
    "final_divisor": AT_LEAST_ONE,
    "patience": AT_LEAST_ZERO,
    "threshold": AT_LEAST_ZERO,
    "cooldown": AT_LEAST_ZERO,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUp:
    """A linear rise to the peak rate before all else."""

    warmup_epochs: float | None = 0.0
    """Length of the warm-up in epochs; fractions are allowed, 0 is none. None: `warmup_steps` says it."""
    warmup_steps: int | None = None
    """Length of the warm-up in steps. None: `warmup_epochs` says it."""
    initial_learning_rate: float = 1e-6
    """Learning rate of step 0, where there is a warm-up."""

    def __post_init__(self):
        """Refuses numbers out of their ranges, and durations given twice or not at all."""
        refuse_out_of_range("schedule", vars(self), RANGES)
        refuse_unless_one("schedule", vars(self), ("warmup_epochs", "warmup_steps"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(WarmUp):
    """The peak rate to the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine(WarmUp):
    """Linear warm-up, then half a cosine down to the final rate."""

    warmup_epochs: float | None = 1.0
    """Length of the warm-up in epochs; fractions are allowed, 0 is none. None: `warmup_steps` says it."""
    final_learning_rate: float = 0.0
    """Learning rate that the last step approaches."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(WarmUp):
    """The rate times a factor whenever so many epochs of the run are over, the warm-up's among them."""

    every_epochs: float | None = 10.0
    """Epochs from one fall to the next. None: `every_steps` says it."""
    every_steps: int | None = None
    """Steps from one fall to the next. None: `every_epochs` says it."""
    factor: float = 0.1
    """Of the rate at each fall."""
    minimum_learning_rate: float = 0.0
    """Below which the peak never falls."""

    def __post_init__(self):
        """Refuses numbers out of their ranges, and durations given twice or not at all."""
        super().__post_init__()
        refuse_unless_one("schedule", vars(self), ("every_epochs", "every_steps"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiStep(WarmUp):
    """The rate times a factor after each of some epochs of the run, the warm-up's among them."""

    at_epochs: tuple[float, ...] | None = (20.0, 40.0)
    """Epochs after which the rate falls, ascending. None: `at_steps` says it."""
    at_steps: tuple[int, ...] | None = None
    """Steps after which the rate falls, ascending. None: `at_epochs` says it."""
    factor: float = 0.1
    """Of the rate at each fall."""
    minimum_learning_rate: float = 0.0
    """Below which the peak never falls."""

    def __post_init__(self):
        """Refuses numbers out of their ranges or order, and durations given twice or not at all."""
        super().__post_init__()
        refuse_unless_one("schedule", vars(self), ("at_epochs", "at_steps"))
        for name, falls in (("at_epochs", self.at_epochs), ("at_steps", self.at_steps)):
            if falls is not None and list(falls) != sorted(set(falls)):
                shown = " ".join(f"{fall:g}" for fall in falls)
                raise InputError(f"{flag('schedule', name)} {shown}: must ascend; sort them, each once")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmRestarts(WarmUp):
    """Half cosines from the peak to the final rate, one after the other, after the warm-up."""

    cycle_epochs: float | None = 10.0
    """Length of the first cosine in epochs. None: `cycle_steps` says it."""
    cycle_steps: int | None = None
    """Length of the first cosine in steps. None: `cycle_epochs` says it."""
    cycle_growth: float = 1.0
    """Length of a cosine over that of the one before it, at least 1."""
    peak_factor: float = 1.0
    """Peak of a cosine over that of the one before it."""
    final_learning_rate: float = 0.0
    """Learning rate that the end of each cosine approaches."""

    def __post_init__(self):
        """Refuses numbers out of their ranges, and durations given twice or not at all."""
        super().__post_init__()
        refuse_unless_one("schedule", vars(self), ("cycle_epochs", "cycle_steps"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCycle:
    """One rise to the peak and one fall over the whole run; the momentum stays as it is."""

    rise: float = 0.3
    """Share of the run's steps in which the rate rises, above 0 and below 1."""
    initial_divisor: float = 25.0
    """The peak over the rate of step 0, at least 1."""
    final_divisor: float = 1e4
    """The rate of step 0 over that of the last step, at least 1."""
    annealing: Literal["cosine", "linear"] = "cosine"
    """Form of rise and fall."""

    def __post_init__(self):
        """Refuses numbers out of their ranges."""
        refuse_out_of_range("schedule", vars(self), RANGES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau(WarmUp):
    """The rate times a factor whenever a held-out metric has not bettered for some epochs."""

    metric: Metric = "accuracy"
    """Held-out metric; higher ones are better, but for `loss` and `expected_calibration_error`."""
    factor: float = 0.1
    """Of the rate at each fall, above 0 and below 1."""
    patience: int = 10
    """Epochs without a better metric that are borne; the next one lets the rate fall."""
    threshold: float = 1e-4
    """How much better than the best, as a share of it, a metric must be to count."""
    cooldown: int = 0
    """Epochs after a fall in which nothing is counted."""
    minimum_learning_rate: float = 0.0
    """Below which the peak never falls."""

    def __post_init__(self):
        """Refuses numbers out of their ranges, and durations given twice or not at all."""
        super().__post_init__()
        refuse_out_of_range("schedule", {"factor": self.factor}, {"factor": INSIDE_ONE})


Schedule = Constant | WarmupCosine | Step | MultiStep | WarmRestarts | OneCycle | Plateau
