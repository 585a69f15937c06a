"""Soups against torch's averaging, by hand, and against what a soup must be."""

import numpy as np
import pytest

from sketch_jax.ensemble.soups import (
    Barrier,
    Learning,
    greedy_soup,
    layer_distances,
    learn_soup,
    measure_barrier,
    mix,
    uniform_soup,
)

SHAPES = {"stem/kernel": (3, 4), "stem/bias": (4,), "head/kernel": (4, 2)}


def model(seed):
    generator = np.random.default_rng(seed)
    return {path: generator.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()}


def loaders(*models):
    return [lambda model=model: model for model in models]


def layer_of(path):
    return 0 if path.startswith("stem") else 1


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, err_msg=path, **tolerance)


def test_the_uniform_soup_is_torchs_averaged_model():
    torch = pytest.importorskip("torch")
    models = [model(seed) for seed in range(5)]
    module = torch.nn.ParameterDict(
        {path.replace("/", "_"): torch.zeros(shape) for path, shape in SHAPES.items()}
    )
    averaged = torch.optim.swa_utils.AveragedModel(module)
    for member in models:
        for path, leaf in member.items():
            module[path.replace("/", "_")].data.copy_(torch.tensor(leaf))
        averaged.update_parameters(module)
    expected = {path: averaged.module[path.replace("/", "_")].detach().numpy() for path in SHAPES}
    assert_same(uniform_soup(loaders(*models)), expected, rtol=1e-6, atol=1e-7)


def test_a_soup_of_one_is_that_one_and_the_order_never_matters():
    models = [model(seed) for seed in range(4)]
    assert_same(uniform_soup(loaders(models[0])), models[0], rtol=0)
    assert_same(uniform_soup(loaders(*models)), uniform_soup(loaders(*models[::-1])), rtol=1e-5, atol=1e-6)
    assert_same(uniform_soup(loaders(*[models[0]] * 3)), models[0], rtol=1e-6)


def test_members_are_held_one_at_a_time():
    held, most = [0], [0]

    class Held(dict):
        def __del__(self):
            held[0] -= 1

    def load(seed):
        held[0] += 1
        most[0] = max(most[0], held[0])
        return Held(model(seed))

    uniform_soup([lambda seed=seed: load(seed) for seed in range(20)])
    assert most[0] <= 2


def score_of(target):
    """Minus the squared distance from a target."""
    return lambda leaves: -sum(float(np.square(leaf - target[path]).sum()) for path, leaf in leaves.items())


def test_the_greedy_soup_takes_a_member_only_where_the_mean_is_strictly_better():
    target, shift = model(0), model(1)
    near = {path: leaf + shift[path] for path, leaf in target.items()}
    other_side = {path: leaf - 1.2 * shift[path] for path, leaf in target.items()}
    far = {path: leaf + 9 * shift[path] for path, leaf in target.items()}
    found = greedy_soup(loaders(near, near, far, other_side), score_of(target))
    assert found.chosen == (0, 3)
    assert_same(found.leaves, mix(near, other_side, 0.5), rtol=1e-6, atol=1e-6)
    assert found.score == pytest.approx(score_of(target)(found.leaves), rel=1e-4)
    assert found.score > score_of(target)(near)


def test_a_second_pass_adds_what_helps_only_later():
    # On a line, from the target at 0: 1 first; 1.1 with it is worse; -2 gives -0.5, better; then 1.1: 0.03.
    line = [{"head/kernel": np.full((4, 2), value, np.float32)} for value in (1.0, 1.1, -2.0)]
    target = {"head/kernel": np.zeros((4, 2), np.float32)}
    assert greedy_soup(loaders(*line), score_of(target)).chosen == (0, 2)
    twice = greedy_soup(loaders(*line), score_of(target), passes=2)
    assert twice.chosen == (0, 2, 1)
    np.testing.assert_allclose(twice.leaves["head/kernel"], 0.1 / 3, atol=1e-6)


def loss_and_gradient_of(target):
    def evaluate(leaves):
        gradient = {path: 2 * (leaf - target[path]) for path, leaf in leaves.items()}
        return -score_of(target)(leaves), gradient

    return evaluate


@pytest.mark.parametrize("by_layer", [False, True])
def test_learnt_weights_find_the_mixture_that_was_made(by_layer):
    members = [model(seed) for seed in range(3)]
    shares = np.array([[0.7, 0.1], [0.2, 0.3], [0.1, 0.6]]) if by_layer else np.array([[0.5], [0.2], [0.3]])
    target = {
        path: sum(
            shares[index, layer_of(path) if by_layer else 0] * member[path]
            for index, member in enumerate(members)
        )
        for path in SHAPES
    }
    learning = Learning(steps=400, learning_rate=0.05, by_layer=by_layer)
    found = learn_soup(loaders(*members), loss_and_gradient_of(target), layer_of, learning)
    np.testing.assert_allclose(found.weights, shares, atol=0.01)
    np.testing.assert_allclose(found.weights.sum(axis=0), 1.0)
    assert found.losses[-1] < 0.01 * found.losses[0]
    assert len(found.losses) == 401
    assert_same(found.leaves, target, atol=0.05)


def test_the_slope_of_a_weight_is_the_difference_of_losses():
    members, target = [model(seed) for seed in range(3)], model(9)
    evaluate = loss_and_gradient_of(target)
    first = learn_soup(loaders(*members), evaluate, layer_of, Learning(steps=1, learning_rate=1e-3))
    assert first.losses[1] < first.losses[0]
    assert first.losses[0] == pytest.approx(evaluate(uniform_soup(loaders(*members)))[0], rel=1e-5)


def test_a_barrier_is_how_far_the_loss_rises_above_the_line_between_the_ends():
    assert Barrier((1.0, 3.0, 3.0)).height == pytest.approx(1.0)
    assert Barrier((1.0, 1.0, 2.0)).height == 0.0
    first, second = model(0), model(1)
    middle = score_of(mix(first, second, 0.5))
    found = measure_barrier(first, second, lambda leaves: 5.0 + middle(leaves), places=3)
    assert found.losses[1] == pytest.approx(5.0)
    assert found.losses[0] == pytest.approx(found.losses[2], rel=1e-4)
    assert found.height == pytest.approx(5.0 - found.losses[0], rel=1e-4)


def test_distances_are_relative_and_by_layer():
    first = model(0)
    second = {path: leaf * (1.1 if path.startswith("stem") else 1.0) for path, leaf in first.items()}
    found = layer_distances(first, second, layer_of)
    assert found == {0: pytest.approx(0.1, rel=1e-5), 1: 0.0}
