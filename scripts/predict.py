"""Predicts with a finished run, or every fold of a cross-validation, through several views of each image.

    python scripts/predict.py runs/first --views identity horizontal_flip --submission out.csv
    python scripts/predict.py runs/folds --views d4 rotations --degrees -10 10 --merge learned --name turned

Writes below the run's predictions/: validation.npz or oof.npz, and test.npz with that of every fold, which
scripts/ensemble.py takes as a member. Prints how many held-out answers each view turns right and wrong; the
last line is a summary in JSON. Every distinct view is computed once.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from sketch_jax.command import guarded
from sketch_jax.ending import end_process
from sketch_jax.inference.view_options import VIEW_KINDS, Views

MERGES = {
    "mean_logits": "softmax of the mean of the logits",
    "mean": "mean of the probabilities",
    "geometric_mean": "of the probabilities",
    "max, min": "largest and smallest probability of each class",
    "sharpened_mean": "mean of the square roots of the probabilities (ttach's tsharpen)",
    "learned": "weights of each view for each class, learnt on held-out images (arXiv:2011.11156)",
}
HOW = [name for names in MERGES for name in names.split(", ")]
DEFAULTS = Views()
OF_VIEWS = {
    "scales": ("scales",),
    "degrees": ("rotations",),
    "crop": ("five_crop", "ten_crop"),
    "passes": ("color_jitter", "auto_augment"),
}
"""Views that an option is of."""


def create_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python scripts/predict.py",
        description=f"{__doc__}\nmerges:\n"
        + "\n".join(f"  {how:<16} {what}" for how, what in MERGES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="directory of a run, or of a cross-validation")
    parser.add_argument(
        "--views", metavar="VIEW", nargs="+", choices=VIEW_KINDS, default=list(DEFAULTS.kinds),
        help=f"of {', '.join(VIEW_KINDS)} (default: {' '.join(DEFAULTS.kinds)})",
    )  # fmt: skip
    parser.add_argument(
        "--scales", metavar="S", type=float, nargs="+",
        help=f"magnifications of the view scales (default: {DEFAULTS.scales})",
    )  # fmt: skip
    parser.add_argument(
        "--degrees", metavar="D", type=float, nargs="+",
        help=f"angles of the view rotations, counter-clockwise (default: {DEFAULTS.degrees})",
    )  # fmt: skip
    parser.add_argument(
        "--crop", metavar="SHARE", type=float,
        help=f"side of the crops, of the image's (default: {DEFAULTS.crop})",
    )  # fmt: skip
    parser.add_argument(
        "--passes", metavar="N", type=int,
        help=f"random views of color_jitter, and of auto_augment (default: {DEFAULTS.passes})",
    )  # fmt: skip
    parser.add_argument("--merge", choices=HOW, default="mean_logits", help="default: mean_logits")
    parser.add_argument(
        "--task", metavar="NAME", help="let the views count for this task alone, such as age (default: all)"
    )
    parser.add_argument(
        "--name", metavar="NAME", default="views", help="of the directory of predictions (default: views)"
    )
    parser.add_argument(
        "--submission", metavar="CSV", type=Path, help="write the answers for the test images there"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 done, 2 bad input."""
    parser = create_parser()
    given = parser.parse_args(arguments)
    for name, kinds in OF_VIEWS.items():
        if getattr(given, name) is not None and not set(kinds) & set(given.views):
            parser.error(f"--{name}: no view is {' or '.join(kinds)}; name one by --views, or leave it out")
    return guarded(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    from rich.console import Console

    views = Views(
        kinds=tuple(given.views),
        scales=DEFAULTS.scales if given.scales is None else tuple(given.scales),
        degrees=DEFAULTS.degrees if given.degrees is None else tuple(given.degrees),
        crop=DEFAULTS.crop if given.crop is None else given.crop,
        passes=DEFAULTS.passes if given.passes is None else given.passes,
    )
    from sketch_jax.flows.predict import PredictOptions, run_predict

    options = PredictOptions(
        run=given.run,
        views=views,
        merge=given.merge,
        task=given.task,
        name=given.name,
        submission=given.submission,
    )
    print(json.dumps(run_predict(options, Console(highlight=False, soft_wrap=True))))
    return 0


if __name__ == "__main__":
    end_process(main())
