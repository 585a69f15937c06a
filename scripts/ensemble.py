"""Combines the predictions of several models, by a vote, by weights or by a model over models.

    python scripts/ensemble.py runs/a runs/b runs/c --method soft-hard --submission out.csv
    python scripts/ensemble.py runs/a runs/b --method greedy --compare --output runs/both
    python scripts/ensemble.py a_test.npz b_test.npz --held-out a_oof.npz b_oof.npz --method learned

A member is a finished run, a cross-validation (--folds), a directory of predictions, or an npz file of test
predictions. Prints how good each member is on the held-out images, what it brings, and how good all are
together; the last line is a summary in JSON. What is learnt on held-out images is scored on those that it was
not learnt on.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from sketch_jax.command import guarded
from sketch_jax.ending import end_process

METHODS = {
    "soft, soft-soft": "mean of the probabilities of all folds of all members",
    "hard, hard-hard": "each fold of each member has a vote",
    "soft-hard": "mean over a member's folds, then each member has a vote",
    "weighted": "mean by the --weights",
    "learned": "mean by the weights under which held-out labels are likeliest",
    "greedy": "mean of members added one by one, again if it helps (Caruana et al. 2004)",
    "stacking": "logistic regression over the members' log-probabilities",
}
WAYS = [way for ways in METHODS for way in ways.split(", ")]


def create_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/ensemble.py",
        description=f"{__doc__}\nmethods:\n"
        + "\n".join(f"  {way:<16} {what}" for way, what in METHODS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("members", metavar="RUN_OR_NPZ", type=Path, nargs="+", help="see above")
    parser.add_argument("--method", choices=WAYS, default="soft", help="default: soft")
    parser.add_argument(
        "--weights", metavar="W", type=float, nargs="+", default=[], help="of --method weighted, one a member"
    )
    parser.add_argument(
        "--tie", choices=("lowest", "soft"),
        help="which class wins equally many votes: the lowest, or that of the largest mean probability "
        "(default: lowest)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", choices=("none", "temperature", "vector"), default="none",
        help="scale each member's logits first, as held-out labels ask for (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--held-out", metavar="NPZ", type=Path, nargs="+", default=[],
        help="held-out predictions of members that are npz files, in the same order",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", action="store_true",
        help="the members are models of one task each, such as mask, gender and age: the answers are "
        "combinations of their classes, numbered with the last varying fastest",
    )  # fmt: skip
    parser.add_argument("--compare", action="store_true", help="score every method on the held-out images")
    parser.add_argument(
        "--output", metavar="DIR", type=Path,
        help="write oof.npz, test.npz, recall_by_class.csv, disagreement.csv and reliability.csv there",
    )  # fmt: skip
    parser.add_argument(
        "--submission", metavar="CSV", type=Path,
        help="write the answers, in the layout of the sample submission of the members' source",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 2 bad input."""
    parser = create_parser()
    given = parser.parse_args(arguments)
    if bool(given.weights) != (given.method == "weighted"):
        parser.error("--weights and --method weighted need each other")
    if given.tie is not None and "hard" not in given.method and not given.compare:
        parser.error(f"--tie {given.tie}: --method {given.method} counts no votes; leave it out")
    if given.tasks and (given.method != "soft" or given.calibrate != "none" or given.compare):
        parser.error(
            "--tasks: takes the mean of each member's folds; leave --method, --calibrate, --compare out"
        )
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    from rich.console import Console

    from sketch_jax.ensemble.combine import Recipe
    from sketch_jax.flows.ensemble import EnsembleOptions, run_ensemble

    recipe = Recipe(
        way=given.method, weights=tuple(given.weights), tie=given.tie or "lowest", calibration=given.calibrate
    )
    options = EnsembleOptions(
        members=tuple(given.members),
        held_out=tuple(given.held_out),
        recipe=recipe,
        tasks=given.tasks,
        compare=given.compare,
        output=given.output,
        submission=given.submission,
    )
    print(json.dumps(run_ensemble(options, Console(highlight=False, soft_wrap=True))))
    return 0


if __name__ == "__main__":
    end_process(main())
