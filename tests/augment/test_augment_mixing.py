import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment.mixing import Draws, cut_box, draw_mixing, groups, inside, mix
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.strengths import create_strengths

MODES = ["batch", "pair", "element"]
COUNT, HEIGHT, WIDTH = 8, 13, 22
INK = jnp.asarray(np.random.default_rng(0).uniform(size=(COUNT, HEIGHT, WIDTH, 3)), jnp.float32)
TARGETS = jnp.eye(COUNT)
ALL_COUNT = jnp.ones(COUNT, bool)
MANY = 4000


@functools.partial(jax.jit, static_argnums=2)
def jitted_mix(key, strengths, mode, mask):
    return mix(key, strengths, mode, INK, TARGETS, mask)


@jax.jit
def jitted_draws(key, strengths):
    return draw_mixing(key, strengths, "element", MANY, 24, 40)


def strengths_of(
    switch: float = 0.5, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, probability: float = 1.0
):
    """Both kinds traced, so that every test of a mode shares one compilation."""
    values = {
        "mixup_alpha": mixup_alpha,
        "cutmix_alpha": cutmix_alpha,
        "mix_switch_probability": switch,
        "mix_probability": probability,
    }
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def mixed(seed: int, switch: float, mode: str, mask=ALL_COUNT) -> tuple[np.ndarray, np.ndarray]:
    ink, targets = jitted_mix(jax.random.key(seed), strengths_of(switch), mode, mask)
    return np.asarray(ink), np.asarray(targets)


def draws(**options) -> Draws:
    return jax.tree.map(np.asarray, jitted_draws(jax.random.key(0), strengths_of(**options)))


@pytest.mark.parametrize("mode", MODES)
def test_targets_sum_to_one_and_name_the_image_and_its_partner_alone(mode):
    for seed in range(6):
        _, targets = mixed(seed, 0.5, mode)
        np.testing.assert_allclose(targets.sum(-1), 1.0, atol=1e-6)
        own = np.diagonal(targets)
        np.testing.assert_allclose(targets, np.diag(own) + np.fliplr(np.diag(1 - own)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_mixup_weighs_images_as_it_weighs_targets(mode):
    ink, targets = mixed(2, 0.0, mode)
    own = np.diagonal(targets).reshape(-1, 1, 1, 1)
    assert ((own > 0) & (own < 1)).all()
    np.testing.assert_allclose(ink, own * INK + (1 - own) * INK[::-1], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_cutmix_weighs_targets_by_exactly_the_area_that_it_pastes(mode):
    for seed in range(12):
        ink, targets = mixed(seed, 1.0, mode)
        kept, pasted = (ink == INK).all(-1), (ink == INK[::-1]).all(-1)
        assert (kept ^ pasted).all()
        pixels = np.diagonal(targets).astype(float) * HEIGHT * WIDTH
        np.testing.assert_array_equal(np.rint(pixels), kept.sum((1, 2)))
        np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-4)


def test_cutmix_pastes_one_box_from_the_same_place_of_the_partner():
    for seed in range(12):
        ink, _ = mixed(seed, 1.0, "element")
        for pasted in (ink == INK[::-1]).all(-1):
            rows, columns = np.asarray(pasted.any(1)), np.asarray(pasted.any(0))
            np.testing.assert_array_equal(pasted, np.outer(rows, columns))
            assert np.abs(np.diff(rows.astype(int))).sum() <= 2
            assert np.abs(np.diff(columns.astype(int))).sum() <= 2


def test_the_box_is_timms():
    reference = pytest.importorskip("timm.data.mixup").rand_bbox
    height, width, seeds = 23, 57, range(500)
    shares = np.random.default_rng(0).uniform(size=len(seeds)).astype(np.float32)
    centres, expected = [], []
    for seed, share in zip(seeds, shares, strict=True):
        np.random.seed(seed)
        expected.append(reference((3, height, width), share))
        np.random.seed(seed)
        centres.append((np.random.randint(0, height), np.random.randint(0, width)))
    rows, columns = jnp.asarray(centres).T
    box = cut_box(jnp.asarray(shares), rows, columns, height, width)
    np.testing.assert_array_equal(np.stack(box, -1), expected)


def test_a_box_has_the_images_own_proportions():
    box = cut_box(jnp.array([0.75]), jnp.array([20]), jnp.array([50]), 40, 100)
    assert tuple(int(edge[0]) for edge in box) == (10, 30, 25, 75)
    assert np.asarray(inside(box, 40, 100)).sum() == 1000


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_shares_come_from_the_beta_distribution_of_their_kind(alpha):
    drawn = draws(mixup_alpha=alpha, cutmix_alpha=3.0)
    assert stats.kstest(drawn.share[~drawn.cut], stats.beta(alpha, alpha).cdf).pvalue > 0.001
    assert stats.kstest(drawn.share[drawn.cut], stats.beta(3, 3).cdf).pvalue > 0.001


def test_kinds_switch_and_mixing_happens_as_often_as_asked():
    drawn = draws(mixup_alpha=1.0, probability=0.7, switch=0.2)
    assert stats.binomtest(int(drawn.cut.sum()), MANY, 0.2).pvalue > 0.001
    assert stats.binomtest(int((drawn.share < 1).sum()), MANY, 0.7).pvalue > 0.001
    assert stats.binomtest(int((drawn.share[drawn.cut] < 1).sum()), int(drawn.cut.sum()), 0.7).pvalue > 0.001


def test_boxes_are_centred_uniformly_over_the_whole_image():
    drawn = draws(switch=1.0)
    for centre, size in ((drawn.row, 24), (drawn.column, 40)):
        assert stats.chisquare(np.bincount(centre, minlength=size)).pvalue > 0.001
        assert len(np.unique(centre)) == size
    assert stats.pearsonr(drawn.row, drawn.column).pvalue > 0.001


@pytest.mark.parametrize(("name", "cut"), [("mixup_alpha", False), ("cutmix_alpha", True)])
def test_one_kind_alone_is_the_only_kind(name, cut):
    strengths = create_strengths(Augmentation(**{name: 0.4}))
    drawn = jax.jit(lambda key: draw_mixing(key, strengths, "element", 1000, 24, 40))(jax.random.key(0))
    assert (np.asarray(drawn.cut) == cut).all()
    assert stats.kstest(drawn.share, stats.beta(0.4, 0.4).cdf).pvalue > 0.001


def test_a_batch_shares_its_draws_pairs_share_theirs_and_elements_none():
    shares = {mode: np.diagonal(mixed(0, 0.0, mode)[1]) for mode in MODES}
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


@pytest.mark.parametrize("switch", [0.0, 1.0])
def test_rows_that_do_not_count_are_mixed_into_no_other(switch):
    ink, targets = mixed(0, switch, "batch", ALL_COUNT.at[6].set(False))
    for row in (1, 6):
        np.testing.assert_array_equal(ink[row], INK[row])
        np.testing.assert_array_equal(targets[row], TARGETS[row])
    assert (np.delete(np.diagonal(targets), [1, 6]) < 1).all()
