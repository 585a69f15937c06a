import dataclasses
import json
import math

import numpy as np
import pytest

from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.optim.plateau import PlateauState, update_plateau
from sketch_jax.optim.schedule_options import Plateau

PEAK = 1e-3


def history(higher_is_better):
    """Sixty values that rise, stand still, jump, and fall; some equal the best, some just fail."""
    generator = np.random.default_rng(3)
    rising = np.minimum(0.5 + 0.02 * np.arange(60), 0.8) + generator.normal(size=60) * 0.01
    rising[30:33] = rising[:30].max()
    rising[45] = 0.95
    rising[50] = 0.95 * (1 + 0.5e-3)
    rising[20] = math.nan
    return rising if higher_is_better else 2.0 - rising


CASES = [
    Plateau(patience=2),
    Plateau(patience=0, factor=0.5, threshold=1e-3),
    Plateau(patience=1, cooldown=3, factor=0.3, metric="loss"),
    Plateau(patience=1, factor=0.2, minimum_learning_rate=3e-6),
    Plateau(patience=0, factor=0.1, threshold=0.0),
]


@pytest.mark.parametrize("options", CASES)
def test_the_rate_falls_where_torch_lets_it_fall(options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max" if HIGHER_IS_BETTER[options.metric] else "min",
        factor=options.factor,
        patience=options.patience,
        threshold=options.threshold,
        cooldown=options.cooldown,
        min_lr=options.minimum_learning_rate,
    )
    state, falls = PlateauState(), set()
    for metric in history(HIGHER_IS_BETTER[options.metric]):
        scheduler.step(metric)
        state = update_plateau(options, PEAK, state, float(metric))
        assert PEAK * state.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert (state.bad_epochs, state.cooldown_left) == (
            scheduler.num_bad_epochs,
            scheduler.cooldown_counter,
        )
        assert state.best == scheduler.best
        falls.add(state.factor)
    assert len(falls) >= 3


def test_the_state_goes_through_json_unchanged():
    state = PlateauState()
    for metric in history("higher")[:10]:
        state = update_plateau(CASES[0], PEAK, state, float(metric))
    assert PlateauState(**json.loads(json.dumps(dataclasses.asdict(state)))) == state
