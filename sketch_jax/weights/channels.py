"""First convolutions of weights whose images have another number of channels than 3.

References:
    `adapt_input_conv` of timm/models/_manipulate.py.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

CHANNELS = 3
"""Of the images here."""


def is_of_other_channels(kernel: Any, wanted: Any) -> bool:
    """Whether images may enter the wanted kernel, and would need another number of channels for this one.

    Args:
        kernel: [height, width, in, out], or anything else with a shape.
        wanted: the model's, of the same name.
    """
    if len(kernel.shape) != 4 or len(wanted.shape) != 4:
        return False
    return kernel.shape[3] == wanted.shape[3] and kernel.shape[2] != wanted.shape[2] == CHANNELS


def fit_to_images(kernel: Float[Any, "height width channels out"]) -> Float[np.ndarray, "height width 3 out"]:
    """A first convolution for images of 3 channels.

    The channels it has are repeated, or the first 3 taken, and scaled so that a grey image that filled all of
    them, and now fills 3, gives as much.

    Args:
        kernel: of images of any number of channels.

    >>> fit_to_images(np.full((1, 1, 1, 1), 6.0, np.float32)).ravel().tolist()
    [2.0, 2.0, 2.0]
    """
    channels = kernel.shape[2]
    repeated = np.tile(kernel, (1, 1, math.ceil(CHANNELS / channels), 1))[:, :, :CHANNELS]
    return repeated * np.float32(channels / CHANNELS)
