"""Averages of weights against timm's and torch's, and statistics that are measured anew."""

import copy
import re

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tuning_cases import batch_of, begun, step_of, tiny_model, values

from sketch_jax.config import Config
from sketch_jax.errors import InputError
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.tuning_options import Everything, HeadOnly
from sketch_jax.train.averages import create_average, ema_decay, make_measure_step
from sketch_jax.train.options import Ema, Swa
from sketch_jax.trees import flatten

RESNET = "test_resnet"


@pytest.mark.parametrize("power", [2 / 3, 1.0, 0.0])
def test_the_decay_warms_up_as_timms_and_the_average_is_its(power):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    options = Ema(decay=0.9, warmup_power=power)
    model = torch.nn.Linear(3, 2)
    theirs = timm.utils.ModelEmaV3(model, decay=0.9, use_warmup=power > 0, warmup_power=power)
    average = jax.jit(create_average(options, 5))
    ours = {"weight": jnp.asarray(model.weight.detach().numpy().copy())}
    for count in range(1, 60):
        with torch.no_grad():
            model.weight += torch.sin(torch.arange(6.0) + count).reshape(2, 3)
        theirs.update(model, step=count)
        ours = average(ours, {"weight": jnp.asarray(model.weight.detach().numpy())}, jnp.asarray(count))
        assert float(ema_decay(options, count)) == pytest.approx(theirs.get_decay(count), abs=1e-6)
        np.testing.assert_allclose(ours["weight"], theirs.module.weight.detach().numpy(), rtol=0, atol=2e-6)


def test_the_mean_over_ends_of_epochs_is_torchs():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    theirs = torch.optim.swa_utils.AveragedModel(model)
    average = jax.jit(create_average(Swa(first_epoch=2), steps_per_epoch=4))
    ours = {"weight": jnp.full((2, 3), 99.0)}
    for count in range(1, 21):
        with torch.no_grad():
            model.weight += torch.cos(torch.arange(6.0) * count).reshape(2, 3)
        if count in (12, 16, 20):
            theirs.update_parameters(model)
        ours = average(ours, {"weight": jnp.asarray(model.weight.detach().numpy())}, jnp.asarray(count))
        if count < 12:
            assert (ours["weight"] == 99.0).all()
    np.testing.assert_allclose(ours["weight"], theirs.module.weight.detach().numpy(), rtol=0, atol=1e-6)


def test_a_step_averages_what_it_made_and_keeps_nothing_of_frozen_leaves():
    optimizer = optax.sgd(0.1)
    division, model, state, frozen = begun(RESNET, HeadOnly(), optimizer, averages=True)
    step = step_of(model, division, optimizer, average=create_average(Ema(warmup_power=1.0), 3))
    seen = []
    for _ in range(3):
        state, _ = step(state, frozen, batch_of(4), jax.random.key(0))
        seen.append(flatten(state.trainable))
    averaged = flatten(state.averaged["trainable"])
    assert averaged.keys() == seen[0].keys() == {"fc/kernel", "fc/bias"}
    for path, leaf in averaged.items():
        np.testing.assert_allclose(leaf, np.mean([values[path] for values in seen], axis=0), atol=1e-6)
        assert not np.allclose(leaf, seen[-1][path], atol=1e-5)


def test_statistics_are_measured_as_torchs_update_bn_does():
    """The first norm alone, whose inputs need no network: torch takes the mean of the batches' statistics."""
    torch = pytest.importorskip("torch")
    model, (params, statistics) = tiny_model(RESNET), values(RESNET)
    measure = jax.jit(make_measure_step(model))
    batches = np.random.default_rng(0).normal(size=(3, 4, 32, 32, 3)).astype(np.float32)
    measured = statistics
    for number, inputs in enumerate(batches, 1):
        measured = measure(params, statistics, measured, jnp.float32(number), inputs, jax.random.key(0))
    kernel = np.asarray(params["conv1_0"]["kernel"] if "conv1_0" in params else params["conv1"]["kernel"])
    place = "conv1_1" if "conv1_1" in params else "bn1"
    convolution = torch.nn.Conv2d(3, kernel.shape[-1], kernel.shape[0], stride=2, padding=1, bias=False)
    convolution.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    theirs = torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(kernel.shape[-1]))
    images = [torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()) for inputs in batches]
    torch.optim.swa_utils.update_bn(images, theirs)
    np.testing.assert_allclose(measured[place]["mean"], theirs[1].running_mean.numpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(measured[place]["var"], theirs[1].running_var.numpy(), rtol=2e-5, atol=2e-5)


def test_statistics_of_frozen_norms_are_not_measured():
    model, (params, statistics) = tiny_model(RESNET), values(RESNET)
    rested = freeze_norms(model, lambda path: path.startswith("layer4_0/"))
    inputs = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    step = jax.jit(make_measure_step(rested))
    measured = flatten(step(params, statistics, statistics, jnp.float32(1), inputs, jax.random.key(0)))
    for path, leaf in flatten(statistics).items():
        assert np.array_equal(measured[path], leaf) != path.startswith("layer4_0/"), path


def test_measuring_leaves_the_model_and_its_momentum_alone():
    model = tiny_model(RESNET)
    before = copy.copy(model)
    make_measure_step(model)
    assert model == before
    division, model, state, frozen = begun(RESNET, Everything(), optax.sgd(0.0))
    state, _ = step_of(model, division, optax.sgd(0.0))(state, frozen, batch_of(4), jax.random.key(0))
    moved = flatten(state.statistics)
    assert any(not np.array_equal(moved[path], leaf) for path, leaf in flatten(values(RESNET)[1]).items())


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError) as refusal:
        Ema(decay=1.0, warmup_power=2.0)
    assert "--averaging.decay 1: must be at least 0 and below 1" in str(refusal.value)
    assert "--averaging.warmup-power 2: must be in 0 to 1" in str(refusal.value)
    with pytest.raises(InputError, match=re.escape("--averaging.first-epoch -1: must be at least 0")):
        Swa(first_epoch=-1)
    with pytest.raises(InputError, match=re.escape("--averaging.first-epoch 10: the run has 10 epochs")):
        Config(name="run", epochs=10, averaging=Swa(first_epoch=10))
