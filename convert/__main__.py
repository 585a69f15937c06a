"""The command `python -m convert verify | trees | to-flax | to-timm | list | document`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from sketch_jax.command import guarded
from sketch_jax.ending import end_process

COMMANDS = {
    "verify": ("convert.verify", "compare a model with timm's: features, logits, gradients, names"),
    "trees": ("convert.trees", "compare names and shapes of parameters with timm's, for all architectures"),
    "to-flax": (
        "convert.to_flax",
        "convert weights, pickled ones too, to a directory with our names and layouts",
    ),
    "to-timm": ("convert.to_timm", "convert a run, or a directory that to-flax made, to timm's layout"),
    "list": ("convert.catalogue", "print the names of timm that are supported"),
    "document": ("convert.document", "print docs/models.md: families, names, tags, measured differences"),
}
"""What each command does, and the module with its `add_arguments(parser)` and `run(options) -> exit code`."""


def create_parser() -> argparse.ArgumentParser:
    """The command line; importing the commands' modules loads neither jax nor torch."""
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Converts weights between timm and this project, and verifies the conversion.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module_name, what) in COMMANDS.items():
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name,
            help=what,
            description=module.__doc__,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 verified and not equal, 2 bad input."""
    parser = create_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return 2
    options = parser.parse_args(arguments)
    return guarded(lambda: options.run(options))


if __name__ == "__main__":
    end_process(main())
