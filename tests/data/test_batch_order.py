"""Which rows make up a batch: each as often as it should be, the same from any step and for any hosts."""

from collections import Counter

import numpy as np
import pytest
from batch_cases import COUNT, train, write_images

from sketch_jax.data.order import EvaluationOrder, TrainingOrder, steps_per_epoch
from sketch_jax.data.records import Examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return write_images(tmp_path_factory.mktemp("images"))


def training_order(count: int, batch_size: int, **options) -> TrainingOrder:
    settings = {"seed": 0, "start_step": 0, "steps": None, "process_index": 0, "process_count": 1} | options
    return TrainingOrder(rows=np.arange(count) * 2, batch_size=batch_size, **settings)


def test_an_epoch_takes_no_row_twice_and_leaves_out_only_what_fills_no_batch():
    order = training_order(50, 8)
    for epoch in range(4):
        rows = np.concatenate([order[epoch * 6 + step] for step in range(6)])
        assert len(set(rows.tolist())) == len(rows) == 48
        assert set(rows.tolist()) <= set(range(0, 100, 2))


def test_over_many_epochs_each_row_is_left_out_about_equally_often():
    order = training_order(10, 4)
    counts = Counter(row for step in range(2 * 3000) for row in order[step].tolist())
    # 3000 epochs of 8 rows among 10: 2400 each, standard deviation sqrt(3000 * .8 * .2) = 22.
    assert all(abs(counts[row] - 2400) < 5 * 22 for row in range(0, 20, 2))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [training_order(64, 64, seed=seed)[epoch].tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(order != sorted(order) for order in orders)


def test_the_balance_of_classes_is_that_of_the_rows():
    labels = np.repeat([0, 1, 2], [24, 12, 12])
    order = training_order(48, 8)
    for epoch in range(3):
        rows = np.concatenate([order[epoch * 6 + step] for step in range(6)]) // 2
        assert np.bincount(labels[rows]).tolist() == [24, 12, 12]


def test_a_run_from_any_step_goes_on_with_the_batches_of_a_straight_run():
    straight = training_order(50, 8, steps=20)
    for start in range(21):
        resumed = training_order(50, 8, steps=20, start_step=start)
        assert len(resumed) == 20 - start
        for index in range(len(resumed)):
            np.testing.assert_array_equal(resumed[index], straight[start + index])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_batches_that_one_host_would_have(hosts):
    alone = training_order(50, 8)
    parts = [training_order(50, 8, process_index=host, process_count=hosts) for host in range(hosts)]
    for step in range(13):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), alone[step])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17])
@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_asks_for_each_row_once_in_order_whatever_the_hosts(count, hosts):
    rows = np.arange(count) * 3 + 1
    parts = [
        EvaluationOrder(rows=rows, batch_size=8, process_index=host, process_count=hosts)
        for host in range(hosts)
    ]
    seen = [row for index in range(len(parts[0])) for part in parts for row in part[index].tolist()]
    assert [row for row in seen if row != -1] == rows.tolist()
    assert len(seen) == -(-count // 8) * 8


def test_an_epoch_has_as_many_steps_as_full_batches(examples):
    assert steps_per_epoch(COUNT, 8) == 6
    rows = np.concatenate([batch.rows for batch in train(examples, steps=6)])
    assert len(set(rows.tolist())) == 48
