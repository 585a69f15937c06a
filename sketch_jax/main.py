"""The command `python -m sketch_jax.main --config configs/NAME.py [--field.path value …]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.policies.text import parse_policy
from sketch_jax.command import guarded
from sketch_jax.config import Config, read_config
from sketch_jax.ending import end_process
from sketch_jax.errors import InputError
from sketch_jax.kinds import choices_under, choose_kinds, refuse_misplaced_options, with_field
from sketch_jax.train.signals import leave_on_interrupt

POLICY_OPTION = "--augmentation.policy"

WHEN_FULL = (
    "choose a smaller --batch-size, or on an accelerator the same batch in parts by --accumulation-steps 2 "
    "or more, or --model.remat all, or a smaller model or images"
)
"""What to do where a device has no room for a run."""

DESCRIPTION = """Fine-tunes a pretrained vision model on labelled images and predicts the test set.

`--config FILE` names a configuration: a Python file with get_config(), or the config.json of an earlier run.
Every option below overrides one of its fields; the defaults shown are the file's.
A field that can be of several kinds takes one by name, and --help then shows the options of that kind
(`--augmentation.policy` takes timm's strings, too, such as rand-m9-mstd0.5-inc1):

{kinds}

Started again with the same --output-dir, an interrupted run goes on where it was."""


def split_config_option(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Separates `--config FILE` (or `--config=FILE`) from the overrides."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    known, rest = parser.parse_known_args(list(arguments))
    return known.config, rest


def parse_config(arguments: Sequence[str]) -> Config:
    """The configuration of a command line.

    Raises:
        InputError: no `--config`, or its file is not a configuration.
        SystemExit: after `--help`, or when tyro refuses an option; its message is printed.
    """
    path, overrides = split_config_option(arguments)
    helping = any(argument in ("-h", "--help") for argument in overrides)
    if path is None and not helping:
        raise InputError(
            "--config is missing: name a configuration, such as\n"
            "  python -m sketch_jax.main --config configs/quickstart.py\n"
            "--help lists what can be overridden"
        )
    default = read_config(path) if path is not None else Config(name="NAME")
    default, overrides = read_policy(*choose_kinds(default, overrides, tyro.MISSING))
    refuse_misplaced_options(default, overrides)
    return tyro.cli(
        Config,
        default=default,
        args=overrides,
        prog="python -m sketch_jax.main --config FILE",
        description=DESCRIPTION.format(kinds=kinds_text(default)),
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def read_policy(config: Config, arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """The configuration with the policy that `--augmentation.policy` gives as timm's string, and the rest.

    Raises:
        InputError: the augmentation is in stages, or the string is no policy.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(POLICY_OPTION)
    known, rest = parser.parse_known_args(list(arguments))
    (text,) = vars(known).values()
    if text is None:
        return config, rest
    policy = None if text == "None" else parse_policy(text)
    if not isinstance(config.augmentation, Augmentation):
        raise InputError(
            f"{POLICY_OPTION} {text}: the augmentation is in stages, of which each has a policy of its own; "
            "write it in the configuration file"
        )
    augmentation = with_field(config.augmentation, "policy", policy)
    return with_field(config, "augmentation", augmentation), rest


def kinds_text(config: Config) -> str:
    """A line for each field that can be of several kinds."""
    return "\n".join(
        f"  {option} {'|'.join(kinds)} (here {current})" for option, kinds, current in choices_under(config)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    0 is done, 2 bad input, 141 that whoever read the output left, 143 or 130 stopped by a signal.
    """
    return guarded(lambda: _run(sys.argv[1:] if arguments is None else arguments), when_full=WHEN_FULL)


def _run(arguments: Sequence[str]) -> int:
    with leave_on_interrupt("stopped before training"):
        config = parse_config(arguments)
        print(f"{config.name}: starting JAX", flush=True)
        if config.folds is not None:
            from sketch_jax.flows.folds import run_folds  # here, so that --help loads no jax

            return run_folds(config).exit_code
        from sketch_jax.run import run

        return run(config).exit_code


if __name__ == "__main__":
    end_process(main())
