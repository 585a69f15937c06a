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
from typing import Any, Literal

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is timed."""

    model: str
    image_size: int
    batch_size: int
    classes: int
    mode: str
    steps: int
    arguments: dict[str, Any]
    remat: Literal["none", "all", "dots"]


def random_batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [batch, height, width, 3] and labels [batch]."""
    generator = np.random.default_rng(0)
    shape = (case.batch_size, case.image_size, case.image_size, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    return images, generator.integers(0, case.classes, case.batch_size).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Side:
    """A side ready to run: `block()` takes the case's steps and waits for the last."""

    block: Callable[[], None]
    facts: dict[str, Any]


def prepare_jax(case: Case) -> Side:
    """Our step, compiled ahead of time."""
    import jax
    from jax import numpy as jnp

    from sketch_jax.data.records import Batch
    from sketch_jax.models.architectures import create_model
    from sketch_jax.train.host_memory import keep_freed_memory

    keep_freed_memory()
    on_cpu = jax.default_backend() == "cpu"
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    model = create_model(
        case.model,
        arguments=case.arguments,
        class_count=case.classes,
        image_size=case.image_size,
        dtype=dtype,
        remat=case.remat,
    )
    params, batch_statistics = jax.jit(model.init)(jax.random.key(0))
    images, labels = random_batch(case)
    rows = np.arange(case.batch_size, dtype=np.int32)
    batch = jax.device_put(Batch(images, labels, np.ones(case.batch_size, bool), rows))
    prepare = prepare_training if case.mode == "train" else prepare_inference
    compiled, once = prepare(case, model, params, batch_statistics, batch)
    facts = jax_facts(compiled, jnp.dtype(dtype).name)
    if case.remat != "none" and case.mode == "train":
        facts["step_flops"] = None  # those that are computed again are not the model's
    return Side(functools.partial(run_paced, once, case.steps), facts)


def prepare_training(
    case: Case, model: Any, params: Any, statistics: Any, batch: Any
) -> tuple[Any, Callable[[], Any]]:
    """The compiled train step, and a call of it that goes on from the last state."""
    import jax
    import optax
    from jax import numpy as jnp

    from sketch_jax.losses.create import create_loss
    from sketch_jax.losses.options import CrossEntropy
    from sketch_jax.optim.optimizer import create_optimizer
    from sketch_jax.optim.options import AdamW
    from sketch_jax.preprocessing import Preprocessing
    from sketch_jax.train.compile import compile_step
    from sketch_jax.train.state import create_state
    from sketch_jax.train.step import make_train_step

    def plain(key, step, images, labels, mask):
        return images.astype(jnp.float32) / 255.0, jax.nn.one_hot(labels, case.classes)

    schedule = optax.constant_schedule(1e-4)
    optimizer = create_optimizer(AdamW(), schedule)
    loss = create_loss(CrossEntropy(), np.ones(case.classes, np.int64)).loss
    preprocessing = Preprocessing(image_size=case.image_size)
    step = make_train_step(model, preprocessing, plain, optimizer, schedule, loss)
    state, key = create_state(params, statistics, optimizer), jax.random.key(1)
    compiled = compile_step(step, state, {}, batch, key, donate=(0,))

    def once() -> Any:
        nonlocal state
        state, metrics = compiled.call(state, {}, batch, key)
        return metrics["loss"]

    return compiled, once


def prepare_inference(
    case: Case, model: Any, params: Any, statistics: Any, batch: Any
) -> tuple[Any, Callable[[], Any]]:
    """The compiled prediction, and a call of it."""
    from sketch_jax.preprocessing import Preprocessing
    from sketch_jax.train.compile import compile_step
    from sketch_jax.train.step import make_predict_step

    predict = make_predict_step(model, Preprocessing(image_size=case.image_size))
    compiled = compile_step(predict, params, statistics, batch.images)
    return compiled, lambda: compiled.call(params, statistics, batch.images)


def jax_facts(compiled: Any, dtype: str) -> dict[str, Any]:
    """What is told of our side beside its speed."""
    import jax

    from sketch_jax.train.devices import device_peak_flops

    device = jax.devices()[0]
    return {
        "system": "sketch_jax",
        "versions": {"jax": jax.__version__},
        "device": device.device_kind,
        "dtype": dtype,
        "compile_seconds": round(compiled.seconds, 2),
        "step_flops": compiled.flops,
        "compiler_peak_bytes": compiled.peak_bytes,
        "peak_flops": device_peak_flops(device.device_kind, dtype),
    }


def run_paced(once: Callable[[], Any], steps: int) -> None:
    """Runs steps as the loop of training does, with as many of them in flight."""
    import jax

    from sketch_jax.train.loop import best_steps_in_flight

    in_flight, results = best_steps_in_flight(jax.default_backend()), []
    for _ in range(steps):
        results.append(once())
        if len(results) > in_flight:
            jax.block_until_ready(results[-1 - in_flight])
    assert all(np.isfinite(result).all() for result in jax.device_get(results))


def prepare_timm(case: Case, channels_last: bool) -> Side:
    """timm's model and optimizer in torch, as its scripts run them."""
    import timm
    import timm.optim
    import torch

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model: Any = timm.create_model(case.model, num_classes=case.classes, **_timm_size(case), **case.arguments)
    model = model.to(device=device, memory_format=layout)
    images, labels = random_batch(case)
    inputs = torch.tensor(images, device=device).permute(0, 3, 1, 2).float().div(255.0).sub(0.5).div(0.25)
    inputs = inputs.contiguous(memory_format=layout)
    targets = torch.tensor(labels.astype(np.int64), device=device)
    runnable: Any = torch.compile(model) if on_gpu else model
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05)

    def train_once() -> Any:
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            loss = criterion(runnable(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def infer_once() -> Any:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            return runnable(inputs)

    model.train(case.mode == "train")
    once = train_once if case.mode == "train" else infer_once

    def block() -> None:
        result = None
        for _ in range(case.steps):
            result = once()
        assert result is not None
        assert bool(torch.isfinite(result).all())

    began = time.perf_counter()
    once()
    facts = {
        "system": "timm",
        "versions": {"timm": timm.__version__, "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads",
        "dtype": "bfloat16" if on_gpu else "float32",
        "layout": "channels_last" if channels_last else "contiguous",
        "first_step_seconds": round(time.perf_counter() - began, 2),
    }
    return Side(block, facts)


def _timm_size(case: Case) -> dict[str, int]:
    takes_size = any(part in case.model for part in ("vit", "deit", "eva", "swin", "beit", "coat", "max"))
    return {"img_size": case.image_size} if takes_size else {}


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
    parser.add_argument("--against", choices=("timm",), help="the other side")
    options = parser.parse_args()
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(Case)}
    case = Case(**fields)
    systems = ["sketch_jax"] + ([faster_layout(case)] if options.against else [])
    for line in measure(case, systems, options.turns):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
