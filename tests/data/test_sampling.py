"""How often rows are drawn: against the stated probabilities; the same from any step and for any hosts."""

import numpy as np
import pytest
from batch_cases import COUNT, PREPROCESSING, THREADS, assert_same, train, write_images

from sketch_jax.data.cache import fill_cache
from sketch_jax.data.options import Loading
from sketch_jax.data.order import RowWeights, TrainingOrder, drawn
from sketch_jax.data.records import Examples
from sketch_jax.data.sampling import (
    ClassBalanced,
    Oversampled,
    Uniform,
    row_weights,
)
from sketch_jax.errors import InputError
from sketch_jax.tasks import cross_product, joined_names

TASKS = cross_product({"mask": ("worn", "none"), "age": ("young", "old")})
NAMES = joined_names(TASKS)
SIZES = np.array([40, 10, 8, 2])


def examples(sizes=SIZES, names=NAMES, groups=None) -> Examples:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return Examples(
        ids=tuple(map(str, range(len(labels)))),
        labels=labels,
        class_names=names,
        groups=groups,
        read=lambda row: b"",
    )


def order(weights, batch_size=8, **options) -> TrainingOrder:
    settings = {"seed": 0, "start_step": 0, "steps": None, "process_index": 0, "process_count": 1} | options
    return TrainingOrder(
        rows=np.arange(len(weights)) * 2,
        weights=RowWeights(values=np.asarray(weights, float)),
        batch_size=batch_size,
        **settings,
    )


def mean_counts(weights, count, epochs):
    shared = RowWeights(values=np.asarray(weights, float))
    counts = np.zeros(len(weights))
    for epoch in range(epochs):
        own = np.bincount(drawn(shared, count, 0, epoch), minlength=len(weights))
        assert own.sum() == count
        due = count * shared.values / shared.values.sum()
        assert (own >= np.floor(due - 1e-9)).all()
        assert (own <= np.ceil(due + 1e-9)).all()
        counts += own
    return counts / epochs


def test_each_row_is_drawn_as_often_as_its_share_says_to_within_one_draw():
    weights = np.random.default_rng(1).uniform(0.1, 5.0, 40)
    epochs = 2000
    due = 36 * weights / weights.sum()
    fraction = due % 1.0
    # A draw more or not is a coin of the fraction's probability: five standard deviations.
    bound = 5 * np.sqrt(fraction * (1 - fraction) / epochs) + 1e-9
    assert (np.abs(mean_counts(weights, 36, epochs) - due) <= bound).all()


def test_equal_weights_take_no_row_twice_and_leave_each_out_equally_often():
    found = mean_counts(np.full(10, 0.3), 8, 3000)
    # 3000 epochs of 8 rows among 10: standard deviation of the mean sqrt(.8 * .2 / 3000) = .0073.
    assert (np.abs(found - 0.8) < 5 * 0.0073).all()


def test_rows_are_drawn_independently_of_their_neighbours():
    shared = RowWeights(values=np.ones(10))
    first = sum({0, 1} <= set(drawn(shared, 5, 0, epoch).tolist()) for epoch in range(3000))
    # Two given rows among 5 of 10: 2/9 of the epochs, standard deviation sqrt(2/9 * 7/9 * 3000) = 22.8.
    assert abs(first - 3000 * 2 / 9) < 5 * 22.8


def test_an_epoch_has_as_many_batches_as_without_weights_and_is_shuffled():
    weighted = order(np.r_[np.full(40, 1.0), np.full(10, 4.0)])
    epochs = [np.concatenate([weighted[epoch * 6 + step] for step in range(6)]) for epoch in range(2)]
    assert [len(epoch) for epoch in epochs] == [48, 48]
    assert epochs[0].tolist() != epochs[1].tolist()
    assert all(epoch.tolist() != sorted(epoch.tolist()) for epoch in epochs)
    # Ten rows of weight 4 among 80 are due 2.4 times each in 48 draws: twice or three times.
    for epoch in epochs:
        assert set(np.bincount(epoch // 2, minlength=50)[40:].tolist()) == {2, 3}


def test_what_is_drawn_more_often_comes_from_the_training_rows_alone():
    weighted = order(np.r_[np.full(40, 1.0), np.full(10, 9.0)])
    training_rows = set(range(0, 100, 2))  # the odd ones are held out
    drawn_rows = np.concatenate([weighted[step] for step in range(30)])
    assert set(drawn_rows.tolist()) <= training_rows
    assert np.bincount(drawn_rows).max() > 9


def test_a_run_from_any_step_goes_on_with_the_batches_of_a_straight_run():
    weights = np.random.default_rng(1).uniform(0.1, 5.0, 50)
    straight = order(weights, steps=20)
    for start in range(0, 21, 3):
        resumed = order(weights, steps=20, start_step=start)
        for index in range(len(resumed)):
            np.testing.assert_array_equal(resumed[index], straight[start + index])


def test_hosts_share_the_batches_that_one_host_would_have():
    weights = np.random.default_rng(1).uniform(0.1, 5.0, 50)
    alone = order(weights)
    parts = [order(weights, process_index=host, process_count=2) for host in range(2)]
    for step in range(13):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), alone[step])


def test_memory_and_threads_give_the_same_drawn_batches(tmp_path):
    files = write_images(tmp_path)
    weights = np.random.default_rng(1).uniform(0.1, 5.0, COUNT)
    straight = train(files, steps=9, weights=weights)
    cache = fill_cache(files, np.arange(COUNT), PREPROCESSING, loading=Loading(cache="memory"))
    assert_same(train(files, steps=9, start_step=4, weights=weights, cache=cache), straight[4:])
    assert_same(train(files, steps=9, start_step=7, weights=weights), straight[7:])
    assert [batch.rows.tolist() for batch in straight] != [
        batch.rows.tolist() for batch in train(files, steps=9, loading=THREADS)
    ]


@pytest.mark.parametrize(("exponent", "shares"), [(0.0, SIZES), (0.5, SIZES**0.5), (1.0, np.ones(4))])
def test_class_balanced_weights_give_each_class_its_share(exponent, shares):
    table = examples()
    weights = row_weights(ClassBalanced(exponent=exponent), table, np.arange(60))
    by_class = np.bincount(table.labels, weights=weights)
    np.testing.assert_allclose(by_class / by_class.sum(), shares / shares.sum())


def test_the_counts_of_the_balance_are_those_of_the_training_rows():
    table, rows = examples(), np.arange(20, 60)
    weights = row_weights(ClassBalanced(), table, rows)
    np.testing.assert_allclose(np.bincount(table.labels[rows], weights=weights), 1.0)


def test_oversampling_multiplies_the_factors_of_class_task_and_group():
    groups = tuple(f"person{row % 2}" for row in range(60))
    sampling = Oversampled(classes=(("worn/old", 3.0), ("age=old", 2.0)), groups=(("person1", 1.5),))
    table = examples(groups=groups)
    weights = row_weights(sampling, table, np.arange(60), TASKS)
    by_class = np.array([1.0, 6.0, 1.0, 2.0])
    expected = by_class[table.labels] * np.where(np.arange(60) % 2, 1.5, 1.0)
    np.testing.assert_allclose(weights, expected)


def test_without_a_rule_rows_have_no_weights():
    assert row_weights(Uniform(), examples(), np.arange(60)) is None


def message(build):
    with pytest.raises(InputError) as caught:
        build()
    return str(caught.value)


def test_unknown_names_and_numbers_out_of_range_are_refused():
    unknown = Oversampled(classes=(("worn/odl", 2.0), ("gender=male", 2.0)))
    assert message(lambda: row_weights(unknown, examples(), np.arange(60), TASKS)) == (
        "--sampling.classes: must be names of the training set (2):\n"
        "  'worn/odl' is not; did you mean 'worn/old' or 'worn/young'?\n"
        "  'gender=male' is not\n"
        "correct these names"
    )
    no_group = Oversampled(groups=(("ann", 2.0),))
    assert "'ann' is not" in message(lambda: row_weights(no_group, examples(), np.arange(60)))
    assert message(lambda: Oversampled(classes=(("cat", 0.0),))) == (
        "factors of the sampling out of their range (1):\n"
        "  --sampling.classes 'cat' 0: must be above 0\n"
        "1 draws as often as without"
    )
    assert "--sampling.exponent -1" in message(lambda: ClassBalanced(exponent=-1.0))
