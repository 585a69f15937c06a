"""Images per second of a train or inference step, beside the same model and batch in timm + torch, in turns.

    python benchmarks/train_step.py --model vit_small_patch16_224 --batch-size 16 --against timm

Each side lives in a process of its own, is warmed up, and then runs blocks of steps in turns (A B A B …), so
that a drift of the machine's speed touches both. Both prepare at once, so the seconds of compilation and of
the first step are longer than alone. Inputs are random images and labels that stay on the device;
our side keeps as many steps in flight as the loop of training does.
On a CPU both sides get the same threads, and torch the faster of its two layouts, each tried in a process
of its own; on a GPU torch runs bf16 autocast, channels-last and torch.compile, and we run bf16.

Prints one JSON line a side and, with --against, one with the ratio.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from sides.case import TUNINGS, Case, Side, trained_names
from sides.ours import prepare_jax
from sides.theirs import prepare_timm


def timed(side: Side) -> float:
    """Wall seconds of one block."""
    began = time.perf_counter()
    side.block()
    return time.perf_counter() - began


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes; on a GPU, the device's peak."""
    import sys

    if "jax" in sys.modules:
        import jax

        on_device = jax.local_devices()[0].memory_stats()
        if on_device:
            return on_device["peak_bytes_in_use"]
    elif "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PREPARE: dict[str, Callable[[Case], Side]] = {
    "sketch_jax": prepare_jax,
    "timm channels_last": functools.partial(prepare_timm, channels_last=True),
    "timm contiguous": functools.partial(prepare_timm, channels_last=False),
}
"""By the name of a side."""


def serve(connection: Connection, system: str, case: Case) -> None:
    """A side's process: prepares, reports its facts, then runs a block for each request until None comes."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the other side shares the device
    side = PREPARE[system](case)
    timed(side)
    connection.send(side.facts)
    while connection.recv() is not None:
        connection.send(timed(side))
    connection.send(peak_memory())


@contextmanager
def started(systems: list[str], case: Case) -> Iterator[list[tuple[Connection, dict[str, Any]]]]:
    """The processes of sides, which prepare at once, with their facts; ended on the way out."""
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    try:
        for system in systems:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, system, case), daemon=True)
            process.start()
            theirs.close()
            connections.append(ours)
            processes.append(process)
        yield [(connection, connection.recv()) for connection in connections]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def ask(connection: Connection) -> float:
    """Seconds of one block of the side."""
    connection.send("block")
    return connection.recv()


def result_line(case: Case, facts: dict[str, Any], seconds: list[float], peak_bytes: int) -> dict[str, Any]:
    """The JSON line of a side: medians over its blocks."""
    step_seconds = statistics.median(seconds) / case.steps
    line = {
        "model": case.model,
        "mode": case.mode,
        "tuning": case.tuning,
        "image_size": case.image_size,
        "batch_size": case.batch_size,
        "images_per_second": round(case.batch_size / step_seconds, 2),
        "step_milliseconds": round(step_seconds * 1000, 2),
        "peak_bytes": peak_bytes,
        **facts,
    }
    if facts.get("peak_flops") and facts.get("step_flops"):
        line["mfu"] = round(facts["step_flops"] / step_seconds / facts["peak_flops"], 4)
    return line


def faster_layout(case: Case) -> str:
    """The side of timm's that wins two blocks of three; on a GPU channels-last, untried."""
    import torch

    names = ["timm channels_last", "timm contiguous"]
    if torch.cuda.is_available():
        return names[0]
    with started(names, case) as sides:
        blocks = [[ask(connection) for connection, _ in sides] for _ in range(3)]
    return names[0] if sum(first < second for first, second in blocks) >= 2 else names[1]


def measure(case: Case, systems: list[str], turns: int) -> list[dict[str, Any]]:
    """Runs the sides in turns and returns their lines, and the line of their ratio."""
    with started(systems, case) as sides:
        seconds: list[list[float]] = [[] for _ in sides]
        for _ in range(turns):
            for taken, (connection, _) in zip(seconds, sides, strict=True):
                taken.append(ask(connection))
        for connection, _ in sides:
            connection.send(None)
        peaks = [connection.recv() for connection, _ in sides]
    lines = [
        result_line(case, facts, taken, peak)
        for (_, facts), taken, peak in zip(sides, seconds, peaks, strict=True)
    ]
    if len(sides) == 2:
        ratios = [theirs / ours for ours, theirs in zip(*seconds, strict=True)]
        shown = {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
        lines.append(
            {
                "model": case.model,
                "mode": case.mode,
                "tuning": case.tuning,
                "image_size": case.image_size,
                "batch_size": case.batch_size,
                "speed_over_timm": {name: round(ratio, 3) for name, ratio in shown.items()},
            }
        )
    return lines


def main() -> None:
    """Reads the command line, measures, prints JSON lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="timm's name of the architecture")
    parser.add_argument("--image-size", type=int, default=224, help="pixels")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--mode", choices=("train", "inference"), default="train")
    parser.add_argument("--steps", type=int, default=5, help="steps a block")
    parser.add_argument("--turns", type=int, default=5, help="blocks of each side")
    parser.add_argument("--arguments", type=json.loads, default={}, help="model arguments, as JSON")
    parser.add_argument("--remat", choices=("none", "all", "dots"), default="none", help="what to recompute")
    parser.add_argument(
        "--tuning",
        choices=TUNINGS,
        default="Everything",
        help="which parameters are trained; the other side trains the same (it has no low-rank changes)",
    )
    parser.add_argument("--against", choices=("timm",), help="the other side")
    options = parser.parse_args()
    if options.against and options.tuning == "Lora":
        parser.error("--tuning Lora: timm has no low-rank changes; leave --against out")
    names = [field.name for field in dataclasses.fields(Case) if field.name != "trained"]
    case = Case(**{name: getattr(options, name) for name in names})
    case = dataclasses.replace(case, trained=trained_names(case) if options.against else None)
    systems = ["sketch_jax"] + ([faster_layout(case)] if options.against else [])
    for line in measure(case, systems, options.turns):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
