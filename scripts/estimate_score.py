"""Estimates what a submission would score, from its agreement with submissions whose scores are known.

    python scripts/estimate_score.py new.csv --scored best.csv 0.9390 --scored other.csv 0.9255

The tables have the same rows in any order. Prints the likely score, an interval that holds nine tenths of
what is likely, and the bounds that the known scores allow at all; the last line is a summary in JSON.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sketch_jax.command import guarded
from sketch_jax.ending import end_process
from sketch_jax.errors import InputError


def create_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/estimate_score.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("submission", metavar="CSV", type=Path, help="whose score is not known")
    parser.add_argument(
        "--scored", metavar=("CSV", "SCORE"), nargs=2, action="append", required=True,
        help="a submission and its score, a share from 0 to 1; again for each",
    )  # fmt: skip
    parser.add_argument("--id-column", metavar="NAME", help="of the rows' names (default: the first column)")
    parser.add_argument("--column", metavar="NAME", help="of the answers (default: the last column)")
    parser.add_argument(
        "--classes", metavar="N", type=int, help="that a row may be of (default: those that are answered)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 2 bad input."""
    given = create_parser().parse_args(arguments)
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    import numpy as np

    from sketch_jax.ensemble.agreement import estimate_score

    paths = [given.submission, *(Path(path) for path, _ in given.scored)]
    tables = [read_answers(path, given.id_column, given.column) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if table.keys() != tables[0].keys():
            differing = sorted(table.keys() ^ tables[0].keys())
            raise InputError(
                f"{path}: has other rows than {paths[0]}: {len(differing)} differ, such as {differing[0]!r}; "
                "compare submissions for the same test set, or name --id-column"
            )
    names = sorted({answer for table in tables for answer in table.values()})
    number = {name: index for index, name in enumerate(names)}
    ids = list(tables[0])
    answers = [np.array([number[table[row]] for row in ids]) for table in tables]
    scores = [score_of(text) for _, text in given.scored]
    found = estimate_score(answers[0], answers[1:], scores, max(given.classes or 0, len(names)))
    for (path, score), other in zip(given.scored, answers[1:], strict=True):
        print(
            f"agrees with {path} (score {score}) on {(answers[0] == other).mean():.4f} of {len(ids):,} rows"
        )
    print(
        f"likely {found.score:.4f}, nine in ten from {found.low:.4f} to {found.high:.4f}; the known scores "
        f"allow {found.least:.4f} to {found.most:.4f}"
    )
    print(json.dumps(found._asdict()))
    return 0


def read_answers(path: Path, id_column: str | None, column: str | None) -> dict[str, Any]:
    """Answers by row name.

    Raises:
        InputError: there is no such file or column, or a row's name is there twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    if len(columns) < 2:
        raise InputError(f"{path}: needs a header, two columns and a row at least")
    name, answer = id_column or columns[0], column or columns[-1]
    if missing := [wanted for wanted in (name, answer) if wanted not in columns]:
        raise InputError(
            f"{path}: has no column {missing[0]!r}; its columns are {', '.join(map(repr, columns))}"
        )
    answers = {row[name]: row[answer] for row in rows}
    if len(answers) != len(rows):
        raise InputError(f"{path}: column {name!r} names rows twice; name another by --id-column")
    return answers


def score_of(text: str) -> float:
    """A share from 0 to 1.

    Raises:
        InputError: it is none.
    """
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1.0:
        raise InputError(f"--scored … {text}: a score must be a number from 0 to 1")
    return score


if __name__ == "__main__":
    end_process(main())
