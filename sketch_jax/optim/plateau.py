"""The factor of the learning rate that falls where a held-out metric stands still (imports no jax)."""

import dataclasses
import math

from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.optim.schedule_options import Plateau

LEAST_FALL = 1e-8
"""Falls of the learning rate that are smaller are left out, as by torch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlateauState:
    """What is known of the metric so far: values for JSON."""

    best: float | None = None
    """The best metric; None before the first one."""
    bad_epochs: int = 0
    """Epochs since it, or since the last fall, without a better one."""
    cooldown_left: int = 0
    """Epochs that are still not counted."""
    factor: float = 1.0
    """Of the schedule's rate."""


def update_plateau(
    options: Plateau, peak_learning_rate: float, state: PlateauState, metric: float
) -> PlateauState:
    """The state after one more epoch.

    Args:
        options: when the rate falls and how far.
        peak_learning_rate: of the schedule, in which the minimum rate is measured.
        state: before.
        metric: held-out, of this epoch; one that is not a number counts as no better.

    References:
        torch.optim.lr_scheduler.ReduceLROnPlateau with a relative threshold.

    >>> options = Plateau(patience=1, factor=0.5)
    >>> state = PlateauState()
    >>> for accuracy in (0.5, 0.6, 0.6, 0.6):
    ...     state = update_plateau(options, 1e-3, state, accuracy)
    >>> state.best, state.factor
    (0.6, 0.5)
    """
    better = is_better(options, metric, state.best)
    best = metric if better else state.best
    bad_epochs = 0 if better or state.cooldown_left else state.bad_epochs + 1
    cooldown_left = max(state.cooldown_left - 1, 0)
    if bad_epochs <= options.patience:
        return PlateauState(
            best=best, bad_epochs=bad_epochs, cooldown_left=cooldown_left, factor=state.factor
        )
    rate = state.factor * peak_learning_rate
    fallen = max(rate * options.factor, options.minimum_learning_rate)
    factor = fallen / peak_learning_rate if rate - fallen > LEAST_FALL else state.factor
    return PlateauState(best=best, bad_epochs=0, cooldown_left=options.cooldown, factor=factor)


def is_better(options: Plateau, metric: float, best: float | None) -> bool:
    """Whether a metric is better than the best one by more than the threshold."""
    if math.isnan(metric):
        return False
    if best is None:
        return True
    if HIGHER_IS_BETTER[options.metric]:
        return metric > best * (1.0 + options.threshold)
    return metric < best * (1.0 - options.threshold)
