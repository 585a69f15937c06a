import numpy as np
import pytest

from sketch_jax.data.csv_table import Csv, load_csv
from sketch_jax.data.group_folds import GroupContent, place_group
from sketch_jax.data.records import Examples
from sketch_jax.data.splits import (
    HoldOut,
    KFold,
    create_folds,
    grouped_folds,
    held_out_fold,
    keep_classes_trained,
    split_rows,
    stratified_folds,
    stratified_grouped_folds,
    stratified_grouped_hold_out,
    stratified_hold_out,
)
from sketch_jax.errors import InputError


def unread(row):
    raise AssertionError(f"a split must not read images, but row {row} was read")


def make_examples(labels, groups=None, ids=None):
    labels = np.asarray(labels, np.int32)
    return Examples(
        ids=tuple(ids or (f"image{row:05d}" for row in range(len(labels)))),
        labels=labels,
        class_names=tuple(f"class{label}" for label in range(labels.max() + 1)),
        groups=None if groups is None else tuple(map(str, groups)),
        read=unread,
    )


def reordered(examples, order):
    return make_examples(
        examples.labels[order],
        None if examples.groups is None else [examples.groups[row] for row in order],
        [examples.ids[row] for row in order],
    )


def random_labels(rng, count, classes):
    """Labels of uneven classes, each with at least two rows."""
    rare = np.repeat(np.arange(classes), 2)
    shares = rng.dirichlet(np.ones(classes))
    return rng.permutation(np.concatenate([rare, rng.choice(classes, count - len(rare), p=shares)]))


def unevenness(folds, labels, count):
    """Sum over classes and folds of the squared difference between a class's share in a fold and 1/count."""
    held = np.zeros((count, labels.max() + 2))
    np.add.at(held, (folds, labels), 1.0)
    np.add.at(held, (folds, np.full(len(folds), labels.max() + 1)), 1.0)
    return np.sum((held / held.sum(0) - 1.0 / count) ** 2)


def reference_folds(splitter, labels, groups=None):
    folds = np.empty(len(labels), int)
    for fold, (_, rows) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        folds[rows] = fold
    return folds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_stratified_folds_differ_by_at_most_one_row_in_all_and_in_every_class(seed, count):
    labels = random_labels(np.random.default_rng(seed), 317, 13)
    folds = stratified_folds(labels, count, seed)
    assert np.ptp(np.bincount(folds, minlength=count)) <= 1
    for label in range(13):
        assert np.ptp(np.bincount(folds[labels == label], minlength=count)) <= 1


@pytest.mark.parametrize("count", [2, 5])
def test_stratified_folds_are_as_even_as_those_of_scikit_learn(count):
    model_selection = pytest.importorskip("sklearn.model_selection")
    labels = np.sort(random_labels(np.random.default_rng(0), 400, 9))[::-1]
    labels = np.concatenate([labels, np.repeat(np.arange(9), count)])
    theirs = reference_folds(model_selection.StratifiedKFold(count, shuffle=True, random_state=0), labels)
    ours = stratified_folds(labels, count, 0)
    assert unevenness(ours, labels, count) <= unevenness(theirs, labels, count) + 1e-12


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.9])
def test_a_stratified_hold_out_takes_its_share_of_every_class(fraction):
    labels = random_labels(np.random.default_rng(1), 311, 12)
    held = stratified_hold_out(labels, fraction, seed=3) == 0
    assert held.sum() == np.floor(311 * fraction + 0.5)
    for label in range(12):
        of_class = held[labels == label]
        assert abs(of_class.sum() - fraction * len(of_class)) < 1.0


@pytest.mark.parametrize("seed", range(3))
def test_groups_never_cross_folds(seed):
    rng = np.random.default_rng(seed)
    labels, groups = random_labels(rng, 300, 7), rng.integers(0, 41, 300)
    for folds in (
        grouped_folds(groups, 5, seed),
        stratified_grouped_folds(labels, groups, 5, seed),
        stratified_grouped_hold_out(labels, groups, 0.2, seed),
    ):
        for group in np.unique(groups):
            assert len(np.unique(folds[groups == group])) == 1


@pytest.mark.parametrize("count", [3, 5, 8])
def test_grouped_folds_are_as_even_as_those_of_scikit_learn(refgame, count):
    model_selection = pytest.importorskip("sklearn.model_selection")
    groups = np.array(load_csv(Csv(root=str(refgame), group_column="drawer")).train.groups)
    theirs = reference_folds(model_selection.GroupKFold(count), np.zeros(len(groups), int), groups)
    ours = grouped_folds(groups, count, 0)
    assert np.ptp(np.bincount(ours)) <= np.ptp(np.bincount(theirs))


@pytest.mark.parametrize("count", [3, 5, 8])
def test_stratified_grouped_folds_of_real_people_are_more_even_than_those_of_scikit_learn(refgame, count):
    model_selection = pytest.importorskip("sklearn.model_selection")
    train = load_csv(Csv(root=str(refgame), group_column="drawer")).train
    groups = np.array(train.groups)
    for seed in range(3):
        splitter = model_selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        theirs = unevenness(reference_folds(splitter, train.labels, groups), train.labels, count)
        ours = unevenness(stratified_grouped_folds(train.labels, groups, count, seed), train.labels, count)
        assert ours < theirs


@pytest.mark.parametrize(("rows", "classes", "people"), [(2000, 18, 300), (300, 4, 40), (10000, 50, 3000)])
def test_stratified_grouped_folds_of_random_groups_are_as_even_as_those_of_scikit_learn(
    rows, classes, people
):
    model_selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(rows)
    labels, groups = rng.integers(0, classes, rows), rng.integers(0, people, rows)
    splitter = model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=0)
    theirs = unevenness(reference_folds(splitter, labels, groups), labels, 5)
    assert unevenness(stratified_grouped_folds(labels, groups, 5, 0), labels, 5) <= theirs


def test_groups_that_can_be_divided_evenly_are():
    groups = np.repeat(np.arange(20), 6)
    labels = np.tile([0, 0, 1, 1, 2, 2], 20)
    folds = stratified_grouped_folds(labels, groups, 5, seed=0)
    assert np.bincount(folds).tolist() == [24] * 5
    assert unevenness(folds, labels, 5) < 1e-20


def test_a_grouped_hold_out_is_near_its_fraction(refgame):
    train = load_csv(Csv(root=str(refgame), group_column="drawer")).train
    for seed in range(3):
        held = stratified_grouped_hold_out(train.labels, np.array(train.groups), 0.2, seed) == 0
        assert abs(held.mean() - 0.2) < 0.01
        shares = np.bincount(train.labels[held], minlength=32) / np.bincount(train.labels)
        assert np.abs(shares - 0.2).max() < 0.05


SPLITS = [HoldOut(fraction=0.2), HoldOut(fraction=0.2, stratified=False), KFold(), KFold(stratified=False)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("people", [None, 30])
def test_folds_depend_on_the_ids_and_not_on_their_order(split, people):
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 200, 6)
    examples = make_examples(labels, None if people is None else rng.integers(0, people, 200))
    order = rng.permutation(200)
    folds = create_folds(split, examples, 7)
    np.testing.assert_array_equal(create_folds(split, reordered(examples, order), 7), folds[order])
    np.testing.assert_array_equal(create_folds(split, examples, 7), folds)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("people", [None, 30])
def test_another_seed_gives_another_split_of_the_same_sizes(split, people):
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 200, 6)
    examples = make_examples(labels, None if people is None else rng.integers(0, people, 200))
    first, second = create_folds(split, examples, 7), create_folds(split, examples, 8)
    assert (first != second).any()
    if people is None:
        np.testing.assert_array_equal(np.bincount(first + 1), np.bincount(second + 1))


def test_the_seed_of_the_split_comes_before_that_of_the_run():
    examples = make_examples(np.arange(100) % 4)
    fixed = KFold(seed=5)
    np.testing.assert_array_equal(create_folds(fixed, examples, 1), create_folds(fixed, examples, 2))
    np.testing.assert_array_equal(create_folds(fixed, examples, 1), create_folds(KFold(), examples, 5))


@pytest.mark.parametrize("split", [*SPLITS, HoldOut(fraction=0.9), KFold(count=2)])
@pytest.mark.parametrize("people", [None, 12])
def test_every_class_keeps_rows_to_train_on_whichever_fold_is_held_out(split, people):
    rng = np.random.default_rng(2)
    labels = np.concatenate([random_labels(rng, 90, 12), np.arange(12, 20)])
    groups = None if people is None else rng.integers(0, people, len(labels))
    folds = create_folds(split, make_examples(labels, groups), 0)
    for fold in range(folds.max() + 1):
        trained, held_out = split_rows(folds, fold)
        assert set(labels[trained]) == set(range(20))
        assert sorted([*trained, *held_out]) == list(range(len(labels)))
    if groups is not None:
        for group in np.unique(groups):
            assert len(np.unique(folds[groups == group])) == 1


def test_a_class_in_a_single_group_is_always_trained_on():
    groups = np.array(["a", "a", "b", "b", "c", "c"])
    folds = keep_classes_trained(np.array([0, 0, 1, 1, 0, 0]), np.array([0, 9, 0, 0, 0, 0]), groups)
    assert folds.tolist() == [-1, -1, 1, 1, 0, 0]


def test_a_class_in_one_fold_gives_up_its_smallest_group():
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    folds = keep_classes_trained(np.array([0, 0, 0, 0, 0, 1]), np.array([9, 0, 0, 9, 0, 0]), groups)
    assert folds.tolist() == [0, 0, 0, -1, -1, 1]


def test_a_fraction_of_zero_trains_on_everything():
    for groups in (None, np.arange(30) // 3):
        folds = create_folds(HoldOut(fraction=0.0), make_examples(np.arange(30) % 3, groups), 0)
        trained, held_out = split_rows(folds, held_out_fold(HoldOut(fraction=0.0)))
        assert (len(trained), len(held_out)) == (30, 0)


def test_the_held_out_fold_is_the_one_asked_for():
    assert held_out_fold(HoldOut()) == 0
    assert held_out_fold(KFold(fold=3)) == 3


@pytest.mark.parametrize(
    ("split", "text"),
    [
        (HoldOut(fraction=1.0), "--split.fraction 1.0: must be from 0 to below 1"),
        (HoldOut(fraction=-0.1), "--split.fraction -0.1: must be from 0 to below 1"),
        (HoldOut(fraction=float("nan")), "--split.fraction nan: must be from 0 to below 1"),
        (HoldOut(seed=-1), "--split.seed -1: must be at least 0"),
        (
            KFold(count=1),
            "--split.count 1: must be at least 2; for one part only, use a hold-out split",
        ),
        (KFold(fold=5), "--split.fold 5: must be from 0 to 4"),
        (KFold(fold=-1), "--split.fold -1: must be from 0 to 4"),
        (KFold(count=21), "--split.count 21: there are only 20 images; make fewer folds"),
    ],
)
def test_splits_out_of_range_are_refused(split, text):
    with pytest.raises(InputError) as caught:
        create_folds(split, make_examples(np.arange(20) % 2), 0)
    assert str(caught.value) == text


def test_more_folds_than_groups_are_refused():
    with pytest.raises(InputError, match=r"--split\.count 5: there are only 4 groups; make fewer folds"):
        create_folds(KFold(), make_examples(np.arange(20) % 2, np.arange(20) % 4), 0)


def test_a_split_that_holds_out_nothing_is_refused():
    with pytest.raises(InputError, match=r"holds out none of the 4 training images.*--split.fraction 0"):
        create_folds(HoldOut(fraction=0.1), make_examples([0, 0, 1, 1]), 0)


def test_rounding_does_not_decide_where_a_group_goes():
    content = GroupContent(classes=np.array([0, 1]), weights=np.array([0.5, 0.1]))
    shares = np.full(3, 1 / 3)
    nearly_alike = np.array([[2e-16, 0.0], [0.0, 1e-16], [0.0, 0.0]])
    assert place_group(nearly_alike, shares, content, -1) == 0
    assert place_group(nearly_alike, shares, content, 0) == 0
