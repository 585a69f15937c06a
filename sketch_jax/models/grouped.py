"""Grouped convolutions as a few dense ones: what the CPU does fastest, where XLA has only loops for them.

Neighbouring groups are joined until they have about as many channels as a product of matrices wants. What the
dense kernel of joined groups has between them is zero; its multiplications cost less than many small ones.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.sliding_windows import Features, Geometry, Kernel, Outputs

CHANNELS = 32
"""Of joined groups, as nearly as may be."""

MOST_PIECES = 64
"""Dense convolutions for one grouped one; more would take long to compile."""

Dense = Float[Array, "kernel_height kernel_width piece_in piece_out"]


def joined_groups(groups: int, channels: int) -> list[int]:
    """How many neighbouring groups go into each dense convolution.

    Args:
        groups: of the convolution.
        channels: of one group.

    >>> joined_groups(32, 4), joined_groups(2, 64), joined_groups(13, 8)
    ([8, 8, 8, 8], [1, 1], [5, 4, 4])
    """
    pieces = min(max(round(groups * channels / CHANNELS), 1), groups, MOST_PIECES)
    return [len(part) for part in np.array_split(np.arange(groups), pieces)]


def spread_kernel(kernel: Kernel, joined: int) -> Dense:
    """The dense kernel of joined groups: zero between channels of two groups."""
    height, width, channels, outputs = kernel.shape
    by_group = kernel.reshape(height, width, channels, joined, -1).transpose(0, 1, 3, 2, 4)
    apart = jnp.eye(joined, dtype=kernel.dtype).reshape(1, 1, joined, 1, joined, 1)
    return (by_group[:, :, :, :, None, :] * apart).reshape(height, width, joined * channels, outputs)


def gather_kernel(dense: Dense, joined: int) -> Kernel:
    """The kernel of joined groups from a dense one; what this has between the groups is left out."""
    height, width, inputs, outputs = dense.shape
    blocks = dense.reshape(height, width, joined, inputs // joined, joined, outputs // joined)
    own = jnp.diagonal(blocks, axis1=2, axis2=4)  # the groups come last
    return own.transpose(0, 1, 2, 4, 3).reshape(height, width, inputs // joined, outputs)


def cut(values: Array, joined: list[int]) -> list[Array]:
    """The parts of the last axis that belong to joined groups."""
    width = values.shape[-1] // sum(joined)
    ends = list(itertools.accumulate(joined))[:-1]
    return jnp.split(values, [end * width for end in ends], axis=-1)


def convolve_groups(
    convolve: Callable[..., Outputs], geometry: Geometry, inputs: Features, kernel: Kernel
) -> Outputs:
    """A grouped convolution by dense ones.

    Args:
        convolve: (geometry, inputs, kernel) -> outputs, of a dense convolution.
        geometry: of the grouped one.
        inputs: of all groups.
        kernel: of all groups.
    """
    joined, dense = joined_groups(geometry.groups, kernel.shape[2]), geometry._replace(groups=1)
    parts = zip(cut(inputs, joined), cut(kernel, joined), joined, strict=True)
    outputs = [convolve(dense, part, spread_kernel(own, count)) for part, own, count in parts]
    return jnp.concatenate(outputs, axis=3)


def group_gradients(
    gradients: Callable[..., tuple[Features, Kernel]],
    geometry: Geometry,
    inputs: Features,
    kernel: Kernel,
    cotangent: Outputs,
) -> tuple[Features, Kernel]:
    """The gradients of `convolve_groups`.

    Args:
        gradients: (geometry, inputs, kernel, cotangent) -> gradients of inputs and kernel, of a dense one.
        geometry: of the grouped convolution.
        inputs: of all groups.
        kernel: of all groups.
        cotangent: of the outputs.
    """
    joined, dense = joined_groups(geometry.groups, kernel.shape[2]), geometry._replace(groups=1)
    parts = zip(*(cut(values, joined) for values in (inputs, kernel, cotangent)), joined, strict=True)
    found: list[Any] = []
    for part, own, answer, count in parts:
        of_inputs, of_kernel = gradients(dense, part, spread_kernel(own, count), answer)
        found.append((of_inputs, gather_kernel(of_kernel, count)))
    of_inputs, of_kernels = zip(*found, strict=True)
    return jnp.concatenate(of_inputs, axis=3), jnp.concatenate(of_kernels, axis=3)
