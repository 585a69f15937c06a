"""All batch norms of a model at once: those of frozen parameters rest, and statistics are measured anew."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from sketch_jax.models.convolutional import BatchNorm
from sketch_jax.models.model import Model

STATISTICS = ("mean", "var")

OfNorm = Callable[[BatchNorm, Callable[[Any, bool], Any], Any, bool], Any]
"""(module, its call, inputs, train) -> outputs."""


def freeze_norms(model: Model, is_trained: Callable[[str], bool]) -> Model:
    """The model whose batch norms rest where nothing is trained: they use their running statistics.

    Args:
        model: any.
        is_trained: whether the parameter at a path is trained; a norm rests where neither its scale nor its
            bias is.
    """

    def rest(norm: BatchNorm, call: Callable[[Any, bool], Any], inputs: Any, train: bool) -> Any:
        place = "/".join(norm.path)
        return call(inputs, train and any(is_trained(f"{place}/{name}") for name in ("scale", "bias")))

    return _with_norms(model, rest)


def measure_norms(model: Model) -> Model:
    """The model whose features come, in training, with each batch norm's statistics of this very batch.

    Those of norms that rest stay as they are.
    """

    def measure(norm: BatchNorm, call: Callable[[Any, bool], Any], inputs: Any, train: bool) -> Any:
        before = {name: norm.get_variable("batch_stats", name) for name in STATISTICS}
        outputs = call(inputs, train)
        if train:
            for name, old in before.items():
                moved = norm.get_variable("batch_stats", name) - old
                norm.put_variable("batch_stats", name, old + moved / norm.momentum)
        return outputs

    return _with_norms(model, measure)


def _with_norms(model: Model, of_norm: OfNorm) -> Model:
    def intercept(call: Callable[..., Any], arguments: Any, keywords: Any, context: Any) -> Any:
        if not isinstance(context.module, BatchNorm) or context.method_name != "__call__":
            return call(*arguments, **keywords)
        return of_norm(context.module, call, *arguments, **keywords)

    def intercepted(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with nn.intercept_methods(intercept):
                return function(*arguments)

        return run

    names = ("features", "read_features", "head")
    return dataclasses.replace(model, **{name: intercepted(getattr(model, name)) for name in names})
