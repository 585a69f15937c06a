"""Names for arrays by their role."""

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

Images = UInt8[Array | np.ndarray, "batch height width 3"]
"""Decoded and resized images."""

Inputs = Float[Array, "batch height width 3"]
"""Images as models take them: normalised by the mean and standard deviation of the weights."""

Ink = Float[Array, "batch height width 3"]
"""Images as augmentation takes them: 0 is white paper, 1 is full ink."""

Labels = Int[Array | np.ndarray, " batch"]
"""Class indices; -1 where unknown."""

Targets = Float[Array, "batch classes"]
"""Soft labels; each row sums to 1. For losses that read true numbers these stand in a further column."""

Logits = Float[Array | np.ndarray, "batch classes"]
Mask = Bool[Array | np.ndarray, " batch"]
"""False where a row is padding of a last batch and must not count."""
