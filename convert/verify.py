"""Compares a model with timm's: features, logits and gradients of the same weights and images.

Without --weights every parameter and statistic is random. Prints one JSON line; exits with 1 when anything is
outside the tolerance: 1e-4 for features, logits and updated running statistics, 1e-3 relative for gradients.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping

from convert.extra import require

TOLERANCES = {
    "max_abs_logits": 1e-4,
    "max_abs_features": 1e-4,
    "max_rel_gradient": 1e-3,
    "max_abs_statistics": 1e-4,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("name", metavar="NAME", help="timm's name of the architecture, such as resnet18")
    parser.add_argument(
        "--weights",
        metavar="SOURCE",
        help="real weights: a hub name, local-dir:PATH or a .safetensors file; without it random values",
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="pixels; without it the model's own")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images, at least 2; without it 4, or more where they are small",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of values and images (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Prints the comparison; returns 0 when it is within the tolerances, else 1."""
    require("timm", "python -m convert verify")
    from convert.parity import compare

    result = compare(
        options.name,
        source=options.weights,
        image_size=options.image_size,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    print(to_json_line(result), flush=True)
    for fault in faults(result):
        print(fault, file=sys.stderr)
    return 1 if faults(result) else 0


def faults(result: Mapping[str, str | float | bool]) -> list[str]:
    """Differences that are not small, and whether names do not lead back; none where all is well.

    >>> good = dict.fromkeys(TOLERANCES, 1e-6) | {"round_trip": True}
    >>> faults(good), faults(good | {"max_abs_logits": float("nan")})
    ([], ['max_abs_logits nan: must be at most 0.0001'])
    """
    found = [
        f"{name} {result[name]:.3g}: must be at most {tolerance:g}"
        for name, tolerance in TOLERANCES.items()
        if not float(result[name]) <= tolerance
    ]
    return found + (
        [] if result["round_trip"] is True else ["round_trip false: names do not lead back to timm's"]
    )


def to_json_line(result: Mapping[str, str | float | bool]) -> str:
    """The comparison as JSON, which has no number for what is not finite.

    >>> to_json_line({"name": "x", "max_abs_logits": float("inf")})
    '{"name": "x", "max_abs_logits": null}'
    """
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.items()
    }
    return json.dumps(finite)
