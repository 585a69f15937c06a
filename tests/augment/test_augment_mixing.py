import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment.mixing import Draws, cut_box, draw_mixing, groups, inside, mix, mixing_due
from sketch_jax.augment.mixing_options import HalfImage, Mixing, Region, SizedBox
from sketch_jax.augment.mixing_strengths import MixingStrengths, create_mixing

MODES = ["batch", "pair", "element"]
COUNT, HEIGHT, WIDTH = 8, 13, 22
INK = jnp.asarray(np.random.default_rng(0).uniform(size=(COUNT, HEIGHT, WIDTH, 3)), jnp.float32)
LABELS = jnp.arange(COUNT)
TARGETS = jnp.eye(COUNT)
ALL_COUNT = jnp.ones(COUNT, bool)
MANY = 4000
LAYOUT, _ = create_mixing([Mixing()], COUNT, 10)
"""Both kinds: every test shares one compilation."""


@jax.jit
def jitted_mix(key, strengths, mask, chosen):
    return mix(key, strengths, LAYOUT, INK, LABELS, TARGETS, mask, chosen)


@jax.jit
def jitted_draws(key, strengths):
    return draw_mixing(key, strengths, LAYOUT, MANY)


def strengths_of(**options) -> MixingStrengths:
    _, stages = create_mixing([Mixing(**options)], COUNT, 10)
    return jax.tree.map(lambda values: values[0], stages)


def mixed(seed: int, mask=ALL_COUNT, chosen=ALL_COUNT, **options) -> tuple[np.ndarray, np.ndarray]:
    ink, targets = jitted_mix(jax.random.key(seed), strengths_of(**options), mask, chosen)
    return np.asarray(ink), np.asarray(targets)


def draws(**options) -> Draws:
    return jax.tree.map(np.asarray, jitted_draws(jax.random.key(0), strengths_of(mode="element", **options)))


def pasted(ink: np.ndarray) -> np.ndarray:
    """Which pixels are the partner's; every pixel must be the image's or the partner's."""
    kept, others = (ink == INK).all(-1), (ink == INK[::-1]).all(-1)
    assert (kept ^ others).all()
    return np.asarray(others)


def assert_box(mask: np.ndarray) -> None:
    rows, columns = mask.any(1), mask.any(0)
    np.testing.assert_array_equal(mask, np.outer(rows, columns))
    assert np.abs(np.diff(rows.astype(int))).sum() <= 2
    assert np.abs(np.diff(columns.astype(int))).sum() <= 2


@pytest.mark.parametrize("mode", MODES)
def test_targets_sum_to_one_and_name_the_image_and_its_partner_alone(mode):
    for seed in range(6):
        _, targets = mixed(seed, mode=mode)
        np.testing.assert_allclose(targets.sum(-1), 1.0, atol=1e-6)
        own = np.diagonal(targets)
        np.testing.assert_allclose(targets, np.diag(own) + np.fliplr(np.diag(1 - own)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_mixup_weighs_images_as_it_weighs_targets(mode):
    ink, targets = mixed(2, cutmix=None, mode=mode)
    own = np.diagonal(targets).reshape(-1, 1, 1, 1)
    assert ((own > 0) & (own < 1)).all()
    np.testing.assert_allclose(ink, own * INK + (1 - own) * INK[::-1], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        *({"mode": mode} for mode in MODES),
        {"cutmix": SizedBox(least=0.2, most=0.8), "mode": "element"},
        {"cutmix": HalfImage(), "mode": "element"},
        {"cutmix": Region(top=0.2, bottom=0.55, left=0.1, right=0.9)},
    ],
    ids=[*MODES, "sized", "half", "region"],
)
def test_cutmix_pastes_one_box_and_weighs_targets_by_exactly_its_area(options):
    for seed in range(12):
        ink, targets = mixed(seed, mixup_alpha=0.0, **options)
        others = pasted(ink)
        for box in others:
            assert_box(box)
        pixels = (1 - np.diagonal(targets).astype(float)) * HEIGHT * WIDTH
        np.testing.assert_array_equal(np.rint(pixels), others.sum((1, 2)))
        np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-4)


def test_a_region_is_pasted_at_its_place_in_every_image():
    ink, targets = mixed(0, mixup_alpha=0.0, cutmix=Region(top=0.25, bottom=0.5, left=0.5, right=1.0))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:6, 11:] = True  # a quarter and half of 13 rows are 3.25 and 6.5: half goes to the even row
    np.testing.assert_array_equal(pasted(ink), np.broadcast_to(expected, (COUNT, HEIGHT, WIDTH)))
    np.testing.assert_allclose(np.diagonal(targets), 1 - 33 / 286, atol=1e-6)


@pytest.mark.parametrize(("split", "count"), [("any", 4), ("left_right", 2), ("top_bottom", 2)])
def test_halves_are_drawn_alike(split, count):
    halves = [
        pasted(mixed(seed, mixup_alpha=0.0, cutmix=HalfImage(split=split), mode="element")[0])
        for seed in range(25)
    ]
    found, times = np.unique(np.concatenate(halves).reshape(-1, HEIGHT * WIDTH), axis=0, return_counts=True)
    assert len(found) == count
    assert stats.chisquare(times).pvalue > 0.001
    areas = {11 * 13} if split == "left_right" else {6 * 22, 7 * 22}
    assert {int(half.sum()) for half in found} <= areas | {11 * 13}


def test_a_box_has_the_images_own_proportions():
    box = cut_box(jnp.array([0.75]), jnp.array([20]), jnp.array([50]), 40, 100)
    assert tuple(int(edge[0]) for edge in box) == (10, 30, 25, 75)
    assert np.asarray(inside(box, 40, 100)).sum() == 1000


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_shares_come_from_the_beta_distribution_of_their_kind(alpha):
    drawn = draws(mixup_alpha=alpha)
    assert stats.kstest(drawn.share[~drawn.cut], stats.beta(alpha, alpha).cdf).pvalue > 0.001
    assert stats.kstest(drawn.share[drawn.cut], stats.beta(1, 1).cdf).pvalue > 0.001


def test_kinds_switch_and_mixing_happens_as_often_as_asked():
    drawn = draws(probability=0.7, switch_probability=0.2)
    assert stats.binomtest(int(drawn.cut.sum()), MANY, 0.2).pvalue > 0.001
    assert stats.binomtest(int(drawn.happens.sum()), MANY, 0.7).pvalue > 0.001
    together = int((drawn.happens & drawn.cut).sum())
    assert stats.binomtest(together, int(drawn.cut.sum()), 0.7).pvalue > 0.001


def test_places_are_uniform_and_independent():
    drawn = draws()
    places = [drawn.row, drawn.column, drawn.height, drawn.width]
    for place in places:
        assert stats.kstest(place, stats.uniform.cdf).pvalue > 0.001
    correlations = np.corrcoef(places)[~np.eye(4, dtype=bool)]
    assert np.abs(correlations).max() < 4 / np.sqrt(MANY)


@pytest.mark.parametrize(("options", "cut"), [({"cutmix": None}, False), ({"mixup_alpha": 0.0}, True)])
def test_one_kind_alone_is_the_only_kind(options, cut):
    assert (draws(**options).cut == cut).all()


def test_a_batch_shares_its_draws_pairs_share_theirs_and_elements_none():
    shares = {mode: np.diagonal(mixed(0, cutmix=None, mode=mode)[1]) for mode in MODES}
    assert len(set(shares["batch"])) == 1
    assert len(set(shares["pair"])) == COUNT // 2
    np.testing.assert_array_equal(shares["pair"], shares["pair"][::-1])
    assert len(set(shares["element"])) == COUNT


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_draws_are_grouped_in_batches_of_any_size(count):
    assert not groups("batch", count).any()
    np.testing.assert_array_equal(groups("pair", count), groups("pair", count)[::-1])
    assert set(groups("pair", count)) == set(range((count + 1) // 2))
    np.testing.assert_array_equal(groups("element", count), range(count))


@pytest.mark.parametrize("options", [{"cutmix": None}, {"mixup_alpha": 0.0}], ids=["mixup", "cutmix"])
def test_rows_that_do_not_count_are_mixed_into_no_other(options):
    ink, targets = mixed(0, mask=ALL_COUNT.at[6].set(False), **options)
    for row in (1, 6):
        np.testing.assert_array_equal(ink[row], INK[row])
        np.testing.assert_array_equal(targets[row], TARGETS[row])
    assert (np.delete(np.diagonal(targets), [1, 6]) < 1).all()


def test_a_row_that_is_not_chosen_stays_as_it_is_but_goes_into_its_partner():
    ink, targets = mixed(0, chosen=ALL_COUNT.at[6].set(False), cutmix=None)
    np.testing.assert_array_equal(ink[6], INK[6])
    np.testing.assert_array_equal(targets[6], TARGETS[6])
    assert 0 < targets[1, 6] < 1


def test_every_third_batch_is_mixed_and_none_from_the_last_epoch_on():
    strengths = strengths_of(every_batches=3, until_epoch=1.5, probability=0.25)
    probabilities = [float(mixing_due(strengths, step).probability) for step in range(20)]
    assert probabilities == [0.25 if step in (2, 5, 8, 11, 14) else 0.0 for step in range(20)]


def test_what_is_off_is_not_traced():
    def operations(**options) -> str:
        layout, stages = create_mixing([Mixing(**options)], COUNT, 10)
        strengths = jax.tree.map(lambda values: values[0], stages)
        program = functools.partial(mix, layout=layout, ink=INK, labels=LABELS, targets=TARGETS)
        return str(
            jax.make_jaxpr(lambda key: program(key, strengths, mask=ALL_COUNT, chosen=ALL_COUNT))(
                jax.random.key(0)
            )
        )

    assert f"bool[{COUNT},{HEIGHT},{WIDTH}]" not in operations(cutmix=None)
    assert f"bool[{COUNT},{HEIGHT},{WIDTH}]" in operations()
    assert f"bool[{COUNT},{COUNT}]" not in operations()
