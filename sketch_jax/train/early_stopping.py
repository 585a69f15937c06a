"""Training that ends early, where the held-out metric has not bettered for some epochs (imports no jax)."""

import dataclasses
import math

from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.train.options import Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """What is known of the metric so far: values for JSON."""

    best: float | None = None
    """The best metric; None before the first one."""
    bad_epochs: int = 0
    """Epochs in a row since then without a better one."""


def heed(options: Selection, known: Patience, metric: float) -> Patience:
    """What is known after one more epoch.

    Args:
        options: which metric it is, and by how much it must gain.
        known: before.
        metric: held-out, of this epoch; one that is not a number counts as no better.

    >>> options = Selection(metric="loss", patience=2)
    >>> known = Patience()
    >>> for loss in (0.5, 0.4, 0.4, 0.6):
    ...     known = heed(options, known, loss)
    >>> known, is_exhausted(options, known)
    (Patience(best=0.4, bad_epochs=2), True)
    """
    sign = 1.0 if HIGHER_IS_BETTER[options.metric] else -1.0
    gains = known.best is None or sign * (metric - known.best) > options.least_gain
    if gains and not math.isnan(metric):
        return Patience(best=metric)
    return dataclasses.replace(known, bad_epochs=known.bad_epochs + 1)


def is_exhausted(options: Selection, known: Patience) -> bool:
    """Whether training ends here."""
    return options.patience is not None and known.bad_epochs >= options.patience
