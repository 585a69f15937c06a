"""Blocks and stages of the ConvNeXt family, parameters named as in timm.

References:
    timm/models/convnext.py; timm/layers/grn.py.
"""

import dataclasses
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.activations import ACTIVATIONS, identity
from sketch_jax.models.convnext_table import ConvNeXt
from sketch_jax.models.convolutional import Conv, choose
from sketch_jax.models.half_precision import scale_channels
from sketch_jax.models.layers import NORMAL, NORMS, DropPath, Linear, Norm, recomputed
from sketch_jax.models.model_options import Remat
from sketch_jax.models.normalization import along_last_axis
from sketch_jax.models.pooling import FeatureMap, NewMap

MLP_RATIO = 4
"""Hidden channels of a perceptron, to those of its stage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a stage needs to know of its place."""

    in_channels: int
    channels: int
    kernel_size: int
    """Of the depthwise convolutions."""
    halves: bool
    """Whether a strided convolution comes before the blocks."""
    drop_path: tuple[float, ...]
    """Probability for each block, 0 to below 1."""


def plan_stages(architecture: ConvNeXt, drop_path: float) -> list[Place]:
    """The four stages, with drop path growing from 0 at the first block to its rate at the last."""
    sizes = architecture.kernel_sizes
    kernel_sizes = sizes if isinstance(sizes, tuple) else (sizes,) * len(architecture.depths)
    last = max(sum(architecture.depths) - 1, 1)
    places: list[Place] = []
    for stage, (depth, channels) in enumerate(zip(architecture.depths, architecture.dims, strict=True)):
        before = sum(architecture.depths[:stage])
        place = Place(
            in_channels=architecture.dims[max(stage - 1, 0)],
            channels=channels,
            kernel_size=kernel_sizes[stage],
            halves=stage > 0 or (architecture.stem_type == "patch" and architecture.patch_size == 2),
            drop_path=tuple(drop_path * (before + index) / last for index in range(depth)),
        )
        places.append(place)
    return places


def norm_of(architecture: ConvNeXt) -> Norm:
    """The norm of an architecture."""
    norm = NORMS[(architecture.norm_layer or "layernorm").removesuffix("2d")]
    epsilon = architecture.norm_eps
    return norm if epsilon is None else dataclasses.replace(norm, epsilon=epsilon)


class GlobalResponseNorm(nn.Module):
    """Scales each channel by its length over all cells, in proportion to the mean length of the channels.

    References:
        ConvNeXt V2 (arXiv:2301.00808).
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Adds the scaled channels to the inputs; lengths are float32."""
        shape = inputs.shape[-1:]
        scale = self.param("scale", nn.initializers.zeros, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        values = inputs.astype(jnp.float32)
        squares = jnp.square(values).sum((1, 2), keepdims=True)
        lengths = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)  # slope 0 at 0
        responses = lengths / (lengths.mean(-1, keepdims=True) + self.epsilon)
        factor = 1 + along_last_axis(scale, inputs) * responses
        return (values * factor + along_last_axis(bias, inputs)).astype(inputs.dtype)


class Perceptron(nn.Module):
    """Two maps of each cell's channels; between them an activation and perhaps a global response norm."""

    architecture: ConvNeXt
    channels: int
    dtype: Any = jnp.float32

    def setup(self):
        """The maps and what lies between them."""
        self.fc1 = self._map(MLP_RATIO * self.channels)
        self.act = choose(ACTIVATIONS, self.architecture.act_layer, "act_layer")
        self.grn = GlobalResponseNorm() if self.architecture.use_grn else identity
        self.fc2 = self._map(self.channels)

    def _map(self, features: int) -> nn.Module:
        if self.architecture.conv_mlp:
            return Conv(features, use_bias=True, kernel_init=NORMAL, dtype=self.dtype)
        return Linear(features, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Maps the channels."""
        return self.fc2(self.grn(self.act(self.fc1(inputs))))


class Block(nn.Module):
    """A depthwise convolution, a norm and a perceptron, beside the shortcut."""

    architecture: ConvNeXt
    channels: int
    kernel_size: int
    drop_path_rate: float
    """Probability that the residual branch is left out for an image."""
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        architecture, channels = self.architecture, self.channels
        self.conv_dw = Conv(
            channels,
            self.kernel_size,
            groups=channels,
            use_bias=architecture.conv_bias,
            kernel_init=NORMAL,
            dtype=self.dtype,
        )
        self.norm = norm_of(architecture).create()
        self.mlp = Perceptron(architecture, channels, self.dtype)
        self.gamma = self._create_gamma()
        self.drop_path = DropPath(self.drop_path_rate)

    def _create_gamma(self) -> jax.Array | None:
        start = self.architecture.ls_init_value
        if start is None:
            return None
        return self.param("gamma", nn.initializers.constant(start), (self.channels,), jnp.float32)

    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Adds the residual branch."""
        branch = self.mlp(self.norm(self.conv_dw(inputs)))
        if self.gamma is not None:
            branch = scale_channels(branch, self.gamma)
        return self.drop_path(branch, train) + inputs


class Stage(nn.Module):
    """Perhaps a norm and a convolution of 2×2 cells, to half the size; then blocks."""

    architecture: ConvNeXt
    place: Place
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Names as in timm."""
        place = self.place
        self.downsample = self._create_downsample() if place.halves else []
        kind = recomputed(Block, self.remat, (2,))
        self.blocks = [
            kind(self.architecture, place.channels, place.kernel_size, rate, self.dtype)
            for rate in place.drop_path
        ]

    def _create_downsample(self) -> list[nn.Module]:
        conv = Conv(
            self.place.channels,
            kernel_size=2,
            stride=2,
            pad_type="valid",
            use_bias=self.architecture.conv_bias,
            kernel_init=NORMAL,
            dtype=self.dtype,
        )
        return [norm_of(self.architecture).create(), conv]

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """The map of the stage."""
        outputs = inputs
        for part in self.downsample:
            outputs = part(outputs)
        for block in self.blocks:
            outputs = block(outputs, train)
        return outputs
