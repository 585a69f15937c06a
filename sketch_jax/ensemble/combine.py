"""The ways to make one answer of several models: learnt on held-out images, then used on any."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from sketch_jax.ensemble.calibration import find_temperature, find_vector_scaling
from sketch_jax.ensemble.stacking import learn_stack
from sketch_jax.ensemble.votes import LEAST_SCORE, Method, Scores, Tie, probabilities, soft_vote, vote
from sketch_jax.ensemble.weights import accuracy, learn_weights, select_greedily
from sketch_jax.errors import InputError

Logits = Float[np.ndarray, "rows classes"]
Labels = Int[np.ndarray, " rows"]
Model = Sequence[Logits]
"""A model's logits, one array for each of its folds, all of the same rows."""
Way = Literal[Method, "weighted", "learned", "greedy", "stacking"]
Calibration = Literal["none", "temperature", "vector"]
Combine = Callable[[Sequence[Model]], Scores]
Scale = Callable[[Logits], Logits]

VOTES = get_args(Method)
LEARNED = ("learned", "greedy", "stacking")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How models are combined."""

    way: Way = "soft"
    """A vote; `weighted`: the mean of probabilities by given weights; or what is learnt on held-out images:
    `learned` weights, `greedy` selection with replacement, `stacking`."""
    weights: tuple[float, ...] = ()
    """Of `weighted`, one a model."""
    tie: Tie = "lowest"
    """Which of equally many votes win."""
    calibration: Calibration = "none"
    """What each model's logits go through first, learnt on held-out images."""

    @property
    def learns(self) -> bool:
        """Whether it needs held-out images with labels."""
        return self.way in LEARNED or self.calibration != "none"


def learn_combine(
    recipe: Recipe, held_out: Sequence[Logits], labels: Labels
) -> tuple[Combine, Mapping[str, list[float]]]:
    """Builds models -> scores that sum to 1, and the numbers that were learnt for each model, by name.

    Args:
        recipe: how.
        held_out: logits of each model on images that it was not trained on; unused unless the recipe learns.
        labels: of these images; -1 does not count.
    """
    scales, temperatures = _learn_scales(recipe.calibration, held_out, labels)
    learnt = {"temperature": temperatures} if temperatures else {}
    scaled = [scale(logits) for scale, logits in zip(scales, held_out, strict=True)]
    match recipe.way:
        case "stacking":
            stack = learn_stack(scaled, labels)
            return lambda models: probabilities(stack(_means(models, scales))), learnt
        case "soft" | "hard" | "soft-soft" | "soft-hard" | "hard-hard" as method:
            return lambda models: vote(_probabilities(models, scales), method, recipe.tie), learnt
        case _:
            weights = _weights(recipe, scaled, labels)
            learnt["weight"] = [float(value) for value in weights]
            return lambda models: soft_vote(
                [soft_vote(model) for model in _probabilities(models, scales)], weights
            ), learnt


def cross_fitted(recipe: Recipe, held_out: Sequence[Logits], labels: Labels) -> Scores:
    """Scores of held-out images, each by what was learnt on the other parts of them.

    Args:
        recipe: how; where nothing is learnt, all rows are combined at once.
        held_out: logits of each model.
        labels: of these images; rows of -1 are combined by what others teach.
    """

    def learn(lessons: Sequence[Logits], labels: Labels) -> Callable[[Sequence[Logits]], Scores]:
        combine, _ = learn_combine(recipe, lessons, labels)
        return lambda models: combine([[logits] for logits in models])

    return cross_fit(learn, held_out, labels) if recipe.learns else learn(held_out, labels)(held_out)


def cross_fit(
    learn: Callable[[Sequence[Logits], Labels], Callable[[Sequence[Logits]], Scores]],
    held_out: Sequence[Logits],
    labels: Labels,
    parts: int = 5,
) -> Scores:
    """Scores of images, each by what was learnt on the other parts of them.

    Args:
        learn: (logits of several models, labels) -> how to combine them.
        held_out: logits of each model.
        labels: of these images.
        parts: that the images are dealt out to, class by class.
    """
    scores = np.zeros(held_out[0].shape)
    part_of = _deal(labels, parts)
    for part in np.unique(part_of):
        inside = part_of == part
        if not (labels[~inside] >= 0).any():
            raise InputError(
                f"{(labels >= 0).sum()} held-out images have a label: too few to learn from some and score "
                "the others; take a vote"
            )
        combine = learn([logits[~inside] for logits in held_out], labels[~inside])
        scores[inside] = combine([logits[inside] for logits in held_out])
    return scores


def gains(recipe: Recipe, held_out: Sequence[Logits], labels: Labels) -> Float[np.ndarray, " models"]:
    """By how much accuracy falls without each model; negative: it would rise. A single one gains it all."""
    whole = accuracy(cross_fitted(recipe, held_out, labels), labels)
    if len(held_out) == 1:
        return np.array([whole])
    without = [
        accuracy(
            cross_fitted(_without(recipe, left), [*held_out[:left], *held_out[left + 1 :]], labels), labels
        )
        for left in range(len(held_out))
    ]
    return whole - np.array(without)


def disagreement(answers: Sequence[Int[np.ndarray, " rows"]]) -> Float[np.ndarray, "models models"]:
    """Share of rows that two models answer differently.

    >>> disagreement([np.array([0, 1]), np.array([0, 2])]).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    stacked = np.stack(answers)
    return (stacked[:, None] != stacked[None]).mean(axis=-1)


def _learn_scales(
    calibration: Calibration, held_out: Sequence[Logits], labels: Labels
) -> tuple[Sequence[Scale], list[float]]:
    if calibration == "temperature":
        temperatures = [find_temperature(logits, labels) for logits in held_out]
        return [_divide_by(temperature) for temperature in temperatures], temperatures
    if calibration == "vector":
        return [find_vector_scaling(logits, labels) for logits in held_out], []
    return [_divide_by(1.0) for _ in held_out], []


def _divide_by(temperature: float) -> Scale:
    return lambda logits: logits / temperature


def _weights(recipe: Recipe, held_out: Sequence[Logits], labels: Labels) -> Float[np.ndarray, " models"]:
    if recipe.way == "weighted":
        return np.array(recipe.weights) / sum(recipe.weights)
    scores = [probabilities(logits) for logits in held_out]
    return select_greedily(scores, labels) if recipe.way == "greedy" else learn_weights(scores, labels)


def _probabilities(models: Sequence[Model], scales: Sequence[Scale]) -> list[list[Scores]]:
    return [
        [probabilities(scale(fold)) for fold in model] for model, scale in zip(models, scales, strict=True)
    ]


def _means(models: Sequence[Model], scales: Sequence[Scale]) -> list[Logits]:
    """Logits of the mean of each model's folds."""
    means = [soft_vote(folds) for folds in _probabilities(models, scales)]
    return [np.log(np.maximum(mean, LEAST_SCORE)) for mean in means]


def _without(recipe: Recipe, left: int) -> Recipe:
    """The recipe without the weight of a model; weights that are then all 0 become equal."""
    kept = [*recipe.weights[:left], *recipe.weights[left + 1 :]]
    return dataclasses.replace(recipe, weights=tuple(kept if any(kept) else [1.0] * len(kept)))


def _deal(labels: Labels, parts: int) -> Int[np.ndarray, " rows"]:
    """The part of each row: of the rows of each class, in a fixed random order, one to each part in turn."""
    order = np.random.default_rng(0).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    part_of = np.empty(len(labels), np.int64)
    part_of[by_class] = np.arange(len(labels)) % parts
    return part_of
