"""The loop of training, around steps that are cheap enough to count."""

import dataclasses
import math

import jax
import pytest
from jax import numpy as jnp

from sketch_jax.errors import InputError
from sketch_jax.train.loop import Calls, Plan, best_steps_in_flight, fit
from sketch_jax.train.state import TrainState


def start() -> TrainState:
    return TrainState(step=jnp.int32(0), trainable={}, statistics={}, opt_state=())


def stepped(state: TrainState) -> TrainState:
    return dataclasses.replace(state, step=state.step + 1)


@dataclasses.dataclass
class Pending:
    """A metric that is ready once somebody waited for it."""

    step: int
    waited: list[int]

    def block_until_ready(self):
        self.waited.append(self.step)
        return self


def plan(**changes):
    return Plan(
        **(
            {"steps": 6, "steps_per_epoch": 3, "batch_size": 4, "log_every": 100, "save_every": None}
            | changes
        )
    )


def calls(saved, stop=lambda: False, measured=None):
    return Calls(
        evaluate=lambda state: measured or {},
        save=lambda step, state, metric: saved.append((step, metric)),
        write=lambda step, values: None,
        advance=lambda step, values: None,
        stop_requested=stop,
    )


def step_with(loss=1.0, at=None):
    def train_step(state, batch, key):
        value = loss if at is None or batch == at else 1.0
        metrics = {
            "loss": jnp.float32(value),
            "gradient_norm": jnp.float32(1),
            "learning_rate": jnp.float32(1),
        }
        return stepped(state), metrics

    return train_step


@pytest.mark.parametrize("in_flight", [0, 1, 2])
def test_the_loop_waits_for_the_step_that_many_before_the_newest(in_flight, monkeypatch):
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", lambda pending: pending.block_until_ready())
    monkeypatch.setattr("sketch_jax.train.loop.mean_metrics", lambda pending: {"train/loss": 0.0})

    def train_step(state, batch, key):
        return stepped(state), Pending(batch, waited)

    fit(
        start(),
        train_step,
        range(1, 7),
        None,
        plan(steps_per_epoch=6, steps_in_flight=in_flight),
        calls([]),
    )
    assert waited == list(range(1, 7 - in_flight))


def test_the_cpu_runs_no_step_ahead_and_other_devices_one():
    assert [best_steps_in_flight(backend) for backend in ("cpu", "gpu", "tpu")] == [0, 1, 1]


def test_states_are_saved_after_epochs_and_when_the_plan_says_with_the_metric_of_epochs():
    saved = []
    outcome = fit(
        start(),
        step_with(),
        range(6),
        None,
        plan(save_every=2),
        calls(saved, measured={"accuracy": 0.5, "loss": 1.0}),
    )
    assert saved == [(2, None), (3, 0.5), (4, None), (6, 0.5)]
    assert (outcome.steps_taken, outcome.interrupted, outcome.metrics["val/accuracy"]) == (6, False, 0.5)


def test_a_request_to_stop_saves_and_leaves_after_the_step():
    saved = []
    outcome = fit(start(), step_with(), range(6), None, plan(), calls(saved, stop=lambda: True))
    assert saved == [(1, None)]
    assert (outcome.steps_taken, outcome.interrupted) == (1, True)


def test_a_loss_that_is_not_finite_names_its_step_and_nothing_after_it_is_saved():
    saved = []
    with pytest.raises(InputError, match=r"step 5: the loss is nan .* try a lower --optimizer.learning-rate"):
        fit(start(), step_with(math.nan, at=4), range(6), None, plan(), calls(saved))
    assert saved == [(3, None)]


def test_a_held_out_loss_that_is_not_finite_is_refused_before_its_state_is_saved():
    saved = []
    measured = {"accuracy": 0.5, "loss": math.inf}
    with pytest.raises(
        InputError, match="step 3: the held-out loss is inf, but it must be finite; try a lower"
    ):
        fit(start(), step_with(), range(6), None, plan(), calls(saved, measured=measured))
    assert saved == []
