"""The plateau of a run: what is known of it between epochs, and what it does to the state of training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sketch_jax.errors import InputError, suggestion
from sketch_jax.optim.optimizer import with_rate_factor
from sketch_jax.optim.options import base_of
from sketch_jax.optim.plateau import PlateauState, update_plateau
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.run.setting import Setting
from sketch_jax.train.state import TrainState

EXTRA_NAME = "plateau"


class PlateauKeeper:
    """Holds what is known of the plateau; for schedules without one it does nothing."""

    def __init__(self, options: Plateau | None, peak_learning_rate: float, state: PlateauState):
        """Begins with what is known.

        Args:
            options: None: the schedule heeds no metric.
            peak_learning_rate: of the schedule.
            state: before the next evaluation.
        """
        self._options = options
        self._peak_learning_rate = peak_learning_rate
        self._state = state

    def check(self, measured: Mapping[str, float]) -> None:
        """Refuses held-out metrics without the one that the schedule heeds.

        Raises:
            InputError: it was not measured.
        """
        if self._options is not None and self._options.metric not in measured:
            name = self._options.metric
            raise InputError(
                f"--schedule.metric {name}: no such held-out metric; there are {', '.join(sorted(measured))}"
                f"{suggestion(name, measured)}"
            )

    def adjust(self, state: TrainState, measured: Mapping[str, float]) -> TrainState:
        """The state with the factor of the rate that held-out metrics ask for."""
        if self._options is None:
            return state
        metric = measured[self._options.metric]
        self._state = update_plateau(self._options, self._peak_learning_rate, self._state, metric)
        return dataclasses.replace(state, opt_state=with_rate_factor(state.opt_state, self._state.factor))

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint stores, so that a run that goes on knows it."""
        return {} if self._options is None else {EXTRA_NAME: dataclasses.asdict(self._state)}


def create_keeper(setting: Setting, extra: Mapping[str, Any]) -> PlateauKeeper:
    """The keeper of a run.

    Args:
        setting: of the run.
        extra: of the checkpoint that training goes on from; empty at the start.

    Raises:
        InputError: the schedule heeds a metric, but nothing is held out.
    """
    schedule = setting.config.schedule
    options = schedule if isinstance(schedule, Plateau) else None
    if options is not None and not len(setting.data.validation_rows):
        raise InputError(
            f"--schedule.metric {options.metric}: nothing is held out to measure it on; hold images out, or "
            "take a schedule of another kind"
        )
    known = PlateauState(**extra.get(EXTRA_NAME, {}))
    return PlateauKeeper(options, base_of(setting.config.optimizer).learning_rate, known)
