"""Averages the parameters of finished runs to one model, which predicts at the cost of one of them.

    python scripts/soup.py runs/a runs/b runs/c --method greedy --output runs/soup
    python scripts/soup.py runs/folds --method uniform --output runs/mean
    python scripts/soup.py runs/a/checkpoints --method uniform --output runs/a_mean
    python scripts/soup.py runs/a --method wise-ft --output runs/a_robust

A member is a run, a cross-validation (all its folds), RUN/checkpoints (all that are kept of a run) or
RUN/checkpoints/STEP. First says of each member how good it is, how far from the first, and how high the loss
rises between them. Members of other architectures or other starts are refused, or left out by --leave-out.
Running statistics of batch norms are measured anew. The soup is a run of its own: scripts/predict.py,
scripts/ensemble.py and `python -m convert to-timm` take its directory. The last line is a summary in JSON.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from sketch_jax.command import guarded
from sketch_jax.ending import end_process

METHODS = {
    "uniform": "mean of all members",
    "greedy": "mean of members added best first, where held-out images are answered strictly better "
    "(arXiv:2203.05482)",
    "learned": "weights of each member, layer by layer, that lower the loss on held-out images",
    "wise-ft": "the best place between the start and one tuned model (arXiv:2109.01903)",
}


OPTIONS = {
    "greedy": ("passes",),
    "learned": ("steps", "learning_rate", "one_weight"),
    "wise-ft": ("shares",),
}
"""Options that one method alone has."""


def create_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/soup.py",
        description=f"{__doc__}\nmethods:\n"
        + "\n".join(f"  {way:<8} {what}" for way, what in METHODS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("members", metavar="RUN", type=Path, nargs="+", help="see above")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="new directory of the soup")
    parser.add_argument("--method", choices=tuple(METHODS), default="greedy", help="default: greedy")
    parser.add_argument(
        "--passes", metavar="N", type=int,
        help="of greedy: how often all that are not in the soup are gone through (default: 1)",
    )  # fmt: skip
    parser.add_argument("--steps", metavar="N", type=int, help="of learned: steps of Adam (default: 20)")
    parser.add_argument("--learning-rate", metavar="R", type=float, help="of learned: of Adam (default: 0.3)")
    parser.add_argument(
        "--one-weight", action="store_true", default=None,
        help="of learned: one weight a member, not one for each layer",
    )  # fmt: skip
    parser.add_argument(
        "--shares", metavar="S", type=float, nargs="+",
        help="of wise-ft: places tried, 0 is the start and 1 the tuned model (default: 0 0.2 0.4 0.6 0.8 1)",
    )  # fmt: skip
    parser.add_argument(
        "--highest-barrier", metavar="NATS", type=float, default=0.0,
        help="take members of another start, too, where the loss rises by at most this (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="go on without members that cannot be averaged with the first",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 2 bad input."""
    parser = create_parser()
    given = parser.parse_args(arguments)
    refuse_numbers(parser, given)
    return guarded(lambda: _run(given))


def refuse_numbers(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Refuses options of another method, and numbers out of their ranges."""
    for method, names in OPTIONS.items():
        for name in names:
            if getattr(given, name) is not None and given.method != method:
                parser.error(f"--{name.replace('_', '-')}: is of --method {method}, not of {given.method}")
    for name in ("passes", "steps"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: must be at least 1")
    if given.learning_rate is not None and not given.learning_rate > 0:
        parser.error(f"--learning-rate {given.learning_rate:g}: must be above 0")
    if outside := [share for share in given.shares or () if not 0 <= share <= 1]:
        parser.error(f"--shares {outside[0]:g}: must be from 0 to 1")


def _run(given: argparse.Namespace) -> int:
    from rich.console import Console

    from sketch_jax.ensemble.soups import Learning
    from sketch_jax.flows.soup import run_soup
    from sketch_jax.flows.soup_diagnosis import SoupOptions

    learning = Learning(
        steps=given.steps or 20, learning_rate=given.learning_rate or 0.3, by_layer=not given.one_weight
    )
    options = SoupOptions(
        members=tuple(given.members),
        output=given.output,
        method=given.method,
        passes=given.passes or 1,
        learning=learning,
        shares=tuple(given.shares or (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        leave_out=given.leave_out,
        highest_barrier=given.highest_barrier,
    )
    print(json.dumps(run_soup(options, Console(highlight=False, soft_wrap=True))))
    return 0


if __name__ == "__main__":
    end_process(main())
