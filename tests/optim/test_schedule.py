import warnings

import numpy as np
import pytest

from sketch_jax.errors import InputError
from sketch_jax.optim.schedule import create_schedule, last_rate, warmup_length
from sketch_jax.optim.schedule_options import (
    Constant,
    MultiStep,
    OneCycle,
    Plateau,
    Step,
    WarmRestarts,
    WarmupCosine,
)

PEAK = 1e-3
STEPS, EPOCH = 120, 4


def rates(schedule, steps=STEPS, steps_per_epoch=EPOCH):
    return np.asarray(create_schedule(schedule, PEAK, steps, steps_per_epoch)(np.arange(steps)))


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-11)


@pytest.fixture
def sgd():
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)


def torch_rates(optimizer, scheduler, every=1):
    """The rate of each step, of a scheduler that is stepped after so many steps."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses calls of optimizer.step
        for step in range(STEPS):
            found.append(optimizer.param_groups[0]["lr"])
            if (step + 1) % every == 0:
                scheduler.step()
    return np.asarray(found)


def timm_rates(scheduler):
    return np.asarray([scheduler._get_lr(step)[0] for step in range(STEPS)])


@pytest.mark.parametrize(("every", "factor"), [(10.0, 0.1), (5.0, 0.5), (5.0, 0.1)])
def test_step_falls_where_torch_step_lr_falls_that_is_stepped_at_the_ends_of_epochs(sgd, every, factor):
    from torch.optim.lr_scheduler import StepLR

    ours = rates(Step(every_epochs=every, factor=factor))
    same(ours, torch_rates(sgd, StepLR(sgd, int(every), factor), every=EPOCH))
    border = int(every) * EPOCH
    assert ours[border - 1] == pytest.approx(PEAK)
    assert ours[border] == pytest.approx(PEAK * factor)


def test_step_with_a_warm_up_agrees_with_timm(sgd):
    from timm.scheduler.step_lr import StepLRScheduler

    scheduler = StepLRScheduler(sgd, 30, 0.3, warmup_t=12, warmup_lr_init=1e-6, warmup_prefix=False)
    same(rates(Step(every_steps=30, every_epochs=None, factor=0.3, warmup_epochs=3.0)), timm_rates(scheduler))


def test_multi_step_agrees_with_torch_in_steps_and_in_epochs(sgd):
    from torch.optim.lr_scheduler import MultiStepLR

    expected = torch_rates(sgd, MultiStepLR(sgd, [3, 11, 20], 0.2), every=EPOCH)
    same(rates(MultiStep(at_epochs=(3.0, 11.0, 20.0), factor=0.2)), expected)
    same(rates(MultiStep(at_epochs=None, at_steps=(12, 44, 80), factor=0.2)), expected)


def test_falls_end_at_the_minimum_rate():
    assert rates(Step(every_epochs=5.0, minimum_learning_rate=3e-5))[-1] == pytest.approx(3e-5)
    assert rates(MultiStep(at_epochs=(2.0, 3.0), minimum_learning_rate=5e-5))[-1] == pytest.approx(5e-5)


@pytest.mark.parametrize("warmup", [0, 7, 20])
def test_warm_up_and_cosine_agree_with_timm(sgd, warmup):
    from timm.scheduler.cosine_lr import CosineLRScheduler

    scheduler = CosineLRScheduler(
        sgd, STEPS - warmup, lr_min=1e-5, warmup_t=warmup, warmup_lr_init=1e-6, warmup_prefix=True
    )
    options = WarmupCosine(warmup_epochs=None, warmup_steps=warmup, final_learning_rate=1e-5)
    same(rates(options), timm_rates(scheduler))


@pytest.mark.parametrize("growth", [1, 2, 3])
def test_warm_restarts_agree_with_torch(sgd, growth):
    from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

    expected = torch_rates(sgd, CosineAnnealingWarmRestarts(sgd, 12, growth, 1e-6))
    same(
        rates(WarmRestarts(cycle_epochs=3.0, cycle_growth=float(growth), final_learning_rate=1e-6)), expected
    )


def test_warm_restarts_from_lower_peaks_after_a_warm_up_agree_with_timm(sgd):
    from timm.scheduler.cosine_lr import CosineLRScheduler

    scheduler = CosineLRScheduler(
        sgd, 16, 1e-6, cycle_decay=0.5, cycle_limit=99, warmup_t=8, warmup_lr_init=1e-6, warmup_prefix=True
    )
    options = WarmRestarts(
        cycle_epochs=None, cycle_steps=16, peak_factor=0.5, final_learning_rate=1e-6, warmup_epochs=2.0
    )
    same(rates(options), timm_rates(scheduler))


@pytest.mark.parametrize("annealing", ["cosine", "linear"])
@pytest.mark.parametrize("rise", [0.3, 0.21])
def test_one_cycle_agrees_with_torch(sgd, rise, annealing):
    from torch.optim.lr_scheduler import OneCycleLR

    form = {"cosine": "cos", "linear": "linear"}[annealing]
    scheduler = OneCycleLR(
        sgd, PEAK, STEPS, pct_start=rise, anneal_strategy=form, cycle_momentum=False, div_factor=10.0
    )
    options = OneCycle(rise=rise, annealing=annealing, initial_divisor=10.0)
    same(rates(options), torch_rates(sgd, scheduler))


def test_constant_and_plateau_are_a_linear_rise_and_then_the_peak():
    for record in (Constant, Plateau):
        expected = np.concatenate([1e-6 + (PEAK - 1e-6) * np.arange(10) / 10, np.full(STEPS - 10, PEAK)])
        same(rates(record(warmup_epochs=2.5)), expected)
        same(rates(record()), np.full(STEPS, PEAK))


WARMING = [Constant, WarmupCosine, Step, MultiStep, WarmRestarts, Plateau]


@pytest.mark.parametrize("record", WARMING)
def test_every_schedule_has_the_initial_rate_at_step_0_and_the_peak_at_the_end_of_the_warm_up(record):
    schedule = create_schedule(record(warmup_epochs=2.0), PEAK, STEPS, EPOCH)
    assert float(schedule(0)) == pytest.approx(1e-6)
    assert float(schedule(4)) == pytest.approx((1e-6 + PEAK) / 2)
    assert float(schedule(8)) == pytest.approx(PEAK)
    assert float(schedule(7)) < PEAK


@pytest.mark.parametrize("record", WARMING)
def test_a_warm_up_in_steps_is_that_in_epochs(record):
    ours = rates(record(warmup_epochs=None, warmup_steps=6))
    np.testing.assert_array_equal(ours, rates(record(warmup_epochs=1.5)))
    assert float(create_schedule(record(warmup_epochs=0.0), PEAK, STEPS, EPOCH)(0)) == pytest.approx(PEAK)


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Constant(), PEAK),
        (WarmupCosine(final_learning_rate=1e-5), 1e-5),
        (Step(every_epochs=10.0), PEAK * 0.01),
        (MultiStep(at_epochs=(29.0,)), PEAK * 0.1),
        (WarmRestarts(cycle_epochs=15.0), PEAK * (1 + np.cos(np.pi * 59 / 60)) / 2),
        (OneCycle(), PEAK / 25 / 1e4),
    ],
)
def test_the_last_rate_is_that_of_the_last_step_or_what_the_cosine_falls_to(schedule, end):
    found = last_rate(schedule, create_schedule(schedule, PEAK, STEPS, EPOCH), STEPS)
    assert found == pytest.approx(end, rel=1e-4)


def test_one_cycle_peaks_after_its_rise():
    peak_step = warmup_length(OneCycle(rise=0.25), STEPS, EPOCH)
    assert peak_step == np.argmax(rates(OneCycle(rise=0.25)))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            WarmupCosine(warmup_epochs=4.0),
            r"--schedule.warmup-epochs 4: a warm-up of 40 steps does not fit in a run of 40 steps; "
            r"choose --schedule.warmup-epochs 0.4, or more --epochs",
        ),
        (
            Constant(warmup_epochs=None, warmup_steps=50),
            r"--schedule.warmup-steps 50: a warm-up of 50 steps does not fit in a run of 40 steps; "
            r"choose --schedule.warmup-steps 4, or more --epochs",
        ),
    ],
)
def test_a_warm_up_that_does_not_fit_is_refused_with_a_remedy(schedule, message):
    with pytest.raises(InputError, match=message):
        create_schedule(schedule, PEAK, 40, 10)


def test_a_run_of_one_epoch_warms_up_for_a_tenth_of_it_where_a_whole_epoch_was_asked_for():
    assert warmup_length(WarmupCosine(warmup_epochs=1.0), 40, 40) == 4
    schedule = create_schedule(WarmupCosine(warmup_epochs=1.0), PEAK, 40, 40)
    assert np.argmax([schedule(step) for step in range(40)]) == 4
    assert warmup_length(WarmupCosine(warmup_epochs=0.5), 40, 40) == 20
    with pytest.raises(InputError, match="a warm-up of 40 steps does not fit"):
        create_schedule(Constant(warmup_epochs=None, warmup_steps=40), PEAK, 40, 40)


def test_without_a_step_the_rate_is_0():
    assert create_schedule(WarmupCosine(), PEAK, 0, 10)(0) == 0.0
