"""Compares names and shapes of parameters and statistics with timm's, without making one of them.

Ours come from jax.eval_shape, timm's from torch's meta device. Prints what differs, and last a JSON line;
exits with 1 when anything does.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping

from convert.extra import require

CLASSES = 1000

Shapes = Mapping[str, tuple[int, ...]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="timm's architectures; without any: all")


def run(options: argparse.Namespace) -> int:
    """Prints what differs; returns 0 when nothing does, else 1."""
    require("timm", "python -m convert trees")
    import timm

    from sketch_jax.models.architectures import architecture_names

    known = set(timm.list_models())
    names = options.names or [name for name in architecture_names() if name in known]
    began, differing = time.monotonic(), []
    for count, name in enumerate(names, 1):
        faults = differences(our_shapes(name), timm_shapes(name))
        if faults:
            differing.append(name)
            print("\n".join([f"{name}:", *(f"  {fault}" for fault in faults)]), flush=True)
        left = (time.monotonic() - began) / count * (len(names) - count)
        print(f"\r{count}/{len(names)}, {left:.0f} s left  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(json.dumps({"compared": len(names), "differing": differing}), flush=True)
    return 1 if differing else 0


def our_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of our model in timm's layout, by timm's names, at the architecture's own image size."""
    import jax

    from sketch_jax.models.architectures import create_model, default_image_size
    from sketch_jax.trees import flatten
    from sketch_jax.weights.names import timm_axes, timm_name, timm_statistic_name

    model = create_model(name, class_count=CLASSES, image_size=default_image_size(name))
    params, statistics = map(flatten, jax.eval_shape(model.init, jax.random.key(0)))
    shapes = {
        timm_name(path): tuple(leaf.shape[axis] for axis in timm_axes(path, len(leaf.shape)))
        for path, leaf in params.items()
    }
    return shapes | {timm_statistic_name(path): leaf.shape for path, leaf in statistics.items()}


def timm_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of timm's model; counters of batches are left out."""
    import timm
    import torch

    from sketch_jax.weights.names import COUNTER

    with torch.device("meta"):
        state = timm.create_model(name, num_classes=CLASSES).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith(COUNTER)}


def differences(ours: Shapes, theirs: Shapes) -> list[str]:
    """What differs, one line a tensor.

    >>> differences({"a": (1,), "b": (2,)}, {"b": (3,), "c": (4,)})
    ['a: (1,) here, not in timm', 'b: (2,) here, (3,) in timm', 'c: not here, (4,) in timm']
    """
    return [
        f"{name}: {ours.get(name, 'not')} here, {theirs.get(name, 'not')} in timm"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
