"""Grouped convolutions as a few dense ones: what the CPU does fastest, where XLA has only loops for them.

Neighbouring groups are joined until they have about as many channels as a product of matrices wants. What the
dense kernel of joined groups has between them is zero; its multiplications cost less than many small ones.
"""

import math
from collections.abc import Callable
from typing import Any

from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.sliding_windows import Features, Geometry, Kernel, Outputs

CHANNELS = 32
"""Of joined groups, as nearly as the number of groups allows."""

MOST_PIECES = 64
"""Dense convolutions for one grouped one; more would take long to compile."""

Pieces = Float[Array, "pieces kernel_height kernel_width piece_in piece_out"]


def joined_groups(groups: int, channels: int) -> int:
    """How many neighbouring groups go into one dense convolution.

    Args:
        groups: of the convolution.
        channels: of one group.

    >>> joined_groups(32, 4), joined_groups(32, 32), joined_groups(13, 8), joined_groups(256, 2)
    (8, 1, 13, 16)
    """
    divisors = [number for number in range(1, groups + 1) if groups % number == 0]
    few = [number for number in divisors if groups // number <= MOST_PIECES]
    return min(few, key=lambda number: abs(math.log2(number * channels / CHANNELS)))


def spread_kernel(kernel: Kernel, groups: int, joined: int) -> Pieces:
    """Dense kernels of joined groups: zero between channels of two groups."""
    height, width, channels, outputs = kernel.shape
    shape = height, width, channels, groups // joined, joined, outputs // groups
    by_piece = kernel.reshape(shape).transpose(3, 0, 1, 4, 2, 5)
    apart = jnp.eye(joined, dtype=kernel.dtype).reshape(1, 1, 1, joined, 1, joined, 1)
    spread = by_piece[:, :, :, :, :, None, :] * apart
    return spread.reshape(groups // joined, height, width, joined * channels, -1)


def gather_kernel(pieces: Pieces, groups: int, joined: int) -> Kernel:
    """The grouped kernel of dense ones; what these have between the groups is left out."""
    count, height, width, inputs, outputs = pieces.shape
    shape = count, height, width, joined, inputs // joined, joined, outputs // joined
    own = jnp.diagonal(pieces.reshape(shape), axis1=3, axis2=5)  # the groups come last
    return own.transpose(1, 2, 3, 0, 5, 4).reshape(height, width, inputs // joined, count * outputs)


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
    joined = joined_groups(geometry.groups, kernel.shape[2])
    pieces, dense = spread_kernel(kernel, geometry.groups, joined), geometry._replace(groups=1)
    parts = jnp.split(inputs, len(pieces), axis=3)
    outputs = [convolve(dense, part, piece) for part, piece in zip(parts, pieces, strict=True)]
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
    joined = joined_groups(geometry.groups, kernel.shape[2])
    pieces, dense = spread_kernel(kernel, geometry.groups, joined), geometry._replace(groups=1)
    parts = jnp.split(inputs, len(pieces), axis=3), jnp.split(cotangent, len(pieces), axis=3)
    found: list[Any] = [
        gradients(dense, part, piece, own)
        for part, piece, own in zip(parts[0], pieces, parts[1], strict=True)
    ]
    of_inputs, of_pieces = zip(*found, strict=True)
    return jnp.concatenate(of_inputs, axis=3), gather_kernel(jnp.stack(of_pieces), geometry.groups, joined)
