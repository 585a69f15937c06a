"""The bridge from a Linen module to the plain functions of `Model`."""

from typing import Any

from flax import linen as nn
from jax import numpy as jnp

from sketch_jax.models.model import Model, Request
from sketch_jax.models.stacked_blocks import split_variables
from sketch_jax.trees import Tree


def as_model(module: nn.Module, request: Request, *, read_tokens: int | None = None, **facts: Any) -> Model:
    """The plain functions of a Linen module.

    Args:
        module: has the methods `features(images, train)`, `pool(features)`, `head(features, train)` and
            `__call__(images, train)`, the head of the features. Its random stream is `dropout`, its running
            statistics are the collection `batch_stats`.
        request: what the module was built for.
        read_tokens: how many tokens its head reads, from the first; its `features` takes this number after
            `train`, and need not compute others. None: it reads all features.
        **facts: further fields of `Model`, such as `feature_width` and `classifier`.
    """
    apply: Any = module.apply  # its result type depends on `mutable`

    def init(key: Any) -> tuple[Tree, Tree]:
        images = jnp.zeros((1, request.image_size, request.image_size, 3), jnp.float32)
        variables: Any = module.init(key, images, False)
        return variables["params"], variables.get("batch_stats", {})

    def features(
        params: Tree, statistics: Tree, images: Any, key: Any, train: bool, *kept: int
    ) -> tuple[Any, Tree]:
        variables = {**split_variables(params), "batch_stats": statistics}
        if not train:
            return apply(variables, images, False, *kept, method="features"), statistics
        outputs, updated = apply(
            variables, images, True, *kept, method="features", rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return outputs, updated.get("batch_stats", {})

    def read_features(params: Tree, statistics: Tree, images: Any, key: Any, train: bool) -> tuple[Any, Tree]:
        kept = () if read_tokens is None else (read_tokens,)
        return features(params, statistics, images, key, train, *kept)

    def pool(params: Tree, features: Any) -> Any:
        return apply(split_variables(params), features, method="pool")

    def head(params: Tree, features: Any, key: Any, train: bool) -> Any:
        streams = {"dropout": key} if train else {}
        return apply(split_variables(params), features, train, method="head", rngs=streams)

    return Model(
        name=request.name,
        image_size=request.image_size,
        class_count=request.class_count,
        init=init,
        features=features,
        read_features=read_features,
        pool=pool,
        head=head,
        **facts,
    )
