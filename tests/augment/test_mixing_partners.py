import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment.mixing import Partners, choose_partners, mix
from sketch_jax.augment.mixing_options import HalfImage, Mixing, OfClasses, Opposite, SameLabel
from sketch_jax.augment.mixing_strengths import create_mixing
from sketch_jax.class_choice import NamedClasses, chosen_classes
from sketch_jax.errors import InputError

CLASSES = 6
LABELS = np.array([0, 0, 0, 1, 1, 2, 5, 5])
COUNT = len(LABELS)
ALL_COUNT = np.ones(COUNT, bool)


def choose(choice, option):
    """Of classes that are named by their numbers; of class 2 there are few images."""
    counts = np.array([3, 2, 1, 2, 2, 2])
    return chosen_classes(choice, counts, [str(number) for number in range(CLASSES)], option=option)


def partners(partner, seed: int = 0, mask=ALL_COUNT, labels=LABELS) -> Partners:
    layout, stages = create_mixing([Mixing(partner=partner)], CLASSES, 10, choose)
    strengths = jax.tree.map(lambda values: values[0], stages)
    key = jax.random.key(seed)
    chosen = choose_partners(key, strengths, layout, jnp.asarray(labels), jnp.asarray(mask))
    return jax.tree.map(np.asarray, chosen)


def drawn(partner, **options) -> np.ndarray:
    """How often each image (a row) gets each other one, in 200 batches."""
    times = np.zeros((COUNT, COUNT), int)
    for seed in range(200):
        chosen = partners(partner, seed, **options)
        times[np.flatnonzero(chosen.found), chosen.rows[chosen.found]] += 1
    return times


def test_the_opposite_image_is_the_partner():
    chosen = partners(Opposite(), mask=np.arange(COUNT) != 7)
    np.testing.assert_array_equal(chosen.rows, np.arange(COUNT)[::-1])
    np.testing.assert_array_equal(chosen.found, np.arange(COUNT) != 0)


def test_partners_of_the_same_label_are_drawn_alike_and_lonely_images_have_none():
    times = drawn(SameLabel())
    same = (LABELS[:, None] == LABELS) & ~np.eye(COUNT, dtype=bool)
    np.testing.assert_array_equal(times > 0, same)
    np.testing.assert_array_equal(times.sum(1), np.where(LABELS == 2, 0, 200))
    for row, other in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        assert stats.binomtest(int(times[row, other[0]]), 200, 0.5).pvalue > 0.001


def test_partners_of_given_classes_are_of_these_and_never_the_image_itself():
    times = drawn(OfClasses(choice=NamedClasses(classes=("2", "5"))))
    allowed = np.isin(LABELS, (2, 5)) & ~np.eye(COUNT, dtype=bool)
    np.testing.assert_array_equal(times > 0, allowed)
    assert stats.chisquare(times[0, 5:]).pvalue > 0.001


def test_partners_may_be_of_any_other_class_instead():
    times = drawn(OfClasses(choice=NamedClasses(classes=("0", "1")), excluded=True))
    np.testing.assert_array_equal(times > 0, np.isin(LABELS, (2, 5)) & ~np.eye(COUNT, dtype=bool))


def test_without_an_allowed_image_in_the_batch_none_has_a_partner():
    assert not partners(OfClasses(choice=NamedClasses(classes=("3", "4")))).found.any()


@pytest.mark.parametrize("partner", [SameLabel(), OfClasses(choice=NamedClasses(classes=("5", "0")))])
def test_rows_that_do_not_count_and_unknown_labels_are_nobodys_partner(partner):
    labels = LABELS.copy()
    labels[1] = -1
    mask = ALL_COUNT.copy()
    mask[[1, 6]] = False
    times = drawn(partner, mask=mask, labels=labels)
    assert not times[:, [1, 6]].any()


def test_the_chosen_partner_is_what_is_mixed_in_image_and_target_alike():
    mixing = Mixing(
        mixup_alpha=0.0, cutmix=HalfImage(), partner=OfClasses(choice=NamedClasses(classes=("2",)))
    )
    layout, stages = create_mixing([mixing], CLASSES, 10, choose)
    ink = jnp.broadcast_to(jnp.arange(COUNT, dtype=jnp.float32).reshape(-1, 1, 1, 1), (COUNT, 6, 4, 3))
    strengths = jax.tree.map(lambda values: values[0], stages)
    every = jnp.ones(COUNT, bool)
    targets = jax.nn.one_hot(LABELS, CLASSES)
    mixed, weights = mix(
        jax.random.key(0), strengths, layout, ink, jnp.asarray(LABELS), targets, every, every
    )
    for row in range(COUNT):
        if row == 5:
            np.testing.assert_array_equal(mixed[row], ink[row])
            np.testing.assert_array_equal(weights[row], targets[row])
        else:
            assert set(np.unique(mixed[row])) == {float(row), 5.0}
            np.testing.assert_allclose(weights[row], 0.5 * targets[row] + 0.5 * targets[5], atol=1e-7)


def test_by_default_the_partners_are_of_the_small_classes():
    assert set(np.flatnonzero(drawn(OfClasses()).any(0))) == {5}


def test_a_class_that_does_not_exist_is_refused():
    partner = OfClasses(choice=NamedClasses(classes=("2", "18")))
    with pytest.raises(InputError) as refusal:
        create_mixing([Mixing(partner=partner)], CLASSES, 10, choose)
    first, second, _ = str(refusal.value).splitlines()
    assert first == "--augmentation.mixing.partner.choice.classes: must be names of the training set (1):"
    assert second == "  '18' is not; did you mean '1'?"
