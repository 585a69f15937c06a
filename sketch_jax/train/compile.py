"""Compiling a step ahead of time: what it costs is known before it runs."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled step and what the compiler says of it."""

    call: Callable[..., Any]
    seconds: float
    """Wall time of tracing and compiling."""
    flops: float | None
    """Floating-point operations of one call on one device, as the compiler counts them; None: not told."""
    peak_bytes: int | None
    """Bytes of arguments, results and temporary buffers on one device; None: not told."""


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
    compiled = jitted.lower(*arguments).compile()
    costs, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    return Compiled(
        call=compiled,
        seconds=time.perf_counter() - began,
        flops=costs.get("flops"),
        peak_bytes=None if memory is None else _peak_bytes(memory),
    )


def _peak_bytes(memory: Any) -> int:
    arguments_and_results = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return arguments_and_results - memory.alias_size_in_bytes + memory.temp_size_in_bytes


def abstract(tree: Any, sharding: Any) -> Any:
    """Shapes and types of a tree of arrays, placed by a sharding."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)
