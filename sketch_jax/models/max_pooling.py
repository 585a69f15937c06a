"""Max-pool of [batch, height, width, channels] as torch has it, with a gradient per backend.

XLA's own gradient looks for the largest cell of each window again and scatters to it: on a CPU this takes
five times as long as comparing each tap with the result. Both give a tie to the first cell of the window, row
by row.
"""

import functools
import itertools

import jax
from jax import lax
from jax import numpy as jnp

from sketch_jax.models.pooling import FeatureMap, NewMap, window_paddings


def _pooled(window: int, stride: int, padding: int, inputs: FeatureMap) -> NewMap:
    """XLA's own pooling."""
    paddings = window_paddings(inputs, window, stride, padding, False)
    return lax.reduce_window(
        inputs, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), paddings
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(inputs: FeatureMap, window: int, stride: int, padding: int = 0) -> NewMap:
    """Largest value of each window; padding never wins. Differentiable once, in reverse mode.

    Args:
        inputs: the feature map.
        window: cells.
        stride: cells.
        padding: cells on each of the four sides.
    """
    return _pooled(window, stride, padding, inputs)


def _forward(
    inputs: FeatureMap, window: int, stride: int, padding: int
) -> tuple[NewMap, tuple[FeatureMap, NewMap]]:
    outputs = _pooled(window, stride, padding, inputs)
    return outputs, (inputs, outputs)


def _backward(
    window: int, stride: int, padding: int, kept: tuple[FeatureMap, NewMap], cotangent: NewMap
) -> tuple[FeatureMap]:
    cpu = functools.partial(_by_taps, window, stride, padding)
    default = functools.partial(_by_scatter, window, stride, padding)
    return (lax.platform_dependent(*kept, cotangent, cpu=cpu, default=default),)


max_pool.defvjp(_forward, _backward)


def _by_scatter(
    window: int, stride: int, padding: int, inputs: FeatureMap, outputs: NewMap, cotangent: NewMap
) -> FeatureMap:
    """XLA's own gradient."""
    del outputs
    return jax.vjp(functools.partial(_pooled, window, stride, padding), inputs)[1](cotangent)[0]


def _by_taps(
    window: int, stride: int, padding: int, inputs: FeatureMap, outputs: NewMap, cotangent: NewMap
) -> FeatureMap:
    """Each tap of the windows gets the cotangent where it holds the result and no tap before it does.

    Taps that fall on the same phase of the stride are added as they lie; the phases are then interleaved.
    """
    padded = jnp.pad(
        inputs, window_paddings(inputs, window, stride, padding, False), constant_values=-jnp.inf
    )
    batch, height, width, channels = padded.shape
    rows, columns = -(-height // stride), -(-width // stride)
    shares: dict[tuple[int, int], list[jax.Array]] = {}
    free = jnp.ones(outputs.shape, bool)
    for down, right in itertools.product(range(window), repeat=2):
        holds = free & (_tap(padded, outputs, down, right, stride) == outputs)
        free &= ~holds
        share = _moved(jnp.where(holds, cotangent, 0), down // stride, right // stride, rows, columns)
        shares.setdefault((down % stride, right % stride), []).append(share)
    nothing = jnp.zeros((batch, rows, columns, channels), cotangent.dtype)
    phases = [
        jnp.stack([sum(shares.get((row, column), [nothing])) for column in range(stride)], 3)
        for row in range(stride)
    ]
    gradient = jnp.stack(phases, 2).reshape(batch, rows * stride, columns * stride, channels)
    return gradient[:, padding : padding + inputs.shape[1], padding : padding + inputs.shape[2]]


def _tap(padded: jax.Array, outputs: NewMap, down: int, right: int, stride: int) -> NewMap:
    """The cell at the same place of every window."""
    batch, rows, columns, channels = outputs.shape
    stop = (batch, down + (rows - 1) * stride + 1, right + (columns - 1) * stride + 1, channels)
    return lax.slice(padded, (0, down, right, 0), stop, (1, stride, stride, 1))


def _moved(values: jax.Array, down: int, right: int, rows: int, columns: int) -> jax.Array:
    """The values, moved by some cells in a map of this many rows and columns."""
    after = rows - values.shape[1] - down, columns - values.shape[2] - right
    return jnp.pad(values, ((0, 0), (down, after[0]), (right, after[1]), (0, 0)))
