"""Estimated scores of submissions, by the command that users call."""

import numpy as np
import pytest

from scripts import run_script, summary


def submission(path, answers, order=None):
    rows = [f"{row},img/{row}.png,{answer}" for row, answer in enumerate(answers)]
    order = range(len(rows)) if order is None else order
    path.write_text("\n".join(["ID,image_path,target", *(rows[row] for row in order)]) + "\n")
    return path


@pytest.fixture
def tables(tmp_path):
    generator = np.random.default_rng(0)
    best = generator.integers(0, 5, 200)
    new = np.where(generator.random(200) < 0.1, (best + 1) % 5, best)
    return (
        submission(tmp_path / "new.csv", new),
        submission(tmp_path / "best.csv", best, generator.permutation(200)),
        (new == best).mean(),
    )


def test_rows_are_matched_by_name_and_what_is_likely_is_told(tables, capsys):
    new, best, agreement = tables
    assert run_script("estimate_score", new, "--scored", best, 0.9) == 0
    text, facts = summary(capsys)
    assert f"agrees with {best} (score 0.9) on {agreement:.4f} of 200 rows" in text
    assert facts["score"] == pytest.approx(0.9, abs=0.01)
    assert facts["most"] == pytest.approx(min(0.9 + 1 - agreement, 1 + agreement - 0.9), abs=0.01)
    assert facts["least"] <= facts["low"] <= facts["score"] <= facts["high"] <= facts["most"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{best}", "1.9"], "--scored … 1.9: a score must be a number from 0 to 1"),
        (["{none}", "0.9"], "none.csv: no such file"),
        (["{short}", "0.9"], "short.csv: has other rows than"),
        (
            ["{best}", "0.9", "--column", "answer"],
            "has no column 'answer'; its columns are 'ID', 'image_path', 'target'",
        ),
        (
            ["{best}", "0.9", "--id-column", "target"],
            "column 'target' names rows twice; name another by --id-column",
        ),
    ],
)
def test_what_cannot_be_compared_is_told(options, message, tables, tmp_path, capsys):
    new, best, _ = tables
    submission(tmp_path / "short.csv", [1, 2])
    paths = {"best": best, "none": tmp_path / "none.csv", "short": tmp_path / "short.csv"}
    arguments = [option.format(**paths) for option in options]
    assert run_script("estimate_score", new, "--scored", *arguments) == 2
    assert message in capsys.readouterr().err
