"""Biases of relative positions other than a table by distance: a perceptron, and TensorFlow's table.

References:
    timm/layers/pos_embed_rel.py: `RelPosMlp` of its mode `cr`, `RelPosBiasTf`.
"""

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.convolutional import symmetric_uniform
from sketch_jax.models.layers import NORMAL, Dropout, Initializer, Linear
from sketch_jax.models.relative_positions import Bias, Pair, distance_indices, resize_distances

HIDDEN_DROPOUT = 0.125
"""Share of a perceptron's hidden features that training leaves out; timm always does."""


def log_distances(window: Pair) -> Float[np.ndarray, "distances 2"]:
    """Distances down and right, the order of `distance_indices`: the logarithm of 1 more, with their sign.

    Args:
        window: height and width in cells.

    >>> np.expm1(log_distances((1, 2))[:, 1]).round(1).tolist()
    [-0.5, 0.0, 1.0]
    """
    down, right = (np.arange(1 - size, size, dtype=np.float32) for size in window)
    distances = np.stack(np.meshgrid(down, right, indexing="ij"), -1).reshape(-1, 2)
    return np.sign(distances) * np.log1p(np.abs(distances))


class DistancePerceptron(nn.Module):
    """Two maps `fc1` and `fc2` with ReLU between them, float32."""

    hidden_features: int
    out_features: int
    kernel_init: Initializer
    bias_init: Initializer | None

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "distances coordinates"], train: bool
    ) -> Float[Array, "distances heads"]:
        """Maps each distance."""
        hidden = self._linear("fc1", inputs.shape[1], self.hidden_features)(inputs)
        thinned = Dropout(HIDDEN_DROPOUT)(jax.nn.relu(hidden), train)
        return self._linear("fc2", self.hidden_features, self.out_features)(thinned)

    def _linear(self, name: str, entering: int, features: int) -> Linear:
        bias_init = self.bias_init or symmetric_uniform(entering**-0.5)
        return Linear(features, True, self.kernel_init, bias_init, name=name)


class RelativePositionMlp(nn.Module):
    """A bias for each head and distance, from the distance by a perceptron `mlp`: it fits every window.

    Attributes:
        window: height and width in cells.
        num_heads: of the attention.
        hidden_features: of the perceptron.
        kernel_init: start of its kernels.
        bias_init: of its biases; None: as torch starts them.
    """

    window: Pair
    num_heads: int
    hidden_features: int
    kernel_init: Initializer = NORMAL
    bias_init: Initializer | None = nn.initializers.zeros

    def setup(self):
        """The perceptron."""
        self.mlp = DistancePerceptron(self.hidden_features, self.num_heads, self.kernel_init, self.bias_init)

    def __call__(self, train: bool) -> Bias:
        """The bias of each pair, float32."""
        biases = self.mlp(jnp.asarray(log_distances(self.window)), train)
        return biases[distance_indices(self.window)].transpose(2, 0, 1)


class RelativePositionBiasTf(nn.Module):
    """A learnt bias for each head and distance, as TensorFlow's MaxViT keeps it.

    Its parameter is `relative_position_bias_table` [heads, distances down, distances right], where distances
    are those of the asked cell from the asking one.

    Attributes:
        window: height and width in cells.
        num_heads: of the attention.
    """

    window: Pair
    num_heads: int

    @nn.compact
    def __call__(self) -> Bias:
        """The bias of each pair, float32."""
        shape = (self.num_heads, *(2 * size - 1 for size in self.window))
        table = self.param("relative_position_bias_table", NORMAL, shape, jnp.float32)
        return table.reshape(self.num_heads, -1)[:, distance_indices(self.window).T]


def resize_square_table(
    table: Float[np.ndarray | Array, "heads down right"], window: Pair
) -> Float[np.ndarray | Array, "heads new_down new_right"]:
    """A table of `RelativePositionBiasTf` for another window, as `resize_bias_table`; the same where it fits.

    Args:
        table: by TensorFlow's layout; may be traced.
        window: the new height and width in cells.
    """
    size = (2 * window[0] - 1, 2 * window[1] - 1)
    if table.shape[1:] == size:
        return table
    return resize_distances(table.transpose(1, 2, 0), size).transpose(2, 0, 1)
