"""Depthwise convolutions on this device: the times, compile times and error of each formulation.

    python benchmarks/depthwise.py [--form NAME …] [--case BATCHxSIDExCHANNELSxKERNELxSTRIDE …]

Prints a JSON line a case and form. Times are medians of blocks, milliseconds; `floor` is what reading and
writing the least number of bytes takes at --bandwidth. The error is relative, of 2-norms, against float32.
`sketch_jax.models.convolution` takes "cpu" on the CPU and "xla" elsewhere; docs/log.md has what was found.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from sketch_jax.models import convolution
from sketch_jax.models.depthwise import depthwise_inputs_gradient
from sketch_jax.models.sliding_windows import Geometry, pad_edges, seen_by, taps

CASES = (
    "256x112x32x3x1",
    "256x112x96x3x2",
    "256x28x240x5x1",
    "256x14x384x3x1",
    "128x56x96x7x1",
    "128x14x384x7x1",
)
"""Of MobileNetV2, EfficientNet and ConvNeXt at 224 pixels."""


def gradients_by_sums(geometry: Geometry, inputs: Any, kernel: Any, cotangent: Any) -> tuple[Any, Any]:
    """The kernel's gradient as one plain sum a tap."""
    wide, weights, slope = (array.astype(jnp.float32) for array in (inputs, kernel, cotangent))
    of_inputs = depthwise_inputs_gradient(geometry, wide, weights, slope)
    padded = pad_edges(wide, *geometry.padding)
    sums = [
        (seen_by(tap, geometry, padded, (slope.shape[1], slope.shape[2])) * slope).sum((0, 1, 2))
        for tap in taps(kernel)
    ]
    return of_inputs.astype(inputs.dtype), jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)


Form = tuple[Callable[..., Any], Callable[..., Any]]

FORMS: dict[str, Form] = {
    "xla": (convolution.convolve_plainly, convolution.gradients_plainly),
    "cpu": (convolution.convolve_on_cpu, convolution.gradients_on_cpu),
    "sums": (convolution.convolve_on_cpu, gradients_by_sums),
}
"""Forward and gradients, by name."""


def pick(gradients: Callable[..., Any], place: int) -> Callable[..., Any]:
    """One of two gradients; the compiler leaves the other out."""
    return lambda *arrays: gradients(*arrays)[place]


def time_call(function: Callable[..., Any], *arguments: Any) -> tuple[float, float, Any]:
    """Milliseconds of a call, seconds of its compilation, and its result."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    result = jax.block_until_ready(compiled(*arguments))
    blocks = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10):
            last = compiled(*arguments)
        jax.block_until_ready(last)
        blocks.append((time.perf_counter() - began) / 10 * 1000)
    return statistics.median(blocks), compile_seconds, result


def error(found: Any, exact: Any) -> float:
    """|found - exact| / |exact| over all arrays."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    apart = [(np.asarray(a, np.float32) - np.asarray(b), np.asarray(b)) for a, b in pairs]
    return float(np.max([np.linalg.norm(difference) / np.linalg.norm(size) for difference, size in apart]))


def measure(case: str, forms: list[str], bandwidth: float | None) -> None:
    """Prints the lines of a case."""
    batch, side, channels, size, stride = map(int, case.split("x"))
    before, after = (size - 1) // 2, size // 2
    geometry = Geometry((stride, stride), ((before, after), (before, after)), channels, (1, 1))
    keys = jax.random.split(jax.random.key(0), 3)
    out_side = -(-side // stride)
    inputs = jax.random.normal(keys[0], (batch, side, side, channels), jnp.bfloat16)
    kernel = jax.random.normal(keys[1], (size, size, 1, channels), jnp.bfloat16)
    cotangent = jax.random.normal(keys[2], (batch, out_side, out_side, channels), jnp.bfloat16)
    wide = [
        array[:2].astype(jnp.float32) if array is not kernel else kernel.astype(jnp.float32)
        for array in (inputs, kernel, cotangent)
    ]
    with jax.default_matmul_precision("highest"):
        exact = jax.jit(functools.partial(convolution.convolve_on_cpu, geometry))(*wide[:2])
        exact_gradients = jax.jit(functools.partial(convolution.gradients_on_cpu, geometry))(*wide)
    for form in forms:
        forward, gradients = (functools.partial(part, geometry) for part in FORMS[form])
        line: dict[str, Any] = {"case": case, "form": form, "device": jax.devices()[0].device_kind}
        of_inputs, of_kernel = (pick(gradients, place) for place in (0, 1))
        parts = {
            "forward": (forward, inputs, kernel),
            "inputs": (of_inputs, inputs, kernel, cotangent),
            "kernel": (of_kernel, inputs, kernel, cotangent),
        }
        for part, (function, *arguments) in parts.items():
            milliseconds, seconds, _ = time_call(function, *arguments)
            line[part] = round(milliseconds, 3)
            line[f"{part}_compile"] = round(seconds, 1)
        few = [inputs[:2], kernel, cotangent[:2]]
        line["error"] = float(
            f"{error([jax.jit(forward)(*few[:2]), *jax.jit(gradients)(*few)], [exact, *exact_gradients]):.2g}"
        )
        if bandwidth:
            line["floor"] = round((inputs.nbytes + cotangent.nbytes) / bandwidth * 1000, 3)
        print(json.dumps(line), flush=True)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--case", nargs="+", default=list(CASES))
    parser.add_argument("--bandwidth", type=float, help="bytes a second of the device's memory")
    options = parser.parse_args()
    for case in options.case:
        measure(case, options.form, options.bandwidth)


if __name__ == "__main__":
    main()
