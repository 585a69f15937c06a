"""The heads of timm's convolutional and window models: pooling, a norm, a hidden map, the classifier.

References:
    timm/layers/classifier.py.
"""

from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.convolutional import choose, symmetric_uniform
from sketch_jax.models.layers import Dropout, Initializer, Linear, Norm
from sketch_jax.models.pooling import GLOBAL_POOLS, FeatureMap

Pooled = Float[Array, "batch pooled"]


def torch_linear_init(width: int) -> Initializer:
    """How torch starts the weights and biases of a map from so many channels."""
    return symmetric_uniform(width**-0.5)


class ClassifierHead(nn.Module):
    """Pooling and the classifier `fc`.

    Attributes:
        width: channels of the pooled features.
        class_count: 0: no classifier, the answer is the pooled features.
        global_pool: timm's name of the pooling.
        dropout: rate before the classifier.
        kernel_init: start of the classifier's kernel; None: as torch's maps start.
        bias_init: as `kernel_init`.
    """

    width: int
    class_count: int
    global_pool: str = "avg"
    dropout: float = 0.0
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    def setup(self):
        """Dropout and the classifier."""
        self.finish_setup(self.width)

    def finish_setup(self, width: int):
        """What all heads share."""
        self.drop = Dropout(self.dropout)
        init = torch_linear_init(width)
        self.fc = Linear(self.class_count, True, self.kernel_init or init, self.bias_init or init)

    def pool(self, features: FeatureMap) -> Pooled:
        """The pooled features."""
        return choose(GLOBAL_POOLS, self.global_pool, "global_pool")(features)

    def __call__(self, features: FeatureMap, train: bool) -> Float[Array, "batch classes"]:
        """The logits, float32."""
        pooled = self.drop(self.pool(features), train).astype(jnp.float32)
        return self.fc(pooled) if self.class_count else pooled


class HiddenMap(nn.Module):
    """A map `fc` and an activation."""

    features: int
    act_layer: str
    kernel_init: Initializer
    bias_init: Initializer
    dtype: Any = jnp.float32

    def setup(self):
        """The map."""
        self.fc = Linear(self.features, True, self.kernel_init, self.bias_init, dtype=self.dtype)

    def __call__(self, inputs: Pooled) -> Float[Array, "batch hidden"]:
        """The hidden features."""
        return choose(ACTIVATIONS, self.act_layer, "act_layer")(self.fc(inputs))


class NormMlpClassifierHead(ClassifierHead):
    """Pooling, a norm, perhaps a hidden map, and the classifier `fc`.

    Attributes:
        norm_layer: of the pooled features.
        hidden_size: channels of the hidden map `pre_logits`; None: there is none.
        act_layer: of the hidden map.
    """

    norm_layer: Norm = Norm(epsilon=1e-5)
    hidden_size: int | None = None
    act_layer: str = "tanh"
    dtype: Any = jnp.float32

    def setup(self):
        """The norm, the hidden map and the classifier."""
        self.norm = self.norm_layer.create()
        if self.hidden_size:
            init = torch_linear_init(self.width)
            kernel_init, bias_init = self.kernel_init or init, self.bias_init or init
            self.pre_logits = HiddenMap(self.hidden_size, self.act_layer, kernel_init, bias_init, self.dtype)
        self.finish_setup(self.hidden_size or self.width)

    def pool(self, features: FeatureMap) -> jax.Array:
        """The pooled features, normalised, mapped where there is a hidden map."""
        normalized = self.norm(super().pool(features))
        return self.pre_logits(normalized) if self.hidden_size else normalized
