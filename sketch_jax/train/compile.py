"""Compiling a step ahead of time: what it costs is known before it runs."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from sketch_jax.train.flops import count_flops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled step and what the compiler says of it."""

    call: Callable[..., Any]
    seconds: float
    """Wall time of tracing and compiling."""
    flops: float
    """Floating-point operations of one call on all devices together (`count_flops`)."""
    peak_bytes: int | None
    """Bytes of arguments, results and temporary buffers on one device; None: not told."""


CPU_OPTIONS = {
    # YNN's convolutions keep one core busy where there are fewer than 128 channels; Eigen's keep all.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
}
"""What XLA is told when a step is compiled for the CPU; docs/log.md has the measurements."""

WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}
"""Added on processors that do not slow down for wide vectors: those with `WIDE_VECTORS_FROM`."""

WIDE_VECTORS_FROM = "avx512_bf16"
"""Instructions that came with or after cheap vectors of 512 bits: Zen 4, Cooper Lake, Sapphire Rapids."""


def compile_step(
    function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = (), out_shardings: Any = None
) -> Compiled:
    """Compiles a pure function for arguments of given shapes, types and shardings.

    Args:
        function: what to compile.
        *arguments: pytrees of arrays, or of `jax.ShapeDtypeStruct` with shardings.
        donate: positions of arguments whose buffers the function may reuse.
        out_shardings: where results live; None: as the compiler likes.
    """
    began = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=donate, out_shardings=out_shardings)
    traced = jitted.trace(*arguments)
    compiled = compile_for(jax.default_backend(), traced.lower())
    memory = compiled.memory_analysis()
    return Compiled(
        call=compiled,
        seconds=time.perf_counter() - began,
        flops=count_flops(traced.jaxpr),
        peak_bytes=None if memory is None else _peak_bytes(memory),
    )


def compile_for(backend: str, lowered: Any) -> Any:
    """Compiles with the options of a backend, or without those that this XLA does not know.

    Args:
        backend: of JAX, such as "cpu".
        lowered: a `jax.stages.Lowered`.
    """
    if backend != "cpu":
        return lowered.compile()
    options = CPU_OPTIONS | (WIDE_VECTORS if WIDE_VECTORS_FROM in processor_features() else {})
    while options:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            known = {option: value for option, value in options.items() if option not in str(error)}
            if known == options:
                raise
            options = known
    return lowered.compile()


def processor_features(file: str = "/proc/cpuinfo") -> set[str]:
    """Instruction sets of the first processor as Linux names them; empty elsewhere."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())


def _peak_bytes(memory: Any) -> int:
    arguments_and_results = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return arguments_and_results - memory.alias_size_in_bytes + memory.temp_size_in_bytes


def abstract(tree: Any, sharding: Any) -> Any:
    """Shapes and types of a tree of arrays, placed by a sharding."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
