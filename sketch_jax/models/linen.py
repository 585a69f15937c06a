"""The bridge from a Linen module to the plain functions of `Model`."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.model import Model, Request
from sketch_jax.models.stacked_blocks import split_variables
from sketch_jax.trees import Tree


def as_model(
    module: nn.Module,
    request: Request,
    *,
    feature_width: int,
    classifier: str,
    further_classifiers: tuple[str, ...] = (),
    has_equal_blocks: bool = False,
    filter_checkpoint: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda tensors: tensors,
    adapt: Callable[[Tree], Tree] = lambda tree: tree,
) -> Model:
    """The plain functions of a Linen module.

    Args:
        module: has the methods `features(images, train)`, `pool(features)`, `head(features, train)` and
            `__call__(images, train)`, the head of the features. Its random stream is `dropout`, its running
            statistics are the collection `batch_stats`.
        request: what the module was built for.
        feature_width: channels of the pooled features.
        classifier: path of the classifier's parameters.
        further_classifiers: paths of those beside it.
        has_equal_blocks: whether the module runs stacked blocks (see `stacked_blocks`).
        filter_checkpoint: from checkpoints in older layouts to timm's current names and layout.
        adapt: fits pretrained parameters to this model.
    """
    apply: Any = module.apply  # its result type depends on `mutable`

    def init(key: Any) -> tuple[Tree, Tree]:
        images = jnp.zeros((1, request.image_size, request.image_size, 3), jnp.float32)
        variables: Any = module.init(key, images, False)
        return variables["params"], variables.get("batch_stats", {})

    def features(params: Tree, statistics: Tree, images: Any, key: Any, train: bool) -> tuple[Any, Tree]:
        variables = {**split_variables(params), "batch_stats": statistics}
        if not train:
            return apply(variables, images, False, method="features"), statistics
        outputs, updated = apply(
            variables, images, True, method="features", rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return outputs, updated.get("batch_stats", {})

    def pool(params: Tree, features: Any) -> Any:
        return apply(split_variables(params), features, method="pool")

    def head(params: Tree, features: Any, key: Any, train: bool) -> Any:
        streams = {"dropout": key} if train else {}
        return apply(split_variables(params), features, train, method="head", rngs=streams)

    return Model(
        name=request.name,
        image_size=request.image_size,
        feature_width=feature_width,
        class_count=request.class_count,
        classifier=classifier,
        further_classifiers=further_classifiers,
        has_equal_blocks=has_equal_blocks,
        init=init,
        features=features,
        pool=pool,
        head=head,
        filter_checkpoint=filter_checkpoint,
        adapt=adapt,
    )
