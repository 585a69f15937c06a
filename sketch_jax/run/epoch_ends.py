"""What held-out metrics decide at the ends of epochs: the learning rate, and whether to go on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sketch_jax.optim.optimizer import with_rate_factor
from sketch_jax.optim.options import base_of
from sketch_jax.optim.plateau import PlateauState, update_plateau
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.run.setting import Setting
from sketch_jax.train.early_stopping import Patience, heed, is_exhausted
from sketch_jax.train.options import Ema, averages_predict
from sketch_jax.train.state import TrainState

PLATEAU, PATIENCE = "plateau", "patience"
"""Names of what a checkpoint stores."""


class EpochEnds:
    """Holds what is known of the metrics between epochs."""

    def __init__(self, setting: Setting, extra: Mapping[str, Any]):
        """Begins with what is known.

        Args:
            setting: of the run.
            extra: of the checkpoint that training goes on from; empty at the start.
        """
        schedule = setting.config.schedule
        self._plateau_options = schedule if isinstance(schedule, Plateau) else None
        self._peak_learning_rate = base_of(setting.config.optimizer).learning_rate
        self._selection, self._selected = setting.config.selection, selected_metric(setting)
        self._plateau = PlateauState(**extra.get(PLATEAU, {}))
        self._patience = Patience(**extra.get(PATIENCE, {}))

    def adjust(self, state: TrainState, measured: Mapping[str, float]) -> TrainState:
        """The state with the factor of the rate that held-out metrics ask for; notes them."""
        self._patience = heed(self._selection, self._patience, measured[self._selected])
        if self._plateau_options is None:
            return state
        metric = measured[self._plateau_options.metric]
        self._plateau = update_plateau(self._plateau_options, self._peak_learning_rate, self._plateau, metric)
        return dataclasses.replace(state, opt_state=with_rate_factor(state.opt_state, self._plateau.factor))

    def ends_early(self) -> bool:
        """Whether the metric has not bettered for as many epochs as the run is patient."""
        return is_exhausted(self._selection, self._patience)

    def cause(self) -> str:
        """Why training ends early, for people."""
        return (
            f"{self._selected} has not bettered {self._patience.best:.4f} for "
            f"{self._patience.bad_epochs} epochs"
        )

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint stores, so that a run that goes on knows it."""
        plateau = {} if self._plateau_options is None else {PLATEAU: dataclasses.asdict(self._plateau)}
        patient = self._selection.patience is not None
        return plateau | ({PATIENCE: dataclasses.asdict(self._patience)} if patient else {})


def selected_metric(setting: Setting) -> str:
    """The metric that chooses the best checkpoint, by its name among those that are measured."""
    averaging, metric = setting.config.averaging, setting.config.selection.metric
    of_average = isinstance(averaging, Ema) and averages_predict(averaging)
    return f"val_ema/{metric}" if of_average else metric
