"""Prints the page of supported models, docs/models.md: families, names, tags, measured differences.

    python -m convert document > docs/models.md

The differences are those of docs/verified.jsonl, which scripts/verify_models.py measures.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convert.extra import require

MODULES = (
    *("vision_transformer", "deit", "eva", "convnext", "maxxvit", "swin_transformer_v2", "swin_transformer"),
    *("efficientnet", "resnet", "regnet", "metaformer", "beit", "vgg", "mobilevit", "nfnet"),
)
"""timm's modules, in the order of the page; others follow by name."""

HEADER = """# Supported models

Made by `python -m convert document`. {names} architectures of timm {version}, with {tags} of its {all_tags}
pretrained tags: {starts} of them are a start, as `--model.pretrained timm/NAME.TAG`. The others:

{others}

Names and shapes of all parameters equal timm's, for every architecture (`python -m convert trees`). The
figures are differences from timm in float32, with every parameter and statistic random: the largest of any
feature and of any logit, absolute, and the largest of any gradient, relative to the largest value in its
tensor; where there is batch norm, in evaluation and in training. Their digits vary from machine to machine.
`python -m convert verify NAME` measures any of them, and refuses more than 1e-4 and 1e-3.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("docs/verified.jsonl"),
        metavar="FILE",
        help="measured differences, a line of `convert verify` each (default: docs/verified.jsonl)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the page; returns 0."""
    require("timm", "python -m convert document")
    import timm

    from sketch_jax.models.architectures import architecture_names

    tags = [tag for tag in timm.list_pretrained() if tag.partition(".")[0] in set(architecture_names())]
    others = other_tags(tags)
    header = HEADER.format(
        starts=len(tags) - sum(map(len, others.values())),
        others="\n".join(f"- {reason}: {', '.join(named)}." for reason, named in others.items()),
        names=len(architecture_names()),
        version=timm.__version__,
        tags=len(tags),
        all_tags=len(timm.list_pretrained()),
    )
    results = read_results(options.results)
    sections = [
        section(module, names, tags, results) for module, names in by_module(architecture_names()).items()
    ]
    print("\n".join([header, *sections]), end="")
    return 0


def other_tags(tags: Iterable[str]) -> dict[str, list[str]]:
    """Tags that are no start by their own name, by what stands in the way."""
    import timm

    others: dict[str, list[str]] = {}
    for tag in tags:
        config: Any = timm.models.get_pretrained_cfg(tag)
        _, height, width = config.input_size
        if height != width:
            others.setdefault("made for images that are not square, so refused", []).append(f"`{tag}`")
        elif config.hf_hub_id is None:
            others.setdefault("not on the hub; `convert to-flax` reads a downloaded file", []).append(
                f"`{tag}`"
            )
        elif config.hf_hub_id != f"timm/{tag}":
            elsewhere = "on the hub by another name, with `--model.name NAME`"
            others.setdefault(elsewhere, []).append(f"`{tag}` as `{config.hf_hub_id}`")
    return others


def by_module(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by timm's module, in the order of the page."""
    import timm

    left, modules = set(names), {}
    for module in dict.fromkeys([*MODULES, *sorted(timm.list_modules())]):
        there = sorted(left.intersection(timm.list_models(module=module)))
        if there:
            modules[module] = there
            left -= set(there)
    return modules


def read_results(path: Path) -> dict[str, Mapping[str, Any]]:
    """The newest result of each architecture."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {result["name"]: result for result in map(json.loads, lines)}


def section(
    module: str, names: Sequence[str], tags: Sequence[str], results: Mapping[str, Mapping[str, Any]]
) -> str:
    """A module's part of the page."""
    of_module = [tag for tag in tags if tag.partition(".")[0] in set(names)]
    lines = [
        f"## {module}",
        "",
        f"timm/models/{module}.py: {len(names)} architectures, {len(of_module)} tags.",
        "",
    ]
    measured = [results[name] for name in names if name in results]
    if measured:
        lines += [
            "| at full size | million parameters | features | logits | gradients |",
            "|---|---|---|---|---|",
        ]
    lines += [
        f"| `{result['name']}` | {result['parameters'] / 1e6:.1f} | {result['max_abs_features']:.1e} | "
        f"{result['max_abs_logits']:.1e} | {result['max_rel_gradient']:.1e} |"
        for result in measured
    ]
    lines += [""] if measured else []
    tags_of = {
        name: [tag.partition(".")[2] for tag in of_module if tag.startswith(f"{name}.")] for name in names
    }
    lines += [f"- `{name}`{': ' + ', '.join(tags_of[name]) if tags_of[name] else ''}" for name in names]
    return "\n".join([*lines, ""])
