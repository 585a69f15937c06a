"""Generated drawings: what they depend on, what they look like, and what is refused."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from sketch_jax.data.doodles import SUBJECTS, Doodles, draw, load_doodles
from sketch_jax.data.strokes import arc, curve, ellipse, line, loop, polygon, pose, retrace, thicken, wobble
from sketch_jax.errors import InputError

ONE_OF_EACH = Doodles(train_per_class=1, test_per_class=1, canvas_size=48)


def all_pixels(examples) -> bytes:
    return b"".join(examples.read(row).tobytes() for row in range(len(examples)))


def test_another_process_draws_the_same_pixels():
    code = (
        "import sys, pickle; sys.path[:0] = sys.argv[1:]; examples = pickle.load(sys.stdin.buffer);"
        "[sys.stdout.buffer.write(examples.read(row).tobytes()) for row in range(len(examples))]"
    )
    train = load_doodles(ONE_OF_EACH).train
    answer = subprocess.run(
        [sys.executable, "-c", code, *sys.path],
        input=pickle.dumps(train),
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert answer.stdout == all_pixels(train)


def test_reading_a_row_twice_or_out_of_order_gives_the_same_drawing():
    train = load_doodles(ONE_OF_EACH).train
    backwards = [train.read(row) for row in reversed(range(len(train)))][::-1]
    np.testing.assert_array_equal(backwards, [train.read(row) for row in range(len(train))])


def test_a_drawing_stays_when_more_drawings_and_other_classes_are_asked_for():
    few = load_doodles(Doodles(train_per_class=2, classes=("tree", "cup"), canvas_size=48)).train
    many = load_doodles(Doodles(train_per_class=5, canvas_size=48)).train
    for row, name in enumerate(few.ids):
        np.testing.assert_array_equal(few.read(row), many.read(many.ids.index(name)))


def test_no_drawing_repeats_within_or_across_train_test_and_seeds():
    drawings = []
    for seed in (0, 1):
        dataset = load_doodles(Doodles(train_per_class=4, test_per_class=4, canvas_size=48, seed=seed))
        assert dataset.test is not None
        for part in (dataset.train, dataset.test):
            drawings += [part.read(row).tobytes() for row in range(len(part))]
    assert len(set(drawings)) == len(drawings) == 4 * 4 * len(SUBJECTS)


@pytest.mark.parametrize("name", SUBJECTS)
def test_drawings_are_black_on_white_whole_and_not_overcrowded(name):
    for number in range(40):
        drawing = draw(name, ("train", number), canvas_size=64, seed=3)
        assert drawing.shape == (64, 64, 3)
        assert drawing.dtype == np.uint8
        grey = drawing[:, :, 0]
        np.testing.assert_array_equal(drawing, np.repeat(grey[:, :, None], 3, axis=2))
        assert (grey == 255).mean() > 0.5
        assert 0.01 < (grey < 128).mean() < 0.4
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        assert (border == 255).all(), f"drawing {number} is cut off"


@pytest.mark.parametrize("size", [32, 96, 129, 300])
def test_the_canvas_has_the_size_that_is_asked_for_and_drawings_keep_their_look(size):
    def mean_ink(canvas_size):
        drawings = [draw(name, ("train", 0), canvas_size=canvas_size, seed=0) for name in SUBJECTS]
        assert {drawing.shape for drawing in drawings} == {(canvas_size, canvas_size, 3)}
        return np.mean([255 - drawing.mean() for drawing in drawings])

    assert mean_ink(size) == pytest.approx(mean_ink(64), rel=0.1)


def test_drawings_vary_in_place_size_and_thickness_of_line():
    boxes, thickness = [], []
    for number in range(60):
        inked = draw("envelope", ("train", number), canvas_size=64, seed=0)[:, :, 0] < 128
        rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
        boxes.append([rows.mean(), columns.mean(), np.ptp(columns)])
        thickness.append(inked.sum() / ndimage.binary_erosion(~inked, border_value=1).size)
    assert (np.std(boxes, axis=0) > 3).all()
    assert np.max(thickness) > 2 * np.min(thickness)


def test_a_linear_classifier_on_pixels_is_not_enough_but_better_than_chance():
    linear_model = pytest.importorskip("sklearn.linear_model")
    classes = tuple(SUBJECTS)[::3]
    dataset = load_doodles(Doodles(train_per_class=40, test_per_class=15, canvas_size=24, classes=classes))
    assert dataset.test is not None

    def pixels(examples):
        return np.stack([255 - examples.read(row)[:, :, 0].ravel() for row in range(len(examples))]) / 255

    model = linear_model.RidgeClassifier(alpha=30.0).fit(pixels(dataset.train), dataset.train.labels)
    accuracy = model.score(pixels(dataset.test), dataset.test.labels)
    assert 2 / len(classes) < accuracy < 0.6


def test_rows_are_labelled_named_and_balanced():
    dataset = load_doodles(Doodles(train_per_class=3, test_per_class=2))
    assert len(SUBJECTS) >= 24
    assert dataset.test is not None
    for part, examples, count in (("train", dataset.train, 3), ("test", dataset.test, 2)):
        assert examples.class_names == tuple(sorted(SUBJECTS))
        assert np.bincount(examples.labels).tolist() == [count] * len(SUBJECTS)
        assert len(set(examples.ids)) == len(examples) == count * len(SUBJECTS)
        names = [examples.class_names[label] for label in examples.labels]
        assert [row_id.split("/")[:2] for row_id in examples.ids] == [[part, name] for name in names]


def test_classes_keep_the_order_that_the_user_gives():
    train = load_doodles(Doodles(classes=("tree", "cup"), train_per_class=1, canvas_size=32)).train
    assert train.class_names == ("tree", "cup")
    np.testing.assert_array_equal(train.read(1), draw("cup", ("train", 0), canvas_size=32, seed=0))


def test_there_is_no_test_set_when_none_is_asked_for():
    assert load_doodles(Doodles(test_per_class=0)).test is None


def test_all_fields_out_of_range_are_listed_at_once():
    with pytest.raises(InputError) as caught:
        load_doodles(Doodles(train_per_class=0, test_per_class=-1, canvas_size=8, seed=-2, classes=("tree",)))
    assert str(caught.value) == (
        "source doodles: fields out of range (5):\n"
        "  train_per_class is 0, not at least 1\n"
        "  test_per_class is -1, not at least 0\n"
        "  canvas_size is 8, not 16 to 1024\n"
        "  seed is -2, not at least 0\n"
        "  classes has 1 names, not at least 2\n"
        "change these --source fields"
    )


def test_misspelt_and_repeated_classes_are_refused_with_a_suggestion():
    with pytest.raises(InputError) as caught:
        load_doodles(Doodles(classes=("tree", "tree", "mushrom")))
    assert str(caught.value) == (
        "source doodles: fields out of range (2):\n"
        f"  classes: 'mushrom' is not among the {len(SUBJECTS)} doodles; did you mean 'mushroom'?\n"
        "  classes: 'tree' is listed twice\n"
        "change these --source fields"
    )


def test_lines_and_curves_pass_through_their_points():
    points = [(0.0, 0.0), (1.0, 0.5), (0.3, -0.7)]
    for stroke, through in (
        (line(*points), points),
        (curve(*points), points),
        (polygon(*points), [*points, points[0]]),
        (loop(*points), [*points, points[0]]),
    ):
        np.testing.assert_allclose(stroke[::8], through, atol=1e-12)
    np.testing.assert_allclose(line(*points)[4], (0.5, 0.25), atol=1e-12)


def test_a_curve_is_the_catmull_rom_spline():
    # At the middle of an inner segment the spline is (-a + 9 b + 9 c - d) / 16.
    points = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, -1.0)])
    middle = np.array([-1, 9, 9, -1]) @ points / 16
    np.testing.assert_allclose(curve(*points.tolist())[12], middle, atol=1e-12)


def test_arcs_run_between_their_angles_and_ellipses_close():
    stroke = arc(1.0, 2.0, 3.0, 4.0, 0, 90)
    np.testing.assert_allclose(stroke[[0, -1]], [(4, 2), (1, 6)], atol=1e-12)
    closed = ellipse(1.0, 2.0, 0.5, 0.25)
    np.testing.assert_allclose(((closed - (1, 2)) / (0.5, 0.25)) ** 2 @ (1, 1), 1, atol=1e-12)
    np.testing.assert_allclose(closed[0], closed[-1], atol=1e-12)


@pytest.mark.parametrize("width", range(1, 12))
def test_the_pen_is_a_centred_octagon_of_the_width_that_is_asked_for(width):
    plus, square = ndimage.generate_binary_structure(2, 1), np.ones((3, 3), bool)
    paper = np.random.default_rng(width).choice([20, 255], size=(40, 50), p=[0.03, 0.97]).astype(np.uint8)
    expected = paper
    for step in range((width - 1) // 2):
        expected = ndimage.grey_erosion(expected, footprint=square if step % 2 else plus, mode="nearest")
    if width % 2 == 0:
        expected = ndimage.grey_erosion(expected, size=(2, 2), mode="nearest")
    before = paper.copy()
    np.testing.assert_array_equal(thicken(paper, width), expected)
    np.testing.assert_array_equal(paper, before)

    dot = np.full((31, 31), 255, np.uint8)
    dot[15, 15] = 0
    rows, columns = np.nonzero(thicken(dot, width) == 0)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == width


def test_the_hand_changes_strokes_a_little_and_pose_puts_them_on_the_paper():
    rng = np.random.default_rng(0)
    strokes = [line((-1, 0), (1, 0)), ellipse(0, 0, 0.5)]
    for _ in range(50):
        shaken = wobble(strokes, rng)
        assert [len(stroke) for stroke in shaken] == [len(stroke) for stroke in strokes]
        moved = max(np.abs(a - b).max() for a, b in zip(shaken, strokes, strict=True))
        assert 0.001 < moved < 0.6
        points = np.concatenate(pose(shaken, rng))
        assert 0.049 < points.min() < points.max() < 0.951
        assert 0.5 < np.ptp(points, axis=0).max() < 0.95


def test_a_forgotten_stroke_is_never_a_large_one():
    rng = np.random.default_rng(0)
    body, details = ellipse(0, 0, 1.0), [ellipse(0.1 * k, 0, 0.05) for k in range(4)]
    counts = set()
    for _ in range(200):
        drawn = retrace([body, *details], rng)
        counts.add(len(drawn))
        assert max(np.ptp(stroke, axis=0).max() for stroke in drawn) > 1.5
    assert counts == {4, 5, 6}
