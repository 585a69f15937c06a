"""Max-pool of [batch, height, width, channels] as torch has it, with a formulation per backend.

On a CPU XLA's own pooling and its gradient, which looks for the largest cell of each window again and
scatters to it, take five times as long as they must. There the columns of each window are compared first,
then its rows: the gradient is that of two one-dimensional pools. All give a tie to the first cell of the
window, row by row.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp

from sketch_jax.models.pooling import FeatureMap, NewMap, window_paddings

ROWS, COLUMNS = 1, 2


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
    return _fastest_pool(window, stride, padding, inputs)


def _fastest_pool(window: int, stride: int, padding: int, inputs: FeatureMap) -> NewMap:
    """The formulation of the backend."""
    cpu = functools.partial(_pooled_by_axes, window, stride, padding)
    default = functools.partial(_pooled, window, stride, padding)
    return lax.platform_dependent(inputs, cpu=cpu, default=default)


def _forward(
    inputs: FeatureMap, window: int, stride: int, padding: int
) -> tuple[NewMap, tuple[FeatureMap, NewMap]]:
    outputs = _fastest_pool(window, stride, padding, inputs)
    return outputs, (inputs, outputs)


def _backward(
    window: int, stride: int, padding: int, kept: tuple[FeatureMap, NewMap], cotangent: NewMap
) -> tuple[FeatureMap]:
    cpu = functools.partial(_by_axes, window, stride, padding)
    default = functools.partial(_by_scatter, window, stride, padding)
    return (lax.platform_dependent(*kept, cotangent, cpu=cpu, default=default),)


max_pool.defvjp(_forward, _backward)


def _by_scatter(
    window: int, stride: int, padding: int, inputs: FeatureMap, outputs: NewMap, cotangent: NewMap
) -> FeatureMap:
    """XLA's own gradient."""
    del outputs
    return jax.vjp(functools.partial(_pooled, window, stride, padding), inputs)[1](cotangent)[0]


def _pooled_by_axes(window: int, stride: int, padding: int, inputs: FeatureMap) -> NewMap:
    """The largest of the largest cells of each row of a window."""
    in_rows = _largest(_padded(window, stride, padding, inputs), window, stride, COLUMNS)
    return _largest(in_rows, window, stride, ROWS)


def _by_axes(
    window: int, stride: int, padding: int, inputs: FeatureMap, outputs: NewMap, cotangent: NewMap
) -> FeatureMap:
    """The cotangent goes to the first row that holds the result, then to the first column of that row."""
    padded = _padded(window, stride, padding, inputs)
    in_rows = _largest(padded, window, stride, COLUMNS)
    of_rows = _shared_out(in_rows, outputs, cotangent, window, stride, ROWS)
    gradient = _shared_out(padded, in_rows, of_rows, window, stride, COLUMNS)
    return gradient[:, padding : padding + inputs.shape[1], padding : padding + inputs.shape[2]]


def _padded(window: int, stride: int, padding: int, inputs: FeatureMap) -> NewMap:
    """The inputs among cells that are never the largest."""
    paddings = window_paddings(inputs, window, stride, padding, False)
    return jnp.pad(inputs, paddings, constant_values=-jnp.inf)


def _taps(values: jax.Array, window: int, stride: int, axis: int) -> list[jax.Array]:
    """For each place of a window along an axis: the cells there, of all windows."""
    reach = (values.shape[axis] - window) // stride * stride + 1
    return [lax.slice_in_dim(values, tap, tap + reach, stride, axis) for tap in range(window)]


def _largest(values: jax.Array, window: int, stride: int, axis: int) -> jax.Array:
    """Largest cell of each window along one axis."""
    return functools.reduce(jnp.maximum, _taps(values, window, stride, axis))


def _shared_out(
    values: jax.Array, outputs: jax.Array, cotangent: jax.Array, window: int, stride: int, axis: int
) -> jax.Array:
    """The gradient of `_largest`: each window's cotangent to the first of its cells that holds the result.

    Taps that fall on the same phase of the stride are added as they lie; the phases are then interleaved.
    """
    count = -(-values.shape[axis] // stride)
    phases = [jnp.zeros((), cotangent.dtype)] * stride
    free = jnp.ones(outputs.shape, bool)
    for tap, cells in enumerate(_taps(values, window, stride, axis)):
        holds = free & (cells == outputs)
        free &= ~holds
        share = jnp.where(holds, cotangent, jnp.zeros((), cotangent.dtype))
        phases[tap % stride] += _moved(share, tap // stride, count, axis)
    shape = [count if place == axis else size for place, size in enumerate(values.shape)]
    stacked = jnp.stack([jnp.broadcast_to(phase, shape) for phase in phases], axis + 1)
    shape[axis] *= stride
    return lax.slice_in_dim(stacked.reshape(shape), 0, values.shape[axis], 1, axis)


def _moved(values: jax.Array, distance: int, size: int, axis: int) -> jax.Array:
    """The values, moved by some cells along an axis of this size."""
    edges = [(0, 0, 0)] * values.ndim
    edges[axis] = (distance, size - values.shape[axis] - distance, 0)
    return lax.pad(values, jnp.zeros((), values.dtype), edges)
