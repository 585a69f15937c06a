import functools

import jax
import numpy as np
import pytest
from optimizer_cases import (
    assert_same,
    gradients_at,
    our_steps,
    parameters,
    rate_by_part,
    schedule,
    torch_steps,
)

from sketch_jax.optim import small_leaves
from sketch_jax.optim.optimizer import create_optimizer, global_norm, predicting_params
from sketch_jax.optim.options import (
    Adam,
    AdamP,
    AdamW,
    Lion,
    Madgrad,
    Muon,
    Sam,
    ScheduleFreeAdamW,
    Sgd,
    Sgdp,
)
from sketch_jax.optim.treatments import is_decayed, is_hidden, rate_of_one
from sketch_jax.trees import flatten

torch = pytest.importorskip("torch")
pytest.importorskip("timm")


def torch_adamw(options, groups):
    return [torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), eps=options.epsilon)]


def torch_adam(options, groups):
    return [torch.optim.Adam(groups, betas=(options.beta1, options.beta2), eps=options.epsilon)]


def torch_sgd(options, groups):
    return [torch.optim.SGD(groups, momentum=options.momentum, nesterov=options.nesterov)]


def timm_adamp(options, groups):
    from timm.optim.adamp import AdamP

    projection = {"delta": options.delta, "wd_ratio": options.decay_ratio, "nesterov": options.nesterov}
    return [AdamP(groups, betas=(options.beta1, options.beta2), eps=options.epsilon, **projection)]


def timm_sgdp(options, groups):
    from timm.optim.sgdp import SGDP

    projection = {"delta": options.delta, "wd_ratio": options.decay_ratio, "nesterov": options.nesterov}
    return [SGDP(groups, lr=1.0, momentum=options.momentum, eps=options.epsilon, **projection)]


def timm_madgrad(options, groups):
    from timm.optim.madgrad import MADGRAD

    return [MADGRAD(groups, momentum=options.momentum, eps=options.epsilon)]


def timm_lion(options, groups):
    from timm.optim.lion import Lion

    return [Lion(groups, betas=(options.beta1, options.beta2))]


HIDDEN = {"conv/kernel", "mlp/fc1/kernel", "mlp/fc2/kernel"}


def timm_muon(options, groups):
    from timm.optim import muon

    matrices = muon.Muon(
        [group for group in groups if group["path"] in HIDDEN],
        momentum=options.momentum,
        nesterov=options.nesterov,
        ns_steps=options.iterations,
        ns_coefficients="original",
        adjust_lr_fn={"adamw": "match_rms_adamw", "shape": "original"}[options.scale],
    )
    others = [group for group in groups if group["path"] not in HIDDEN]
    return [matrices, *torch_adamw(options, others)]


CASES = {
    "adamw": (AdamW(weight_decay=0.1), torch_adamw),
    "adam": (Adam(weight_decay=0.1), torch_adam),
    "sgd": (Sgd(weight_decay=0.1, nesterov=False), torch_sgd),
    "nesterov": (Sgd(weight_decay=0.1), torch_sgd),
    "plain_sgd": (Sgd(momentum=0.0, nesterov=False), torch_sgd),
    "adamp": (AdamP(weight_decay=0.1), timm_adamp),
    "adamp_nesterov": (AdamP(weight_decay=0.1, nesterov=True, decay_ratio=0.01), timm_adamp),
    "sgdp": (Sgdp(weight_decay=0.1), timm_sgdp),
    "sgdp_plain": (Sgdp(weight_decay=0.1, nesterov=False), timm_sgdp),
    "madgrad": (Madgrad(weight_decay=0.1), timm_madgrad),
    "madgrad_plain": (Madgrad(momentum=0.0), timm_madgrad),
    "lion": (Lion(weight_decay=0.5), timm_lion),
    "muon": (Muon(weight_decay=0.1), timm_muon),
    "muon_by_shape": (Muon(scale="shape", nesterov=False), timm_muon),
}


@pytest.fixture
def float32_muon(monkeypatch):
    """timm's Muon in the precision of ours: it rounds to bfloat16 otherwise."""
    from timm.optim import muon

    exact = functools.partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)
    monkeypatch.setattr(muon, "zeropower_via_newtonschulz", exact)


@pytest.mark.parametrize("rate_of", [rate_of_one, rate_by_part])
@pytest.mark.parametrize("case", CASES)
def test_ten_steps_agree_with_torch_or_timm_at_one_rate_and_at_rates_by_path(case, rate_of, float32_muon):
    options, create = CASES[case]
    trajectory, _ = our_steps(options, rate_of)
    expected = torch_steps(functools.partial(create, options), options, trajectory, rate_of)
    assert_same(trajectory[-1], expected)


@pytest.mark.parametrize("small_elements", [0, 100])
@pytest.mark.parametrize("case", ["adamw", "sgd", "madgrad", "lion"])
def test_ten_steps_agree_whatever_is_packed(case, small_elements, monkeypatch):
    options, _ = CASES[case]
    everything, _ = our_steps(options, rate_by_part)
    monkeypatch.setattr(small_leaves, "SMALL_ELEMENTS", small_elements)
    trajectory, _ = our_steps(options, rate_by_part)
    jax.tree.map(
        lambda left, right: np.testing.assert_allclose(left, right, atol=1e-6), everything[-1], trajectory[-1]
    )


@pytest.mark.parametrize("record", [AdamP, Sgdp])
def test_the_gradients_of_the_comparison_are_projected_in_both_views(record):
    projected, _ = our_steps(record(learning_rate=0.1))
    plain, _ = our_steps(record(learning_rate=0.1, delta=0.0))
    ours, theirs = flatten(projected[-1]), flatten(plain[-1])
    changed = {path for path in ours if not np.allclose(ours[path], theirs[path])}
    assert {"conv/kernel", "mlp/fc1/kernel"} <= changed
    assert not {"mlp/fc1/bias", "norm/scale"} & changed


def test_muon_takes_hidden_kernels_alone():
    assert {path for path, leaf in flatten(parameters()).items() if is_hidden(path, leaf)} == HIDDEN


def schedule_free_reference(options, trajectory, rate_of):
    """The published algorithm, in float64: {path: (y, x)} after all gradients."""
    found = {}
    for path, leaf in flatten(trajectory[0]).items():
        evaluated = averaged = newest = np.asarray(leaf, np.float64)
        squares, weight_sum, largest_rate = 0.0, 0.0, 0.0
        decay = options.weight_decay if is_decayed(path, leaf) else 0.0
        for step, params in enumerate(trajectory[:-1]):
            gradient = np.asarray(flatten(gradients_at(step, params))[path], np.float64)
            rate = schedule(step) * rate_of(path)
            squares = options.beta2 * squares + (1 - options.beta2) * gradient**2
            size = np.sqrt(squares / (1 - options.beta2 ** (step + 1))) + options.epsilon
            newest = newest - rate * (gradient / size + decay * evaluated)
            largest_rate = max(largest_rate, rate)
            weight_sum += largest_rate**2
            share = largest_rate**2 / weight_sum
            averaged = (1 - share) * averaged + share * newest
            evaluated = (1 - options.beta1) * newest + options.beta1 * averaged
        found[path] = evaluated, averaged
    return found


@pytest.mark.parametrize("rate_of", [rate_of_one, rate_by_part])
@pytest.mark.parametrize("options", [ScheduleFreeAdamW(weight_decay=0.1)])
def test_schedule_free_training_agrees_with_the_published_algorithm_in_numpy(options, rate_of):
    trajectory, state = our_steps(options, rate_of)
    expected = schedule_free_reference(options, trajectory, rate_of)
    predicting = flatten(predicting_params(Sam(base=options), trajectory[-1], state, rate_of))
    for path, leaf in flatten(trajectory[-1]).items():
        evaluated, averaged = expected[path]
        np.testing.assert_allclose(leaf, evaluated, rtol=0, atol=1e-5)
        np.testing.assert_allclose(predicting[path], averaged, rtol=0, atol=1e-5)
    assert np.abs(predicting["head/kernel"] - trajectory[-1]["head"]["kernel"]).max() > 1e-3


def test_other_optimizers_predict_with_what_they_train():
    params = parameters()
    assert predicting_params(AdamW(), params, None) is params


EVERY = [*(options for options, _ in CASES.values()), ScheduleFreeAdamW(), Sam(base=Sgd(weight_decay=0.1))]


@pytest.mark.parametrize("options", EVERY, ids=lambda options: type(options).__name__)
def test_the_state_of_an_optimizer_is_arrays_that_share_no_memory_with_the_parameters(options):
    params = parameters()
    optimizer = create_optimizer(options, schedule)
    state = optimizer.init(params)
    leaves = jax.tree.leaves(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    places = [leaf.unsafe_buffer_pointer() for leaf in (*leaves, *jax.tree.leaves(params))]
    assert len(set(places)) == len(places)
    _, after = jax.eval_shape(optimizer.update, gradients_at(0, params), state, params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == [
        (leaf.shape, leaf.dtype) for leaf in leaves
    ]


def test_the_global_norm_is_that_of_all_leaves():
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(parameters())])
    assert float(global_norm(parameters())) == pytest.approx(float(np.linalg.norm(flat)), rel=1e-6)
