"""Prints timm's names of the supported architectures, one a line, and last a JSON line of counts.

The counts are of architectures here, and of the pretrained tags in timm's registry that they cover (null
without timm).
"""

import argparse
import fnmatch
import importlib.util
import json
from collections.abc import Iterable, Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="*", help="of names, such as 'vit_*' (default: all)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the list; returns 0."""
    from sketch_jax.models.architectures import architecture_names

    names = sorted(fnmatch.filter(architecture_names(), options.pattern))
    print("\n".join([*names, json.dumps({"supported": len(names), "timm_tags": count_tags(names)})]))
    return 0


def count_tags(names: Sequence[str]) -> int | None:
    """Pretrained tags of these architectures in timm's registry; None when timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        return None
    import timm

    return count_covered(names, timm.list_pretrained())


def count_covered(names: Iterable[str], tags: Iterable[str]) -> int:
    """How many `architecture.tag` are of these architectures.

    >>> count_covered(["resnet18"], ["resnet18.a1_in1k", "resnet18.tv_in1k", "resnet18d.ra2_in1k"])
    2
    """
    supported = frozenset(names)
    return sum(tag.partition(".")[0] in supported for tag in tags)
