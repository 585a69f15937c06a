"""Steps over a part of the parameters: what moves, what rests, and what is kept of it."""

import functools
import re

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tuning_cases import begun, tiny_model, trained, values

from sketch_jax.errors import InputError
from sketch_jax.models.batch_norms import freeze_norms
from sketch_jax.models.learning_rates import create_rate_of
from sketch_jax.models.tuning_options import (
    AttentionOnly,
    Everything,
    HeadOnly,
    LastBlocks,
    NormsAndBiases,
    Patterns,
    Rate,
    Rates,
)
from sketch_jax.optim.optimizer import create_optimizer
from sketch_jax.optim.options import AdamW
from sketch_jax.train.division import divide, keep_frozen_as, overlay, refuse_shrinking, whole
from sketch_jax.trees import count_elements, flatten, join, separate, stack_blocks, unstack_blocks

VIT, EVA, RESNET, EFFICIENTNET = (
    *("vit_tiny_patch16_224", "eva02_base_patch14_448"),
    *("test_resnet", "test_efficientnet"),
)
PARTIAL = [HeadOnly(), AttentionOnly(), LastBlocks(), NormsAndBiases(), Patterns(trained=("mlp",))]


def equal_bits(left, right):
    left, right = flatten(left), flatten(right)
    assert left.keys() == right.keys()
    return all(np.asarray(left[path]).tobytes() == np.asarray(right[path]).tobytes() for path in left)


@pytest.mark.parametrize("tuning", PARTIAL, ids=lambda tuning: type(tuning).__name__)
def test_trained_leaves_move_as_in_full_training_and_frozen_ones_keep_their_bits(tuning):
    full, nothing, _ = trained(VIT, Everything())
    assert nothing == {}
    state, frozen, _ = trained(VIT, tuning)
    start = values(VIT)[0]
    assert flatten(state.trainable).keys() | flatten(frozen).keys() == flatten(start).keys()
    assert not flatten(state.trainable).keys() & flatten(frozen).keys()
    expected, found = flatten(full.trainable), flatten(state.trainable)
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, expected[path], rtol=0, atol=1e-6, err_msg=path)
        assert not np.array_equal(leaf, flatten(start)[path]), path
    chosen = flatten(frozen).keys()
    assert equal_bits(frozen, separate(start, lambda path: path in chosen)[0])


def test_the_optimizer_keeps_nothing_of_frozen_leaves():
    _, _, state, frozen = begun(VIT, HeadOnly(), optax.adam(1e-3))
    head = 12 * 3 + 3
    assert count_elements(state.trainable) == head
    assert count_elements(state.opt_state) == 2 * head + 1
    assert count_elements(frozen) + head == count_elements(values(VIT)[0])


def test_no_gradient_of_frozen_kernels_is_computed():
    """The compiled step of the head has far fewer operations than that of everything."""

    def flops(tuning):
        optimizer = optax.sgd(0.1)
        division, model, state, frozen = begun(VIT, tuning, optimizer)

        def loss(trainable, frozen):
            params = whole(division, trainable, frozen)
            inputs = jnp.ones((2, 32, 32, 3))
            features, _ = model.features(params, {}, inputs, jax.random.key(0), True)
            return model.head(params, features, jax.random.key(0), True).sum()

        return jax.jit(jax.grad(loss)).lower(state.trainable, frozen).compile().cost_analysis()["flops"]

    everything, attention, head = flops(Everything()), flops(AttentionOnly()), flops(HeadOnly())
    assert head < 0.45 * everything
    assert head < attention < everything


@pytest.mark.parametrize("name", [RESNET, EFFICIENTNET])
def test_batch_norms_of_frozen_parts_use_running_statistics_which_rest(name):
    tuning = Patterns(trained=("(^|/)(fc|classifier)/", r"^(layer4_0|blocks_4_0)/"))
    params, statistics = values(name)
    paths = flatten(params)
    if not any(re.search(tuning.trained[1], path) for path in paths):
        last = sorted(path.split("/")[0] for path in paths if re.match(r"layer|blocks", path))[-1]
        tuning = Patterns(trained=("(^|/)(fc|classifier)/", f"^{last}/"))
    state, _, _ = trained(name, tuning, rows=8)
    moved = {
        path
        for path, leaf in flatten(state.statistics).items()
        if not np.array_equal(leaf, flatten(statistics)[path])
    }
    place = tuning.trained[1].removeprefix("^")
    expected = {path for path in flatten(statistics) if re.match(place, path)}
    assert moved == expected
    assert 0 < len(expected) < len(flatten(statistics))


def run_features(model, params, statistics, inputs, train):
    return model.features(params, statistics, inputs, jax.random.key(0), train)


@pytest.mark.parametrize("name", [RESNET, EFFICIENTNET])
@pytest.mark.parametrize("remat", ["none", "all"])
def test_a_network_of_frozen_norms_trains_on_the_features_that_it_predicts_with(name, remat):
    model, (params, statistics) = tiny_model(name, remat), values(name)
    inputs = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    rested = freeze_norms(model, lambda path: False)
    features = {}
    for kind, used in (("plain", model), ("rested", rested)):
        for train in (True, False):
            run = jax.jit(functools.partial(run_features, used, train=train))
            features[kind, train] = run(params, statistics, inputs)
    np.testing.assert_array_equal(features["rested", True][0], features["plain", False][0])
    assert equal_bits(features["rested", True][1], statistics)
    assert np.abs(features["plain", True][0] - features["plain", False][0]).max() > 1e-2


def test_frozen_leaves_in_bfloat16_are_read_as_their_rounded_values():
    params, _ = values(VIT)
    division = divide(HeadOnly(), tiny_model(VIT), params)
    kept = keep_frozen_as(params, [division], jnp.bfloat16)
    types = {path: leaf.dtype for path, leaf in flatten(kept).items()}
    assert {path for path, dtype in types.items() if dtype == jnp.float32} == division.trained
    trainable, frozen = separate(kept, division.is_trained)
    read = flatten(whole(division, trainable, frozen))
    for path, leaf in flatten(params).items():
        wanted = leaf if path in division.trained else jnp.asarray(leaf, jnp.bfloat16).astype(jnp.float32)
        np.testing.assert_array_equal(read[path], wanted)
    state, rested, _ = trained(VIT, HeadOnly(), params=kept)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.trainable)} == {np.dtype(np.float32)}
    assert equal_bits(rested, frozen)


def test_stacked_blocks_train_their_attention_as_single_ones_do():
    single, _, _ = trained(VIT, AttentionOnly())
    stacked, frozen, _ = trained(VIT, AttentionOnly(), params=stack_blocks(values(VIT)[0]))
    assert "blocks" in stacked.trainable
    assert "blocks" in frozen
    found, expected = flatten(unstack_blocks(stacked.trainable)), flatten(single.trainable)
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=0, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("stacked", [False, True])
def test_an_update_is_multiplied_by_the_factor_of_its_path_decay_included(stacked):
    params, _ = values(VIT)
    rates = Rates(layer_decay=0.5, factors=(Rate(pattern="bias$", factor=3.0),))
    rate_of = create_rate_of(rates, tiny_model(VIT), flatten(params), stacked=stacked)
    given = stack_blocks(params) if stacked else params
    # Such an epsilon keeps the rounding of small gradients from becoming steps.
    options, schedule = AdamW(weight_decay=0.5, epsilon=1e-2), optax.constant_schedule(0.1)
    moved = []
    for factors in ({}, {"rate_of": rate_of}):
        optimizer = create_optimizer(options, schedule, **factors)
        state, _, _ = trained(VIT, Everything(), optimizer=optimizer, params=given)
        found = flatten(unstack_blocks(state.trainable))
        moved.append({path: leaf - flatten(params)[path] for path, leaf in found.items()})
    plain, scaled = moved
    of_single = create_rate_of(rates, tiny_model(VIT), flatten(params))
    for path, step in plain.items():
        np.testing.assert_allclose(scaled[path], step * of_single(path), rtol=2e-5, atol=2e-7, err_msg=path)
    assert of_single("blocks_0/mlp/fc1/bias") == 0.75
    assert of_single("patch_embed/proj/kernel") == 0.125


def test_separate_and_join_are_inverse_and_a_path_is_in_one_tree_only():
    tree = {"stem": {"kernel": 1, "bias": 2}, "head": {"bias": 3}}
    first, second = separate(tree, lambda path: path.startswith("head"))
    assert (first, second) == ({"head": {"bias": 3}}, {"stem": {"kernel": 1, "bias": 2}})
    assert join(first, second) == tree
    with pytest.raises(ValueError, match="head/bias is in both trees"):
        join(first, tree)
    assert overlay(tree, {"stem": {"bias": 7, "lora_up": 9}})["stem"] == {"kernel": 1, "bias": 7}


def test_a_stage_that_freezes_what_was_trained_is_refused():
    params = values(VIT)[0]
    divisions = [divide(tuning, tiny_model(VIT), params) for tuning in (LastBlocks(), HeadOnly())]
    with pytest.raises(
        InputError, match=re.escape("--tuning.stages: stage 2 freezes what stage 1 trains, such")
    ):
        refuse_shrinking(divisions)
    refuse_shrinking(divisions[::-1])
