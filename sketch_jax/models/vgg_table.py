"""The architectures of timm's vgg.py, as records."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from flax import linen as nn

from sketch_jax.models.convolutional import BatchNorm

Layers = tuple[int | Literal["M"], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vgg:
    """What tells one architecture of the family from another; the fields are timm's arguments."""

    cfg: Layers
    """Channels of each 3×3 convolution; `M`: a max-pool, which halves the map."""
    mlp_ratio: float = 1.0
    """Hidden channels of the perceptron before the classifier, to its outputs, which are 4096."""
    act_layer: str = "relu"
    norm_layer: Callable[..., nn.Module] | None = None
    """After each convolution; None: there is none."""
    global_pool: str = "avg"


def _layers(*depths: int) -> Layers:
    """So many convolutions of each width, and a max-pool after them."""
    widths = zip((64, 128, 256, 512, 512), depths, strict=True)
    return tuple(entry for width, depth in widths for entry in (*(width,) * depth, "M"))


_DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}

ARCHITECTURES: dict[str, Vgg] = {
    **{name: Vgg(cfg=_layers(*depths)) for name, depths in _DEPTHS.items()},
    **{f"{name}_bn": Vgg(cfg=_layers(*depths), norm_layer=BatchNorm) for name, depths in _DEPTHS.items()},
}
"""timm's names, all of them."""

IMAGE_SIZES: Mapping[str, int] = {}
"""Height and width of the images in pixels, where it is not 224: nowhere."""
