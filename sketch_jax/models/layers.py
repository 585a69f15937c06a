"""Linen parts that families share: linear maps, norms, multilayer perceptrons, dropout.

Parameters are float32 and are cast to the compute type where they are used; statistics of norms are float32.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import ACTIVATIONS, identity
from sketch_jax.models.half_precision import add_to_channels, scale_channels
from sketch_jax.models.model_options import Remat
from sketch_jax.models.normalization import Hidden, along_last_axis, layer_norm

Initializer = Callable[..., Array]

INITIAL_DEVIATION = 0.02
"""Standard deviation of new weights in timm's transformers."""

NEAR_ZERO = 1e-6
"""Standard deviation of new tokens and gates in timm's transformers."""

TRUNCATED_NORMAL: Initializer = nn.initializers.truncated_normal(INITIAL_DEVIATION, lower=-100, upper=100)
"""timm's, which cuts off at ±2, a hundred deviations away."""

NORMAL: Initializer = nn.initializers.normal(INITIAL_DEVIATION)


def last_kernel_init(depth: int) -> Initializer:
    """Start of the kernels that end a branch: the deeper the block, the smaller.

    Args:
        depth: index of the block, from 0.
    """
    return nn.initializers.normal(INITIAL_DEVIATION / (2.0 * (depth + 1)) ** 0.5)


def recomputed(module: Any, remat: Remat, static_argnums: tuple[int, ...]) -> Any:
    """A module class, or a method of one, whose activations are computed again in the backward pass.

    Args:
        module: returned as it is where `remat` is `none`.
        remat: what is kept: everything, nothing but the inputs (`all`), or the products of matrices (`dots`).
        static_argnums: arguments that are no arrays, such as `train`; the module itself is number 0.
    """
    if remat == "none":
        return module
    kept = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    return nn.remat(module, static_argnums=static_argnums, policy=kept)


class Linear(nn.Module):
    """An affine map of the last axis; `kernel` is [in, out].

    It runs as one product of two matrices: with more axes, XLA on a CPU takes the weight's gradient through
    transposed copies, each of which repeats the sum of all gradients after it (ViT-S: 2.7 times the step).
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = NORMAL
    bias_init: Initializer = nn.initializers.zeros
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*axes in"], columns: slice | None = None
    ) -> Float[Array, "*axes out"]:
        """Maps the last axis; with `columns`, to these features alone."""
        shape = (inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, shape[1:], jnp.float32) if self.use_bias else None
        if columns is not None:
            kernel, bias = kernel[:, columns], None if bias is None else bias[columns]
        outputs = inputs.reshape(-1, shape[0]).astype(self.dtype) @ kernel.astype(self.dtype)
        if bias is not None:
            outputs = add_to_channels(outputs, bias)
        return outputs.reshape(*inputs.shape[:-1], -1)


class Dropout(nn.Module):
    """Leaves out values, each with probability `rate`, and scales up the others."""

    rate: float | Array
    """Traced where blocks run as a loop."""

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """Thins the values in training."""
        return self._thin(inputs, inputs.shape) if train and self.thins else inputs

    @property
    def thins(self) -> bool:
        """Whether anything is left out in training."""
        return not isinstance(self.rate, int | float) or self.rate > 0

    def _thin(self, inputs: Array, mask_shape: tuple[int, ...]) -> Array:
        kept_share = 1.0 - self.rate
        kept = jax.random.bernoulli(self.make_rng("dropout"), kept_share, mask_shape)
        return jnp.where(kept, inputs / jnp.asarray(kept_share, inputs.dtype), jnp.zeros_like(inputs))


class DropPath(Dropout):
    """Stochastic depth: leaves out a residual branch for whole images, each with probability `rate`."""

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """Thins the images in training."""
        mask_shape = (inputs.shape[0],) + (1,) * (inputs.ndim - 1)
        return self._thin(inputs, mask_shape) if train and self.thins else inputs


class LayerScale(nn.Module):
    """A learnt factor for each channel of a residual branch."""

    initial_value: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Hidden) -> Hidden:
        """Scales the channels."""
        init = nn.initializers.constant(self.initial_value)
        gamma = self.param("gamma", init, (inputs.shape[-1],), jnp.float32)
        return scale_channels(inputs, gamma)


class LayerNorm(nn.Module):
    """Layer normalisation of the last axis."""

    epsilon: float
    scale_init: Initializer = nn.initializers.ones
    use_bias: bool = True

    @nn.compact
    def __call__(self, inputs: Hidden) -> Hidden:
        """Normalises, in the type of the inputs."""
        scale = self.param("scale", self.scale_init, (inputs.shape[-1],), jnp.float32)
        if not self.use_bias:
            return layer_norm(inputs, scale, jnp.zeros_like(scale), self.epsilon)
        bias = self.param("bias", nn.initializers.zeros, (inputs.shape[-1],), jnp.float32)
        return layer_norm(inputs, scale, bias, self.epsilon)


class RmsNorm(nn.Module):
    """Root-mean-square normalisation of the last axis: no mean, no bias."""

    epsilon: float
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, inputs: Hidden) -> Hidden:
        """Normalises, in the type of the inputs."""
        scale = self.param("scale", self.scale_init, (inputs.shape[-1],), jnp.float32)
        values = inputs.astype(jnp.float32)
        normalized = values * lax.rsqrt(self.squared_size(values) + self.epsilon)
        return (normalized * along_last_axis(scale, inputs)).astype(inputs.dtype)

    def squared_size(self, values: Hidden) -> Float[Array, "*axes 1"]:
        """The mean square; its root divides the last axis."""
        return (values * values).mean(-1, keepdims=True)


class SimpleNorm(RmsNorm):
    """Division of the last axis by its standard deviation; the mean, which is scaled too, stays.

    References:
        timm/layers/norm.py, `SimpleNorm`.
    """

    def squared_size(self, values: Hidden) -> Float[Array, "*axes 1"]:
        """The unbiased variance; its root divides the last axis."""
        return values.var(-1, ddof=1, keepdims=True)


NORM_KINDS: dict[str, type[LayerNorm] | type[RmsNorm]] = {
    "layer": LayerNorm,
    "root_mean_square": RmsNorm,
    "simple": SimpleNorm,
}
"""By the `kind` of a `Norm`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm:
    """Which norm of the last axis."""

    kind: Literal["layer", "root_mean_square", "simple"] = "layer"
    epsilon: float = 1e-6

    def create(self, scale_init: Initializer = nn.initializers.ones) -> LayerNorm | RmsNorm:
        """A norm with parameters of its own."""
        return NORM_KINDS[self.kind](self.epsilon, scale_init)


LAYER_NORM = Norm()

NORMS: dict[str, Norm] = {
    "layernorm": LAYER_NORM,
    "rmsnorm": Norm(kind="root_mean_square"),
    "simplenorm": Norm(kind="simple"),
}
"""Norms by timm's names."""


def gate_kernel_init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """The kernel of values and gates side by side: gates start near zero."""
    values_key, gates_key = jax.random.split(key)
    half = (*shape[:-1], shape[-1] // 2)
    values = INITIAL_DEVIATION * jax.random.normal(values_key, half, dtype)
    return jnp.concatenate([values, NEAR_ZERO * jax.random.normal(gates_key, half, dtype)], axis=-1)


def gate_bias_init(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """The bias of values and gates side by side: gates start open."""
    half = shape[0] // 2
    return jnp.concatenate([jnp.zeros(half, dtype), jnp.ones(shape[0] - half, dtype)])


class Mlp(nn.Module):
    """A multilayer perceptron on each token.

    References:
        timm/layers/mlp.py: `Mlp` here, `SwiGLUPacked` and `SwiGLU` in the subclasses.
    """

    hidden_features: int
    """Channels that leave the first map."""
    out_features: int
    act_layer: str = "gelu"
    norm_layer: Norm | None = None
    """Of the hidden features, after the activation."""
    use_bias: bool = True
    dropout: float = 0.0
    last_init: Initializer = NORMAL
    """Start of the last map's kernel."""
    gates_start_open: bool = True
    """Whether new gates let everything through; else they start as the values do."""
    dtype: Any = jnp.float32
    kernel_init: Initializer = NORMAL
    """Start of the other kernels."""

    def setup(self):
        """Two maps, and what lies between them."""
        self.fc1 = self.linear(self.hidden_features)
        self.finish_setup()

    def finish_setup(self):
        """What all kinds of perceptron share."""
        self.act = ACTIVATIONS[self.act_layer]
        self.drop1 = Dropout(self.dropout)
        self.norm = identity if self.norm_layer is None else self.norm_layer.create()
        self.fc2 = self.linear(self.out_features, self.last_init)
        self.drop2 = Dropout(self.dropout)

    def linear(
        self,
        features: int,
        kernel_init: Initializer | None = None,
        bias_init: Initializer = nn.initializers.zeros,
    ) -> Linear:
        """A map with the perceptron's settings."""
        return Linear(features, self.use_bias, kernel_init or self.kernel_init, bias_init, dtype=self.dtype)

    def activate(self, inputs: Hidden) -> Float[Array, "*axes hidden"]:
        """The hidden features."""
        return self.act(self.fc1(inputs))

    def __call__(self, inputs: Hidden, train: bool) -> Float[Array, "*axes out"]:
        """Maps the channels of each token."""
        hidden = self.norm(self.drop1(self.activate(inputs), train))
        return self.drop2(self.fc2(hidden), train)


class PackedSwiGlu(Mlp):
    """A perceptron with gates; `fc1` makes gates and values at once, each of half the hidden features.

    The first half are the gates; new weights start as in timm, which takes the second half for them.
    """

    def setup(self):
        """Two maps, and what lies between them."""
        inits = (gate_kernel_init, gate_bias_init) if self.gates_start_open else ()
        self.fc1 = self.linear(self.hidden_features, *inits)
        self.finish_setup()

    def activate(self, inputs: Hidden) -> Float[Array, "*axes hidden"]:
        """The gated hidden features."""
        gates, values = jnp.split(self.fc1(inputs), 2, axis=-1)
        return self.act(gates) * values


class SwiGlu(Mlp):
    """A perceptron with gates; `fc1_g` makes the gates, `fc1_x` the values."""

    def setup(self):
        """Three maps, and what lies between them."""
        inits = (nn.initializers.normal(NEAR_ZERO), nn.initializers.ones) if self.gates_start_open else ()
        self.fc1_g = self.linear(self.hidden_features, *inits)
        self.fc1_x = self.linear(self.hidden_features)
        self.finish_setup()

    def activate(self, inputs: Hidden) -> Float[Array, "*axes hidden"]:
        """The gated hidden features."""
        return self.act(self.fc1_g(inputs)) * self.fc1_x(inputs)


MLPS: dict[str, type[Mlp]] = {"Mlp": Mlp, "SwiGLUPacked": PackedSwiGlu, "SwiGLU": SwiGlu}
"""Perceptrons by timm's names."""
