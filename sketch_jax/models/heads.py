"""Heads for any family, in place of timm's own: perceptrons, other starts, several named tasks.

A head reads the pooled features and stands where the classifier stood, so that its parameters lie under the
same path: `head/fc1/kernel` in place of `head/kernel`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import InputError
from sketch_jax.models.activations import ACTIVATIONS
from sketch_jax.models.classifier_heads import torch_linear_init
from sketch_jax.models.head_options import HeadOptions
from sketch_jax.models.layers import TRUNCATED_NORMAL, Dropout, Linear
from sketch_jax.models.model import Model
from sketch_jax.trees import Tree, flatten, lies_under, unflatten

Pooled = Float[Array, "batch width"]
Logits = Float[Array, "batch classes"]

ONE_TASK: Mapping[str, int] = MappingProxyType({})


class Perceptron(nn.Module):
    """Linear maps `fc1`, `fc2`, … with activations between them.

    References:
        timm/layers/mlp.py for the names.
    """

    options: HeadOptions
    class_count: int
    train: bool = False
    """Whether hidden features are thinned."""

    @nn.compact
    def __call__(self, pooled: Pooled) -> Logits:
        """The logits of pooled features."""
        widths = (*self.options.hidden, self.class_count)
        for index, width in enumerate(widths, 1):
            pooled = create_linear(self.options, pooled.shape[-1], width, name=f"fc{index}")(pooled)
            if index < len(widths):
                hidden = ACTIVATIONS[self.options.activation](pooled)
                pooled = Dropout(self.options.dropout)(hidden, self.train)
        return pooled


class OrdinalHead(nn.Module):
    """Logits of the thresholds between classes in an order: one `score`, and a bias for each threshold.

    References:
        Cao, Mirjalili and Raschka (CORAL, arXiv:1901.07884), section 3.3: shared weights keep the order.
    """

    options: HeadOptions
    threshold_count: int
    train: bool = False

    @nn.compact
    def __call__(self, pooled: Pooled) -> Logits:
        """The logits of pooled features."""
        score = create_classifier(self.options, pooled.shape[-1], 1, self.train, name="score")(pooled)
        bias = self.param("bias", nn.initializers.zeros, (self.threshold_count,), jnp.float32)
        return score + bias[None, :]


class NamedHeads(nn.Module):
    """A head for each task; logits side by side, in the order of the tasks."""

    options: HeadOptions
    tasks: Mapping[str, int]
    ordinal: tuple[str, ...] = ()
    train: bool = False

    @nn.compact
    def __call__(self, pooled: Pooled) -> Logits:
        """The logits of pooled features."""
        heads = [
            OrdinalHead(self.options, count, self.train, name=task)
            if task in self.ordinal
            else create_classifier(self.options, pooled.shape[-1], count, self.train, name=task)
            for task, count in self.tasks.items()
        ]
        return jnp.concatenate([head(pooled) for head in heads], axis=-1)


def create_linear(options: HeadOptions, width: int, features: int, name: str | None = None) -> Linear:
    """A map from so many channels that starts as the options say."""
    if options.start == "default":
        init = torch_linear_init(width)
        return Linear(features, True, init, init, name=name)
    init = nn.initializers.xavier_uniform() if options.start == "xavier_uniform" else TRUNCATED_NORMAL
    return Linear(features, True, init, name=name)


def create_classifier(
    options: HeadOptions, width: int, class_count: int, train: bool = False, name: str | None = None
) -> Perceptron | Linear:
    """From pooled features to the logits of one task: `kernel` and `bias`, or the maps of a perceptron."""
    if options.hidden:
        return Perceptron(options, class_count, train, name=name)
    return create_linear(options, width, class_count, name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledHead:
    """A head by itself, over pooled features, as pure functions."""

    init: Callable[[Any], Tree]
    """key -> params."""
    apply: Callable[..., Logits]
    """(params, pooled, key, train) -> logits."""


def create_pooled_head(
    options: HeadOptions,
    width: int,
    class_count: int,
    *,
    tasks: Mapping[str, int] = ONE_TASK,
    ordinal: tuple[str, ...] = (),
    dropout: float = 0.0,
) -> PooledHead:
    """A head over pooled features.

    Args:
        options: the head's.
        width: of the pooled features.
        class_count: logits, where there is one task.
        tasks: logits of each named task; empty: one task.
        ordinal: tasks whose logits are those of thresholds on one score.
        dropout: probability that a pooled feature is left out before the head.
    """

    def create(train: bool) -> Any:
        if tasks:
            return NamedHeads(options, tasks, ordinal, train)
        return create_classifier(options, width, class_count, train)

    thin = Dropout(dropout)

    def init(key: Any) -> Tree:
        return create(False).init(key, jnp.zeros((1, width), jnp.float32))["params"]

    def apply(params: Tree, pooled: Pooled, key: Any, train: bool) -> Logits:
        thinned: Any = thin.apply({}, pooled, train, rngs={"dropout": key} if train else {})
        hidden = {"dropout": jax.random.fold_in(key, 1)} if train else {}
        return create(train).apply({"params": params}, thinned.astype(jnp.float32), rngs=hidden)

    return PooledHead(init=init, apply=apply)


def replaces_head(options: HeadOptions, tasks: Mapping[str, int] = ONE_TASK) -> bool:
    """Whether options ask for anything but timm's own head."""
    return bool(options.hidden or tasks or options.start != "default")


def replace_head(
    model: Model,
    options: HeadOptions,
    *,
    tasks: Mapping[str, int] = ONE_TASK,
    ordinal: tuple[str, ...] = (),
    dropout: float = 0.0,
) -> Model:
    """The model with another head on its pooled features.

    Args:
        model: any.
        options: the head's; dropout samples are the training step's.
        tasks: logits of each named task; empty: one task with the classes of the model.
        ordinal: tasks whose logits are those of thresholds on one score.
        dropout: probability that a pooled feature is left out before the head.

    Raises:
        InputError: a task has no class, or a name that no parameter path can have.

    References:
        Multi-sample dropout: arXiv:1905.09788.
    """
    _check_tasks(tasks)
    own = create_pooled_head(
        options, model.feature_width, model.class_count, tasks=tasks, ordinal=ordinal, dropout=dropout
    )
    place = model.head_place or model.classifier
    replaced = (place, *model.further_classifiers)

    def init(key: Any) -> tuple[Tree, Tree]:
        params, statistics = model.init(key)
        kept = {path: leaf for path, leaf in flatten(params).items() if not lies_under(path, replaced)}
        made = {f"{place}/{path}": leaf for path, leaf in flatten(own.init(key)).items()}
        return unflatten(kept | made), statistics

    def head(params: Tree, features: Any, key: Any, train: bool) -> Logits:
        return own.apply(subtree(params, place), model.pool(params, features), key, train)

    return dataclasses.replace(
        model,
        class_count=sum(tasks.values()) if tasks else model.class_count,
        tasks=dict(tasks),
        classifier=place,
        further_classifiers=(),
        init=init,
        head=head,
    )


def subtree(tree: Tree, path: str) -> Tree:
    """What lies at a path.

    >>> subtree({"head": {"fc": {"bias": 1}}}, "head/fc")
    {'bias': 1}
    """
    for part in path.split("/"):
        tree = tree[part]
    return tree


def _check_tasks(tasks: Mapping[str, int]) -> None:
    for task, count in tasks.items():
        if not task.isidentifier() or task[-1].isdigit():
            raise InputError(
                f"task {task!r}: the name becomes a part of parameter paths; write letters and underscores, "
                "and a letter at the end"
            )
        if count < 1:
            raise InputError(f"task {task!r}: has {count} classes; it needs at least 1")
