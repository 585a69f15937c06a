"""A contest's submission, in the layout of its sample submission."""

import csv
import io
from pathlib import Path

from sketch_jax.data.records import SubmissionLayout
from sketch_jax.errors import InputError
from sketch_jax.files import write_atomically
from sketch_jax.predictions import Predictions


def submission_rows(predictions: Predictions, layout: SubmissionLayout) -> list[tuple[str, ...]]:
    """The sample submission's rows with the answers filled in; each is the class of the largest logit.

    Raises:
        InputError: the predictions' ids and the sample submission's are not the same set.
    """
    answers = dict(zip(predictions.ids, predictions.logits.argmax(axis=-1).tolist(), strict=True))
    id_column = layout.columns.index(layout.id_column)
    target_column = layout.columns.index(layout.target_column)
    asked = [row[id_column] for row in layout.rows]
    missing, unasked = sorted(set(asked) - answers.keys()), sorted(answers.keys() - set(asked))
    if missing or unasked or len(asked) != len(answers):
        raise InputError(
            f"the sample submission asks for {len(asked)} ids and there are {len(answers)} predictions: "
            f"{len(missing)} asked for but not predicted {missing[:3]}, "
            f"{len(unasked)} predicted but not asked for {unasked[:3]}; "
            "make the test table and the sample submission name the same images"
        )
    return [
        tuple(
            layout.targets[answers[row[id_column]]] if index == target_column else value
            for index, value in enumerate(row)
        )
        for row in layout.rows
    ]


def write_submission(path: Path, predictions: Predictions, layout: SubmissionLayout) -> None:
    """Writes the answers as a csv; the file appears whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(layout.columns)
    writer.writerows(submission_rows(predictions, layout))
    write_atomically(path, buffer.getvalue())
