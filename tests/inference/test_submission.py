import csv

import numpy as np
import pytest

from sketch_jax.data.records import SubmissionLayout
from sketch_jax.errors import InputError
from sketch_jax.inference.submission import write_submission
from sketch_jax.predictions import Predictions

LAYOUT = SubmissionLayout(
    columns=("ID", "image_path", "target"),
    rows=(("0", "b.png", "0"), ("1", "a.png", "0"), ("2", "c.png", "0")),
    id_column="image_path",
    target_column="target",
    targets=("10", "11"),
)


def predictions(ids):
    logits = np.array([[0.0, 1.0] if name < "c" else [1.0, 0.0] for name in ids], np.float32)
    return Predictions(ids=ids, logits=logits, labels=np.full(len(ids), -1), class_names=("x", "y"))


def test_answers_stand_in_the_order_of_the_sample_submission_whatever_the_predictions_order(tmp_path):
    write_submission(tmp_path / "submission.csv", predictions(("a.png", "c.png", "b.png")), LAYOUT)
    with (tmp_path / "submission.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["ID", "image_path", "target"],
        ["0", "b.png", "11"],
        ["1", "a.png", "11"],
        ["2", "c.png", "10"],
    ]


@pytest.mark.parametrize(
    "ids", [("a.png", "b.png"), ("a.png", "b.png", "d.png"), ("a.png", "b.png", "c.png", "d.png")]
)
def test_a_submission_of_other_images_is_refused_and_nothing_is_written(tmp_path, ids):
    with pytest.raises(InputError, match="the sample submission asks for 3 ids"):
        write_submission(tmp_path / "submission.csv", predictions(ids), LAYOUT)
    assert list(tmp_path.iterdir()) == []
