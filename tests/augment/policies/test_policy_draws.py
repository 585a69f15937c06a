"""How often operations are drawn, in what order, and how strong, beside timm's and torchvision's numbers."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from sketch_jax.augment.policies.draws import Drawn, draw_policy
from sketch_jax.augment.policies.levels import OPERATIONS
from sketch_jax.augment.policies.options import (
    AugMix,
    AutoAugment,
    RandAugment,
    ThreeAugment,
    TrivialAugmentWide,
)
from sketch_jax.augment.policies.repertoire import create_repertoire, table_of

COUNT = 6000


@functools.cache
def drawn(policy, stages=1, stage=0) -> Drawn:
    layout, repertoire = create_repertoire([policy] if stages == 1 else [None, policy, AugMix(width=2)])
    one = jax.tree.map(lambda values: values[stage], repertoire)
    draw = jax.jit(draw_policy, static_argnums=(2, 3))
    return jax.tree.map(np.asarray, draw(jax.random.key(0), one, layout, COUNT))


def frequencies(operations: np.ndarray) -> dict[str, int]:
    places, times = np.unique(operations, return_counts=True)
    return {OPERATIONS[place]: int(count) for place, count in zip(places, times, strict=True)}


def assert_frequencies(operations: np.ndarray, expected: dict[str, float]) -> None:
    """The expected shares sum to 1 and name all that happens."""
    found = frequencies(operations)
    assert set(found) == {name for name, share in expected.items() if share}
    shares = np.array([expected[name] for name in found])
    assert shares.sum() == pytest.approx(1.0)
    assert stats.chisquare(list(found.values()), shares * operations.size).pvalue > 0.001


def arguments(result: Drawn, name: str) -> np.ndarray:
    return result.arguments[result.operations == OPERATIONS.index(name)]


def test_rand_augment_draws_all_fifteen_alike_half_of_them_without_effect():
    result = drawn(RandAugment())
    assert result.operations.shape == (COUNT, 1, 2)
    names = [row[0].rule.operation for row in table_of(RandAugment()).rows]
    assert len(set(names)) == 15
    assert_frequencies(result.operations, {"identity": 0.5} | dict.fromkeys(names, 0.5 / 15))
    first, second = result.operations[:, 0].T
    table = stats.contingency.crosstab(first, second).count
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_rand_augments_levels_are_normal_about_the_magnitude_and_held_at_ten():
    result = drawn(RandAugment(magnitude=9.5, magnitude_std=1.0, probability=1.0))
    levels = np.abs(arguments(result, "rotate")) / 3.0
    held = np.isclose(levels, 10.0)
    assert stats.binomtest(int(held.sum()), held.size, stats.norm.sf(0.5)).pvalue > 0.001
    below = stats.truncnorm(-9.5, 0.5, loc=9.5, scale=1.0)
    assert stats.kstest(levels[~held], below.cdf).pvalue > 0.001
    signs = arguments(result, "rotate") > 0
    assert stats.binomtest(int(signs.sum()), signs.size, 0.5).pvalue > 0.001


def test_levels_without_a_deviation_are_all_the_magnitude_and_with_none_uniform():
    fixed = drawn(RandAugment(magnitude=5.0, magnitude_std=0.0, probability=1.0))
    np.testing.assert_allclose(np.abs(arguments(fixed, "shear_x")), 0.15, rtol=1e-6)
    uniform = drawn(RandAugment(magnitude=5.0, magnitude_std=None, probability=1.0))
    assert stats.kstest(np.abs(arguments(uniform, "shear_x")), stats.uniform(0, 0.15).cdf).pvalue > 0.001


def test_weighted_operations_are_drawn_by_their_weights_and_never_twice():
    result = drawn(RandAugment(operation_set="3aw", operations=3, probability=1.0))
    table = table_of(RandAugment(operation_set="3aw"))
    weights = np.array(table.weights) / sum(table.weights)
    names = [row[0].rule.operation for row in table.rows]
    # Grey and the stronger or weaker colour are one operation with different arguments.
    shares = {name: sum(w for n, w in zip(names, weights, strict=True) if n == name) for name in names}
    assert_frequencies(result.operations[:, 0, 0], shares)
    operations = result.operations[:, 0]
    twice = [(operations[:, i] == operations[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    greys = operations == OPERATIONS.index("color")
    assert not any((same & ~greys[:, i]).any() for same, i in zip(twice, (0, 0, 1), strict=True))


def test_weighted_draws_without_repetition_are_numpys():
    result = drawn(RandAugment(operation_set="weights", operations=2, probability=1.0))
    table = table_of(RandAugment(operation_set="weights"))
    names = [row[0].rule.operation for row in table.rows]
    weights = np.array(table.weights) / sum(table.weights)
    # The second draw is by the weights of what is left: P(j second) = sum over i of w_i w_j / (1 - w_i).
    second = [
        sum(weights[i] * weights[j] / (1 - weights[i]) for i in range(len(names)) if i != j)
        for j in range(len(names))
    ]
    assert_frequencies(result.operations[:, 0, 1], dict(zip(names, second, strict=True)))


@pytest.mark.parametrize("variant", ["original", "v0"])
def test_auto_augment_draws_its_pairs_alike_and_each_operation_by_its_probability(variant):
    result = drawn(AutoAugment(variant=variant))
    rows = table_of(AutoAugment(variant=variant)).rows
    for place in (0, 1):
        expected = {"identity": sum(1 - row[place].probability for row in rows) / 25}
        for row in rows:
            entry = row[place]
            name = entry.rule.operation
            expected[name] = expected.get(name, 0.0) + entry.probability / 25
        assert_frequencies(result.operations[:, 0, place], expected)


def test_the_two_operations_of_auto_augment_are_of_one_pair():
    result = drawn(AutoAugment(variant="original"))
    pairs = {
        (first.rule.operation, second.rule.operation)
        for first, second in table_of(AutoAugment(variant="original")).rows
    }
    both = result.operations[:, 0][(result.operations[:, 0] != 0).all(-1)]
    assert {(OPERATIONS[first], OPERATIONS[second]) for first, second in both} <= pairs


def test_trivial_augment_draws_fourteen_operations_alike_each_at_any_of_31_strengths():
    result = drawn(TrivialAugmentWide())
    assert result.operations.shape == (COUNT, 1, 1)
    names = [row[0].rule.operation for row in table_of(TrivialAugmentWide()).rows]
    assert_frequencies(result.operations, dict.fromkeys(names, 1 / 14))
    angles = np.abs(arguments(result, "rotate"))
    bins, times = np.unique(np.rint(angles / 4.5).astype(int), return_counts=True)
    np.testing.assert_array_equal(bins, np.arange(31))
    np.testing.assert_allclose(angles, 4.5 * np.rint(angles / 4.5), atol=1e-4)
    assert stats.chisquare(times).pvalue > 0.001


def test_aug_mix_draws_chains_of_one_to_three_operations():
    result = drawn(AugMix())
    assert result.operations.shape == (COUNT, 3, 3)
    depths = (result.operations != 0).sum(-1)
    assert stats.chisquare(np.bincount(depths.ravel(), minlength=4)[1:]).pvalue > 0.001
    done = result.operations != 0
    assert (done[..., :-1] >= done[..., 1:]).all()
    names = [row[0].rule.operation for row in table_of(AugMix()).rows]
    assert_frequencies(result.operations[done], dict.fromkeys(names, 1 / 13))


@pytest.mark.parametrize(("width", "alpha"), [(3, 1.0), (4, 0.5)])
def test_aug_mix_shares_are_dirichlets_times_betas(width, alpha):
    result = drawn(AugMix(width=width, alpha=alpha))
    whole = result.shares.sum(-1)
    assert stats.kstest(whole, stats.beta(alpha, alpha).cdf).pvalue > 0.001
    parts = result.shares / whole[:, None]
    for chain in range(width):
        marginal = stats.beta(alpha, alpha * (width - 1))
        assert stats.kstest(parts[:, chain], marginal.cdf).pvalue > 0.001


def test_aug_mix_levels_are_uniform_up_to_the_severity():
    angles = np.abs(arguments(drawn(AugMix(severity=3.0)), "rotate"))
    assert stats.kstest(angles, stats.uniform(0, 9.0).cdf).pvalue > 0.001


def test_three_augment_draws_one_of_three_then_a_jitter_in_any_order():
    result = drawn(ThreeAugment())
    operations = result.operations[:, 0]
    names = np.array(OPERATIONS)[operations]
    assert_frequencies(operations[:, 0], dict.fromkeys(("color", "solarize", "blur"), 1 / 3))
    orders, times = np.unique(names[:, 1:], axis=0, return_counts=True)
    assert len(orders) == 6
    assert {tuple(sorted(order)) for order in orders} == {("brightness", "color", "contrast")}
    assert stats.chisquare(times).pvalue > 0.001
    grey = result.arguments[:, 0, 0][operations[:, 0] == OPERATIONS.index("color")]
    np.testing.assert_array_equal(grey, 0.0)
    np.testing.assert_array_equal(arguments(result, "solarize"), 128.0)
    assert stats.kstest(arguments(result, "blur"), stats.uniform(0.1, 1.9).cdf).pvalue > 0.001
    for name in ("brightness", "contrast"):
        assert stats.kstest(arguments(result, name), stats.uniform(0.7, 0.6).cdf).pvalue > 0.001


def test_three_augment_without_a_jitter_is_one_operation():
    assert drawn(ThreeAugment(color_jitter=0.0)).operations.shape == (COUNT, 1, 1)


def test_policies_of_stages_draw_what_they_draw_alone():
    alone, staged = drawn(RandAugment()), drawn(RandAugment(), stages=3, stage=1)
    assert staged.operations.shape == (COUNT, 2, 3)
    first = staged.operations[:, 0]
    names = [row[0].rule.operation for row in table_of(RandAugment()).rows]
    assert_frequencies(first[:, :2], {"identity": 0.5} | dict.fromkeys(names, 0.5 / 15))
    assert not first[:, 2].any()
    np.testing.assert_array_equal(staged.shares, np.broadcast_to([1.0, 0.0], (COUNT, 2)))
    np.testing.assert_array_equal(alone.shares, 1.0)
    nothing = drawn(RandAugment(), stages=3, stage=0)
    assert not nothing.operations.any()
    np.testing.assert_array_equal(nothing.shares, np.broadcast_to([1.0, 0.0], (COUNT, 2)))
    mix = drawn(RandAugment(), stages=3, stage=2)
    assert stats.kstest(mix.shares.sum(-1), stats.uniform.cdf).pvalue > 0.001
