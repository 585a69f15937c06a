"""Blocks of the MetaFormer family: what mixes places, a perceptron, and scales beside both.

References:
    timm/models/metaformer.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.models.activations import Activation, gelu, identity
from sketch_jax.models.attention import Attention
from sketch_jax.models.convolutional import Conv, GroupNorm, choose, run
from sketch_jax.models.half_precision import add_to_channels, scale_channels
from sketch_jax.models.layers import NORMAL, DropPath, LayerNorm, Linear, recomputed
from sketch_jax.models.metaformer_table import InitialScale, MetaFormer
from sketch_jax.models.model_options import Remat
from sketch_jax.models.pooling import FeatureMap, NewMap, average_pool

HEAD_WIDTH = 32
"""Channels of an attention head."""

MLP_RATIO = 4
"""Hidden channels of a perceptron to those of the map."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """What a block needs to know of its place."""

    width: int
    token_mixer: str
    norm_layer: str
    layer_scale: InitialScale
    res_scale: InitialScale
    drop_path: float
    """Probability, 0 to below 1."""

    @property
    def is_convolutional(self) -> bool:
        """Whether the maps of the block are convolutions in timm; else they are linear."""
        return self.token_mixer != "Attention"


def of_stage(value: Any, stage: int) -> Any:
    """The value of a stage, from one for all or one for each."""
    return value[stage] if isinstance(value, tuple) else value


def plan_stages(architecture: MetaFormer, drop_path: float) -> list[list[Place]]:
    """The blocks of each stage, with drop path growing from 0 at the first block to its rate at the last."""
    last = max(sum(architecture.depths) - 1, 1)
    return [
        [
            Place(
                width=architecture.dims[stage],
                token_mixer=of_stage(architecture.token_mixers, stage),
                norm_layer=of_stage(architecture.norm_layers, stage),
                layer_scale=of_stage(architecture.layer_scale_init_values, stage),
                res_scale=of_stage(architecture.res_scale_init_values, stage),
                drop_path=drop_path * (sum(architecture.depths[:stage]) + index) / last,
            )
            for index in range(depth)
        ]
        for stage, depth in enumerate(architecture.depths)
    ]


def make_norm(name: str, dtype: Any) -> nn.Module:
    """A norm with parameters of its own, by timm's name; those of groups have one group."""
    norms: dict[str, Callable[[], nn.Module]] = {
        "GroupNorm1": lambda: GroupNorm(1, dtype=dtype),
        "GroupNorm1NoBias": lambda: GroupNorm(1, epsilon=1e-6, use_bias=False, dtype=dtype),
        "LayerNorm2dNoBias": lambda: LayerNorm(1e-6, use_bias=False),
        "LayerNormNoBias": lambda: LayerNorm(1e-6, use_bias=False),
    }
    return choose(norms, name, "norm_layers")()


class StarRelu(nn.Module):
    """The square of ReLU, with a learnt factor and summand: `scale_` and `bias`, [1]."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "*axes width"]) -> Float[Array, "*axes width"]:
        """Activates each value."""
        scale = self.param("scale_", nn.initializers.ones, (1,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (1,), jnp.float32)
        return add_to_channels(scale_channels(squared_relu(inputs), scale), bias)


def squared_relu(inputs: Array) -> Array:
    """The square of ReLU (arXiv:2109.08668)."""
    return jnp.square(jax.nn.relu(inputs))


ACTIVATIONS: dict[str, Callable[[], Activation]] = {"StarReLU": StarRelu, "GELU": lambda: gelu}
"""Makers of activations, by timm's names."""


class Scale(nn.Module):
    """A learnt factor for each channel: `scale_`."""

    initial_value: float

    @nn.compact
    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Scales the channels."""
        init = nn.initializers.constant(self.initial_value)
        scale = self.param("scale_", init, (inputs.shape[-1],), jnp.float32)
        return scale_channels(inputs, scale)


def optional_scale(initial_value: InitialScale) -> Activation:
    """A scale with parameters of its own, or the identity."""
    return identity if initial_value is None else Scale(initial_value)


class LocalAverage(nn.Module):
    """The mean of each place and its neighbours, less the place itself."""

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Mixes the places."""
        return average_pool(inputs, 3, 1, 1, count_include_pad=False) - inputs


class SeparableConv(nn.Module):
    """A depthwise 7×7 convolution of twice the channels, between two 1×1."""

    width: int
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        middle = 2 * self.width
        self.pwconv1 = Conv(middle, kernel_init=NORMAL, dtype=self.dtype)
        self.act1 = StarRelu()
        self.dwconv = Conv(middle, 7, groups=middle, kernel_init=NORMAL, dtype=self.dtype)
        self.pwconv2 = Conv(self.width, kernel_init=NORMAL, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Mixes the places."""
        return self.pwconv2(self.dwconv(self.act1(self.pwconv1(inputs))))


class MapAttention(Attention):
    """Attention of all places to one another."""

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Mixes the places."""
        tokens = inputs.reshape(inputs.shape[0], -1, inputs.shape[3])
        return super().__call__(tokens, False).reshape(inputs.shape)


def make_mixer(place: Place, dtype: Any) -> nn.Module:
    """What mixes the places of a block's map."""
    mixers: dict[str, Callable[[], nn.Module]] = {
        "Pooling": LocalAverage,
        "SepConv": lambda: SeparableConv(place.width, dtype=dtype),
        "Attention": lambda: MapAttention(
            place.width, place.width // HEAD_WIDTH, proj_bias=False, dtype=dtype
        ),
    }
    return choose(mixers, place.token_mixer, "token_mixers")()


class Perceptron(nn.Module):
    """Two maps of the channels of each place; 1×1 convolutions where the block's maps are."""

    place: Place
    act_layer: str
    use_bias: bool
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.fc1 = self._map(MLP_RATIO * self.place.width)
        self.act = choose(ACTIVATIONS, self.act_layer, "mlp_act")()
        self.fc2 = self._map(self.place.width)

    def _map(self, features: int) -> nn.Module:
        kind = Conv if self.place.is_convolutional else Linear
        return kind(features, use_bias=self.use_bias, kernel_init=NORMAL, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap) -> FeatureMap:
        """Maps the channels."""
        return self.fc2(self.act(self.fc1(inputs)))


class MetaFormerBlock(nn.Module):
    """Mixes places, then channels; each is added to its scaled inputs."""

    architecture: MetaFormer
    place: Place
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        architecture, place = self.architecture, self.place
        self.norm1 = make_norm(place.norm_layer, self.dtype)
        self.token_mixer = make_mixer(place, self.dtype)
        self.layer_scale1 = optional_scale(place.layer_scale)
        self.res_scale1 = optional_scale(place.res_scale)
        self.norm2 = make_norm(place.norm_layer, self.dtype)
        self.mlp = Perceptron(place, architecture.mlp_act, architecture.mlp_bias, self.dtype)
        self.layer_scale2 = optional_scale(place.layer_scale)
        self.res_scale2 = optional_scale(place.res_scale)
        self.drop_path = DropPath(place.drop_path)

    def __call__(self, inputs: FeatureMap, train: bool) -> FeatureMap:
        """Adds both residual branches."""
        branch = self.drop_path(run([self.norm1, self.token_mixer], inputs, train), train)
        mixed = self.res_scale1(inputs) + self.layer_scale1(branch)
        branch = self.drop_path(run([self.norm2, self.mlp], mixed, train), train)
        return self.res_scale2(mixed) + self.layer_scale2(branch)


class Downsampling(nn.Module):
    """A norm, if any, and a 3×3 convolution that halves the map."""

    width: int
    norm_layer: str | None
    dtype: Any = jnp.float32

    def setup(self):
        """Names as in timm."""
        self.norm = identity if self.norm_layer is None else make_norm(self.norm_layer, self.dtype)
        self.conv = Conv(self.width, 3, 2, use_bias=True, kernel_init=NORMAL, dtype=self.dtype)

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """The smaller map."""
        return run([self.norm, self.conv], inputs, train)


class MetaFormerStage(nn.Module):
    """Downsampling, where the channels change, and blocks."""

    architecture: MetaFormer
    places: tuple[Place, ...]
    in_channels: int
    dtype: Any = jnp.float32
    remat: Remat = "none"

    def setup(self):
        """Names as in timm."""
        width, norm_layer = self.places[0].width, self.architecture.downsample_norm
        self.downsample = (
            None if width == self.in_channels else Downsampling(width, norm_layer, dtype=self.dtype)
        )
        kind = recomputed(MetaFormerBlock, self.remat, (2,))
        self.blocks = [kind(self.architecture, place, dtype=self.dtype) for place in self.places]

    def __call__(self, inputs: FeatureMap, train: bool) -> NewMap:
        """The map of the stage."""
        features = inputs if self.downsample is None else self.downsample(inputs, train)
        for block in self.blocks:
            features = block(features, train)
        return features
