"""Soups: one model whose parameters are means of those of models that were tuned from one start.

Members are read one after the other, so that memory does not grow with their number: a running mean, the
member that is read, and for learnt weights a gradient.

References:
    Wortsman et al., Model soups: averaging weights of multiple fine-tuned models improves accuracy without
    increasing inference time (arXiv:2203.05482); recipe 1 for the greedy soup, section 3.3 for learnt ones.
    Wortsman et al., Robust fine-tuning of zero-shot models (WiSE-FT, arXiv:2109.01903).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Leaves = Mapping[str, np.ndarray]
"""Parameters, and statistics, by path."""
Loader = Callable[[], Leaves]
"""Reads a member."""

ADAM = 0.9, 0.999, 1e-8
"""Decays of the moments and epsilon of the weights' optimizer."""


def mix(first: Leaves, second: Leaves, share: float) -> dict[str, np.ndarray]:
    """The first, moved by a share of the way to the second; float32.

    Args:
        first: leaves by path.
        second: leaves of the same paths and shapes.
        share: 0 is the first, 1 the second.
    """
    return {path: _mix_leaf(leaf, second[path], np.float32(share)) for path, leaf in first.items()}


def _mix_leaf(first: np.ndarray, second: np.ndarray, share: np.float32) -> np.ndarray:
    """One array is made, none beside it: members are large."""
    moved = np.subtract(second, first, dtype=np.float32)
    moved *= share
    moved += first
    return moved


def uniform_soup(members: Sequence[Loader]) -> dict[str, np.ndarray]:
    """The mean of all members."""
    mean = {path: np.array(leaf, np.float32) for path, leaf in members[0]().items()}
    for count, load in enumerate(members[1:], 2):
        for path, leaf in load().items():
            mean[path] += (leaf - mean[path]) * np.float32(1.0 / count)
    return mean


class GreedySoup(NamedTuple):
    """A soup, and what it is made of."""

    leaves: Leaves
    chosen: tuple[int, ...]
    """Members in the order in which they were added."""
    score: float


def greedy_soup(
    members: Sequence[Loader],
    score: Callable[[Leaves], float],
    passes: int = 1,
    first_score: float | None = None,
) -> GreedySoup:
    """Adds one member after the other where the mean with it is strictly better than without.

    Args:
        members: the best first.
        score: of a model on images that none was trained on; the higher, the better.
        passes: how often all that are not in the soup are gone through.
        first_score: of the first member as it is; None: `score` tells it.
    """
    soup, chosen = dict(members[0]()), [0]
    best = score(soup) if first_score is None else first_score
    for _ in range(passes):
        for index, load in enumerate(members):
            if index in chosen:
                continue
            tried = mix(soup, load(), 1.0 / (len(chosen) + 1))
            found = score(tried)
            if found > best:
                soup, best = tried, found
                chosen.append(index)
    return GreedySoup(soup, tuple(chosen), best)


class LearntSoup(NamedTuple):
    """A soup with weights of each member in each layer."""

    leaves: Leaves
    weights: Float[np.ndarray, "members layers"]
    """They sum to 1 over the members."""
    losses: tuple[float, ...]
    """Before each step and after the last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """How the weights of a soup are learnt."""

    steps: int = 20
    learning_rate: float = 0.3
    """Of Adam, for the logarithms of the weights."""
    by_layer: bool = True
    """Whether each layer has weights of its own."""


def learn_soup(
    members: Sequence[Loader],
    loss_and_gradient: Callable[[Leaves], tuple[float, Leaves]],
    layer_of: Callable[[str], int],
    learning: Learning,
) -> LearntSoup:
    """The soup whose weights lower a loss the most.

    The gradient of a weight is the product of the member with the gradient of the soup, so members are read
    one after the other: in each step once for these products, and once for the soup that follows.

    Args:
        members: of one start.
        loss_and_gradient: of a model on images that none was trained on, with respect to its leaves.
        layer_of: the layer of a path, from 0.
        learning: for how long, and how fast.
    """
    paths = list(members[0]())
    layers = {path: layer_of(path) if learning.by_layer else 0 for path in paths}
    logits = np.zeros((len(members), max(layers.values()) + 1))
    moments = np.zeros((2, *logits.shape))
    losses = []
    for step in range(1, learning.steps + 1):
        weights = _softmax(logits)
        loss, gradient = loss_and_gradient(_weighted(members, weights, layers))
        losses.append(loss)
        slope = _slopes(members, gradient, layers, logits.shape)
        slope = weights * (slope - (weights * slope).sum(axis=0, keepdims=True))
        moments, change = _adam(moments, slope, step)
        logits = logits - learning.learning_rate * change
    weights = _softmax(logits)
    soup = _weighted(members, weights, layers)
    return LearntSoup(soup, weights, (*losses, loss_and_gradient(soup)[0]))


def _weighted(
    members: Sequence[Loader], weights: Float[np.ndarray, "members layers"], layers: Mapping[str, int]
) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for load, row in zip(members, weights, strict=True):
        for path, leaf in load().items():
            part = leaf.astype(np.float32) * np.float32(row[layers[path]])
            total[path] = total[path] + part if path in total else part
    return total


def _slopes(
    members: Sequence[Loader], gradient: Leaves, layers: Mapping[str, int], shape: tuple[int, int]
) -> Float[np.ndarray, "members layers"]:
    """The product of each member with the gradient, layer by layer."""
    slopes = np.zeros(shape)
    for index, load in enumerate(members):
        for path, leaf in load().items():
            if path in gradient:
                slopes[index, layers[path]] += np.vdot(leaf.astype(np.float64), gradient[path])
    return slopes


def _softmax(logits: Float[np.ndarray, "members layers"]) -> Float[np.ndarray, "members layers"]:
    powers = np.exp(logits - logits.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _adam(moments: np.ndarray, slope: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    first, second, epsilon = ADAM
    mean = first * moments[0] + (1 - first) * slope
    square = second * moments[1] + (1 - second) * slope**2
    change = mean / (1 - first**step) / (np.sqrt(square / (1 - second**step)) + epsilon)
    return np.stack([mean, square]), change


class Barrier(NamedTuple):
    """How the loss runs along the line between two models."""

    losses: tuple[float, ...]
    """At evenly spaced places, both ends included."""

    @property
    def height(self) -> float:
        """By how much the loss lies above the line between the ends, at most; 0 where it never does."""
        straight = np.linspace(self.losses[0], self.losses[-1], len(self.losses))
        return float(np.maximum(np.asarray(self.losses) - straight, 0.0).max())


def measure_barrier(
    first: Leaves, second: Leaves, loss: Callable[[Leaves], float], places: int = 5
) -> Barrier:
    """The loss at evenly spaced places between two models.

    References:
        Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis (arXiv:1912.05671),
        section 2.
    """
    return Barrier(tuple(loss(mix(first, second, share)) for share in np.linspace(0.0, 1.0, places)))


def layer_distances(first: Leaves, second: Leaves, layer_of: Callable[[str], int]) -> dict[int, float]:
    """How far two models lie apart in each layer, relative to the size of the first."""
    apart: dict[int, float] = {}
    size: dict[int, float] = {}
    for path, leaf in first.items():
        layer, wide = layer_of(path), leaf.astype(np.float64)
        apart[layer] = apart.get(layer, 0.0) + float(np.square(second[path] - wide).sum())
        size[layer] = size.get(layer, 0.0) + float(np.square(wide).sum())
    return {layer: (apart[layer] / size[layer]) ** 0.5 if size[layer] else 0.0 for layer in sorted(size)}
