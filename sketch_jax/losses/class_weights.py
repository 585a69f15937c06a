"""How much each class counts in a loss, from the number of its training images."""

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.losses.options import ClassWeights, EffectiveNumber, InverseFrequency

ClassCounts = Int[np.ndarray, " classes"]


def class_weights(options: ClassWeights, counts: ClassCounts) -> Float[np.ndarray, " classes"]:
    """Weight of each class; before the multiplier, the mean over the training images is 1.

    With that mean a loss keeps its size, and a mean over the rows of a batch needs no other divisor: parts of
    a batch add up. Classes without an image have weight 0.

    Args:
        options: the rule.
        counts: training images of each class.

    >>> class_weights(InverseFrequency(), np.array([30, 10])).round(3).tolist()
    [0.667, 2.0]

    References:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples (arXiv:1901.05555), equation 3;
        the mean over images is 1 here, over classes there.
    """
    counts = np.maximum(counts, 0).astype(np.float64)
    there = counts > 0
    match options:
        case InverseFrequency(exponent=exponent, multiplier=multiplier):
            weights = np.where(there, np.maximum(counts, 1.0) ** -exponent, 0.0)
        case EffectiveNumber(beta=beta):
            # (1 - beta) / (1 - beta^n), whose numerator the mean cancels.
            weights = np.where(there, 1.0 / (1.0 - beta ** np.maximum(counts, 1.0)), 0.0)
            multiplier = 1.0
    return multiplier * weights * counts.sum() / np.sum(weights * counts)


def log_shares(counts: ClassCounts) -> Float[np.ndarray, " classes"]:
    """Logarithm of each class's share of the training images; a class without any counts as having one.

    >>> np.exp(log_shares(np.array([3, 1]))).tolist()
    [0.75, 0.25]
    """
    counted = np.maximum(counts, 1).astype(np.float64)
    return np.log(counted / counted.sum())
