"""A classifier that starts from rows of the pretrained one."""

import json

import numpy as np
import pytest
from test_load import fit_small, state_dict

from sketch_jax.errors import InputError
from sketch_jax.weights.head_rows import read_rows
from sketch_jax.weights.load import summary


def written(tmp_path, value):
    path = tmp_path / "rows.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_rows_come_in_the_order_of_the_classes_and_other_names_are_left_out(tmp_path):
    path = written(tmp_path, {"bee": 309, "whale": 147, "ant": 310})
    assert read_rows(path, ["ant", "bee", "cat"]) == ((310, 309, None), ("whale",))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", r'not a readable JSON file .*; write an object such as \{"ant": 310, "bee": 309\}'),
        ([1], "must hold an object from class names to rows, not list"),
        (
            {"ant": -1, "bee": 1.5},
            r"(?s)rows in .* \(2\):\n  ant: -1 is no row number.*\n  bee: 1.5 is no row",
        ),
        ({"ants": 310}, "names none of the 2 classes, of which the first is 'ant', but 'ants'; write"),
    ],
)
def test_files_that_say_no_rows_are_refused(tmp_path, value, message):
    with pytest.raises(InputError, match=message):
        read_rows(written(tmp_path, value), ["ant", "bee"])


def test_a_missing_file_of_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--model.head.rows .*none.json: not a readable JSON file"):
        read_rows(tmp_path / "none.json", ["ant"])


def test_classes_start_from_their_rows_and_those_without_start_new():
    theirs, wanted = state_dict(1000), state_dict(3, seed=1)
    fitted = fit_small(theirs, wanted, rows=(7, None, 999))
    for name in ("weight", "bias"):
        ours = fitted.params["head"]["kernel"].T if name == "weight" else fitted.params["head"]["bias"]
        np.testing.assert_array_equal(ours[[0, 2]], theirs[f"head.{name}"][[7, 999]])
        np.testing.assert_array_equal(ours[1], wanted[f"head.{name}"][1])
    assert fitted.report.new == fitted.report.dropped == fitted.report.resampled == ()
    assert "2 of 3 classes start from rows of the weights' classifier" in summary(fitted.report)


def test_a_classifier_without_any_row_is_reported_as_new_and_that_of_the_weights_as_unused():
    theirs, wanted = state_dict(3), state_dict(3, seed=1)
    fitted = fit_small(theirs, wanted, rows=(None, None, None))
    np.testing.assert_array_equal(fitted.params["head"]["kernel"].T, wanted["head.weight"])
    assert sorted(fitted.report.new) == sorted(fitted.report.dropped) == ["head.bias", "head.weight"]
    assert "head.weight" not in fitted.report.loaded
    assert "0 of 3 classes start from rows of the weights' classifier" in summary(fitted.report)


def test_rows_beyond_the_pretrained_classifier_are_refused():
    with pytest.raises(InputError, match=r"its classifier has the rows 0 to 999, and .* asks for 1000, 1500"):
        fit_small(state_dict(1000), state_dict(3), rows=(1500, 0, 1000))


def test_rows_of_weights_without_a_classifier_are_refused():
    with pytest.raises(InputError, match=r"whose rows a new one could start from, as .*; take weights"):
        fit_small(state_dict(None), state_dict(3), rows=(0, 1, 2))
