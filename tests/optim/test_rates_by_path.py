import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from optimizer_cases import schedule

from sketch_jax.optim.optimizer import create_optimizer, predicting_params, with_rate_factor
from sketch_jax.optim.options import (
    Adam,
    AdamP,
    AdamW,
    Lion,
    Madgrad,
    Muon,
    ScheduleFreeAdamW,
    Sgd,
    Sgdp,
)
from sketch_jax.optim.treatments import treatment_of
from sketch_jax.trees import stack_blocks, unstack_blocks

DEPTH = 3
BLOCK_RATES = (0.25, 0.5, 0.75)

OPTIONS = [
    AdamW(clip_norm=1.0),
    Adam(),
    Sgd(clip_value=0.5),
    AdamP(),
    Sgdp(weight_decay=0.1),
    Madgrad(),
    Lion(),
    Muon(),
    ScheduleFreeAdamW(),
    AdamW(clip_ratio=0.05),
]


def blocks(seed):
    generator = np.random.default_rng(seed)

    def leaf(*shape):
        return jnp.asarray(generator.normal(size=shape), jnp.float32)

    stem = {"stem": {"kernel": leaf(3, 3, 3, 8)}, "head": {"kernel": leaf(8, 5)}}
    kernels = {"fc": {"kernel": leaf(8, 12), "bias": leaf(12)}, "conv": {"kernel": leaf(3, 3, 8, 8)}}
    others = [
        {
            "norm": {"scale": leaf(8)},
            **{
                name: {part: leaf(*value.shape) for part, value in module.items()}
                for name, module in kernels.items()
            },
        }
        for _ in range(DEPTH)
    ]
    return {**stem, **{f"blocks_{index}": block for index, block in enumerate(others)}}


def rate_of_separate(path):
    name = path.split("/")[0]
    return BLOCK_RATES[int(name[-1])] if name.startswith("blocks_") else 1.0


def rate_of_stacked(path):
    return BLOCK_RATES if path.startswith("blocks/") else 1.0


def steps(options, params, rate_of, arrange):
    optimizer = create_optimizer(options, schedule, rate_of)
    update = jax.jit(optimizer.update)
    params = arrange(params)
    state = optimizer.init(params)
    for step in range(4):
        updates, state = update(arrange(blocks(step + 1)), state, params)
        params = optax.apply_updates(params, updates)
    return params, predicting_params(options, params, state, rate_of)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: type(options).__name__)
def test_stacked_blocks_take_the_steps_of_separate_ones_each_at_its_own_rate(options):
    separate = steps(options, blocks(0), rate_of_separate, lambda tree: tree)
    stacked = steps(options, blocks(0), rate_of_stacked, stack_blocks)
    for ours, theirs in zip(separate, map(unstack_blocks, stacked), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            jax.tree.map(
                lambda left, right: np.testing.assert_allclose(left, right, rtol=0, atol=1e-5),
                ours[name],
                theirs[name],
            )


def test_rates_that_are_not_one_a_stacked_block_are_refused():
    leaf = jnp.zeros((DEPTH, 4, 4))
    with pytest.raises(ValueError, match=r"blocks/fc/kernel: 2 rates for a leaf of shape \(3, 4, 4\)"):
        treatment_of("blocks/fc/kernel", leaf, lambda path: (0.5, 1.0))
    with pytest.raises(ValueError, match=r"head/kernel: 3 rates"):
        treatment_of("head/kernel", leaf, lambda path: BLOCK_RATES)


@pytest.mark.parametrize("options", [AdamW(), Madgrad(), Muon(), ScheduleFreeAdamW()])
def test_a_rate_of_0_leaves_a_parameter_as_it_is(options):
    params, _ = steps(options, blocks(0), lambda path: float(path.startswith("head")), lambda tree: tree)
    kept = 5e-7 if isinstance(options, ScheduleFreeAdamW) else 0.0  # there, weights are taken from two sums
    kept = 1e-4 if isinstance(options, Madgrad) else kept  # its epsilon is added to the rate, too
    for name in ("stem", "blocks_0", "blocks_2"):
        jax.tree.map(
            lambda left, right: np.testing.assert_allclose(left, right, rtol=0, atol=kept),
            params[name],
            blocks(0)[name],
        )
    assert np.abs(params["head"]["kernel"] - blocks(0)["head"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: type(options).__name__)
def test_a_factor_of_the_rate_acts_as_a_schedule_of_that_rate(options):
    params, gradients = blocks(0), blocks(1)
    factored = create_optimizer(options, lambda step: 0.1)
    state = with_rate_factor(factored.init(params), 0.25)
    ours, after = jax.jit(factored.update)(gradients, state, params)
    slower = create_optimizer(options, lambda step: 0.025)
    theirs, _ = jax.jit(slower.update)(gradients, slower.init(params), params)
    jax.tree.map(
        lambda left, right: np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-8), ours, theirs
    )
    assert float(after.rate_factor) == 0.25
