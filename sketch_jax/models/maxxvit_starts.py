"""How new weights of the MaxxViT family start, by timm's `weight_init`.

References:
    timm/models/maxxvit.py, `_init_conv` and `_init_transformer`.
"""

import dataclasses

from flax import linen as nn

from sketch_jax.models.convolutional import symmetric_uniform
from sketch_jax.models.layers import INITIAL_DEVIATION, NEAR_ZERO, NORMAL, Initializer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """How the kernel and the bias of a map or convolution start."""

    kernel: Initializer
    bias: Initializer | None = nn.initializers.zeros
    """None: as torch's, whose spread follows from how many values enter."""

    def bias_of(self, entering: int) -> Initializer:
        """How a bias starts.

        Args:
            entering: values that enter each output.
        """
        return self.bias or symmetric_uniform(entering**-0.5)


TORCH = Start(kernel=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), bias=None)
"""What torch itself starts with."""

SCHEMES = {
    "": TORCH,
    "normal": Start(kernel=NORMAL),
    "trunc_normal": Start(kernel=nn.initializers.truncated_normal(INITIAL_DEVIATION)),
    "xavier_normal": Start(kernel=nn.initializers.variance_scaling(1.0, "fan_avg", "normal")),
}
"""Those that are the same everywhere, by `weight_init`."""


def conv_start(scheme: str, groups: int = 1) -> Start:
    """Of convolutional blocks; `vit_eff` starts them as EfficientNet's.

    Args:
        scheme: timm's `weight_init`.
        groups: of the convolution.
    """
    efficient = Start(kernel=nn.initializers.variance_scaling(2.0 * groups, "fan_out", "normal"))
    return SCHEMES.get(scheme, efficient)


def transformer_start(scheme: str, perceptron: bool = False) -> Start:
    """Of attention blocks; `vit_eff` starts them as the first vision transformers.

    Args:
        scheme: timm's `weight_init`.
        perceptron: whether the map is in a perceptron, whose biases `vit_eff` starts near zero.
    """
    bias = nn.initializers.normal(NEAR_ZERO) if perceptron else nn.initializers.zeros
    return SCHEMES.get(scheme, Start(kernel=nn.initializers.glorot_uniform(), bias=bias))
