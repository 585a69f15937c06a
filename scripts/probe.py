"""Trains many heads on a frozen backbone whose features are computed once.

    python scripts/probe.py --config configs/quickdraw.py --views 8 --heads linear 512 --rates 1e-3 3e-3 1e-2

The pooled features of every image, and of so many augmented views of each training image (for every stage of
a curriculum), are kept in ~/.cache/sketch_jax/features under a hash of all that they depend on; a pass that
was stopped goes on. Heads of all folds, seeds and rates are then trained together, as the config's loss,
optimizer, schedule, epochs and batch size say. Every other option is a field of the config, as for
sketch_jax.main; what such heads do not heed (averaging, sampling, patience, …) is refused. Writes, below
runs/NAME-probe, predictions/TRIAL of every trial, which scripts/ensemble.py takes as members, and those of
the trial that is best by --selection.metric. The last line is a summary in JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from sketch_jax.command import guarded
from sketch_jax.ending import end_process
from sketch_jax.main import parse_config


def head(text: str) -> tuple[int, ...]:
    """Widths of hidden layers: `linear` has none.

    >>> head("linear"), head("512"), head("512,256")
    ((), (512,), (512, 256))
    """
    widths = () if text == "linear" else tuple(int(width) for width in text.split(","))
    if any(width < 1 for width in widths):
        raise ValueError("widths are at least 1")
    return widths


def create_parser() -> argparse.ArgumentParser:
    """The command's own options."""
    parser = argparse.ArgumentParser(
        prog="python scripts/probe.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --config FILE [options] [--field.path value ...]",
    )  # fmt: skip
    parser.add_argument(
        "--heads", metavar="HEAD", type=head, nargs="+", default=[()],
        help="linear, or widths of hidden layers such as 512 or 512,256 (default: linear)",
    )  # fmt: skip
    parser.add_argument("--folds", metavar="N", type=int, default=5, help="of cross-validation (default: 5)")
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="repetitions (default: 1)")
    parser.add_argument(
        "--rates",
        metavar="R",
        type=float,
        nargs="+",
        default=[],
        help="learning rates (default: the config's)",
    )
    parser.add_argument(
        "--decays",
        metavar="D",
        type=float,
        nargs="+",
        default=[],
        help="weight decays (default: the config's)",
    )
    parser.add_argument(
        "--views", metavar="K", type=int, default=8,
        help="augmented views of each training image; 0: the image alone (default: 8)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 2 bad input."""
    parser = create_parser()
    given, rest = parser.parse_known_args(arguments)
    for name, value, least in (
        ("folds", given.folds, 2),
        ("seeds", given.seeds, 1),
        ("views", given.views, 0),
    ):
        if value < least:
            parser.error(f"--{name} {value}: must be at least {least}")
    for name, values in (("rates", given.rates), ("decays", given.decays)):
        if wrong := [value for value in values if not value >= 0]:
            parser.error(f"--{name} {wrong[0]:g}: must be at least 0")
    return guarded(
        lambda: _run(given, rest),
        when_full="choose a smaller --batch-size, fewer --seeds or --rates, or a smaller model",
    )


def _run(given: argparse.Namespace, rest: Sequence[str]) -> int:
    config = parse_config(rest)
    from rich.console import Console

    from sketch_jax.flows.probe import ProbeOptions, run_probe

    options = ProbeOptions(
        config=config,
        heads=tuple(given.heads),
        folds=given.folds,
        seeds=given.seeds,
        rates=tuple(given.rates),
        decays=tuple(given.decays),
        views=given.views,
    )
    print(json.dumps(run_probe(options, Console(highlight=False, soft_wrap=True))))
    return 0


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
