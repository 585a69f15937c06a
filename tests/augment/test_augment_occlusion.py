import jax
import numpy as np
from jax import numpy as jnp
from scipy import stats

from sketch_jax.augment.occlusion import Boxes, draw_dropout, draw_erasing, erase
from sketch_jax.augment.watermark import LETTERS, Words, draw_over, draw_words

COUNT, SHAPE = 3000, (60, 90)


def numbers(boxes: Boxes) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(edges) for edges in boxes)


def test_boxes_are_filled_with_white_and_nothing_else_changes():
    images = np.random.default_rng(0).integers(0, 200, (2, 20, 30, 3), dtype=np.uint8)
    boxes = Boxes(
        *(
            jnp.array(edges)
            for edges in ([[2, 9], [0, 5]], [[5, 20], [20, 5]], [[0, 20], [7, 1]], [[9, 25], [8, 4]])
        )
    )
    expected = images.copy()
    expected[0, 2:5, 0:9] = expected[0, 9:20, 20:25] = expected[1, :, 7] = 255
    np.testing.assert_array_equal(erase(images, boxes), expected)


def test_erasing_draws_timms_areas_and_aspects():
    boxes = draw_erasing(jax.random.key(0), jnp.array([0.02, 0.2]), jnp.array(0.5), COUNT, SHAPE)
    top, bottom, left, right = (edges[:, 0] for edges in numbers(boxes))
    height, width = bottom - top, right - left
    area = height * width / (SHAPE[0] * SHAPE[1])
    assert (
        stats.kstest(
            area + np.random.default_rng(0).uniform(-0.004, 0.004, COUNT), stats.uniform(0.02, 0.18).cdf
        ).statistic
        < 0.05
    )
    aspect = np.log(height / width) / np.log(2.0)
    assert abs(aspect.mean()) < 0.03
    assert stats.kstest(aspect, stats.uniform(-1.0, 2.0).cdf).statistic < 0.05
    assert (top >= 0).all()
    assert (bottom <= SHAPE[0]).all()
    assert (right <= SHAPE[1]).all()
    room = SHAPE[0] - height
    assert stats.kstest((top + 0.5) / (room + 1), "uniform").statistic < 0.05


def test_a_box_that_fits_nowhere_erases_nothing():
    boxes = draw_erasing(jax.random.key(0), jnp.array([1.0, 1.0]), jnp.array(0.9), 50, SHAPE)
    images = np.zeros((50, *SHAPE, 3), np.uint8)
    np.testing.assert_array_equal(erase(images, boxes), images)


def test_dropout_draws_from_one_to_all_holes_of_shares_of_the_sides():
    boxes = draw_dropout(jax.random.key(1), jnp.array(5.0), jnp.array([0.1, 0.3]), COUNT, SHAPE)
    top, bottom, left, right = numbers(boxes)
    there = bottom > top
    found = np.bincount(there.sum(1), minlength=7)
    assert found[0] == found[6] == 0
    assert stats.chisquare(found[1:6]).pvalue > 0.001
    heights, widths = (bottom - top)[there] / SHAPE[0], (right - left)[there] / SHAPE[1]
    for shares in (heights, widths):
        assert shares.min() >= 0.09
        assert shares.max() <= 0.31
        assert abs(shares.mean() - 0.2) < 0.005
    assert (left >= 0).all()
    assert (right <= SHAPE[1]).all()


def words(**changes) -> Words:
    values = {
        "letters": [[ord(letter) - ord("A") for letter in "SKETCHES"]],
    }
    values |= {"row": [0.0], "column": [0.0], "dot": [2.0], "angle": [0.0], "tone": [0.0], "opacity": [1.0]}
    values |= changes
    return Words(**{name: jnp.asarray(value) for name, value in values.items()})


def test_a_word_is_legible():
    ink = np.asarray(draw_over(np.full((1, 14, 96, 3), 255, np.uint8), words()))[0, ::2, ::2, 0] == 0
    rows = ["".join(".#"[int(dot)] for dot in row) for row in ink[:, 6:18]]
    assert rows == [
        "#...#.#####.",
        "#..#..#.....",
        "#.#...#.....",
        "##....####..",
        "#.#...#.....",
        "#..#..#.....",
        "#...#.#####.",
    ]


def test_a_word_is_mixed_in_by_its_opacity_and_tone_where_it_stands_only():
    image = np.full((1, 40, 120, 3), 200, np.uint8)
    drawn = np.asarray(draw_over(image, words(opacity=[0.25], tone=[100.0], row=[8.0], column=[-6.0])))[0]
    assert set(np.unique(drawn)) == {175, 200}
    rows, columns = np.nonzero(drawn[..., 0] == 175)
    assert (rows.min(), rows.max()) == (20 + 8 - 7, 20 + 8 + 6)
    assert columns.min() >= 60 - 6 - 48
    assert columns.max() < 60 - 6 + 48


def test_a_quarter_turn_writes_upwards():
    image = np.full((1, 101, 101, 3), 255, np.uint8)
    level = np.asarray(draw_over(image, words()))[0, ..., 0]
    turned = np.asarray(draw_over(image, words(angle=[np.pi / 2])))[0, ..., 0]
    different = turned != np.rot90(level)
    assert different.mean() < 0.02
    assert (level == 0).mean() > 0.03


def test_words_are_drawn_in_their_ranges_with_all_letters():
    drawn = draw_words(jax.random.key(0), jnp.array([0.1, 0.5]), COUNT, SHAPE)
    assert drawn.letters.shape == (COUNT, LETTERS)
    assert stats.chisquare(np.bincount(np.asarray(drawn.letters).ravel(), minlength=26)).pvalue > 0.001
    assert stats.kstest(np.asarray(drawn.opacity), stats.uniform(0.1, 0.4).cdf).pvalue > 0.001
    assert stats.kstest(np.degrees(np.asarray(drawn.angle)), stats.uniform(-45.0, 90.0).cdf).pvalue > 0.001
