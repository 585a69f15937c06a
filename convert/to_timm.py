"""Converts a run's best checkpoint, or a directory that to-flax made, to timm's layout.

`timm.create_model("local-dir:DIR", pretrained=True)` loads the directory that is written.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "source", type=Path, metavar="RUN_OR_DIR", help="directory of a run, or of converted weights"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new directory to write")


def run(options: argparse.Namespace) -> int:
    """Writes the directory; returns 0."""
    from convert.exportable import open_exportable
    from sketch_jax.weights.export import write_timm_directory

    exportable = open_exportable(options.source)
    write_timm_directory(options.output, exportable.params, exportable.statistics, exportable.config)
    print(f"{options.output}: {exportable.config['architecture']} from {exportable.origin}")
    return 0
