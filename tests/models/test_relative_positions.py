"""Tables of relative position biases for another window, beside timm's."""

import numpy as np
import pytest

from sketch_jax.errors import InputError
from sketch_jax.models.relative_positions import PREFIX_ENTRIES, distance_count, resize_bias_table

WINDOWS = [
    ((7, 7), (8, 8), False),
    ((12, 12), (7, 7), False),
    ((14, 14), (24, 24), True),
    ((24, 24), (14, 14), True),
    ((2, 2), (3, 5), True),
    ((1, 1), (3, 3), False),
    ((3, 3), (1, 1), True),
    ((2, 2), (1, 5), False),
]


def random_table(window, prefix_token):
    entries = distance_count(window) + PREFIX_ENTRIES * prefix_token
    return np.random.default_rng(0).normal(size=(entries, 3)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's interpolation uses torch in outdated ways
@pytest.mark.parametrize(("old", "new", "prefix_token"), WINDOWS)
def test_tables_are_resized_as_in_timm(old, new, prefix_token):
    torch, layers = pytest.importorskip("torch"), pytest.importorskip("timm.layers")
    table = random_table(old, prefix_token)
    shape = random_table(new, prefix_token).shape
    expected = layers.resize_rel_pos_bias_table(torch.tensor(table), new, shape).numpy()
    ours = resize_bias_table(table, new, prefix_token)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("window", [(7, 7), (3, 5)])
def test_tables_of_the_same_window_stay_as_they_are(window):
    table = random_table(window, True)
    assert resize_bias_table(table, window, True) is table


@pytest.mark.parametrize("entries", [45, 36])
def test_tables_of_another_window_that_is_no_square_are_refused(entries):
    message = (
        f"{entries} entries are not of a square window; take weights of a square window, or of one of 7x7"
    )
    with pytest.raises(InputError, match=message):
        resize_bias_table(np.zeros((entries, 3), np.float32), (7, 7))
