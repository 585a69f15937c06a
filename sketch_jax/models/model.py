"""What is asked of an architecture, and what the rest of the code sees of it: functions over dictionaries."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jax import numpy as jnp

from sketch_jax.models.model_options import Remat
from sketch_jax.trees import Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of an architecture, whichever it is."""

    name: str
    """timm's name of the architecture."""
    class_count: int
    """Classes of the head; 0: no classifier where the family allows it, the answer is the pooled features."""
    image_size: int
    """Height and width of the images, in pixels."""
    dropout: float = 0.0
    """Probability that a pooled feature is left out before the classifier."""
    drop_path: float = 0.0
    """Probability that the last residual branch is left out for an image; those before it have less, evenly
    down to 0 in the first."""
    dtype: Any = jnp.float32
    """Of the computation; parameters, statistics and logits are float32."""
    remat: Remat = "none"
    """What of each block the backward pass computes again, to save memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture as pure functions; `logits = head(params, read_features(params, ...)[0], ...)`.

    `params` and `statistics` are nested dictionaries whose paths are timm's parameter names (see
    `sketch_jax.weights.names`). `train` is a Python bool: it selects dropout, drop path and batch statistics.
    """

    name: str
    """timm's name of the architecture."""
    image_size: int
    """Height and width of the images, in pixels."""
    feature_width: int
    """Channels of the pooled features that the classifier reads."""
    class_count: int
    classifier: str
    """Path of the classifier's parameters, such as `head` or `fc`: what a new label set replaces."""
    further_classifiers: tuple[str, ...] = ()
    """Paths of classifiers whose logits are averaged with its own, such as `head_dist` of distilled models; a
    new label set replaces them, too."""
    head_place: str | None = None
    """Path of all that lies between the pooled features and the logits, where that is more than the
    classifier: what a head of another kind replaces."""
    tasks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Classes of each named task, whose logits lie side by side in this order; empty: there is one task."""
    has_equal_blocks: bool = False
    """Whether parameters may come from `trees.stack_blocks`: then the blocks run as one loop."""
    init: Callable[[Any], tuple[Tree, Tree]]
    """key -> (params, statistics), float32; statistics is empty without batch norm."""
    features: Callable[..., tuple[Any, Tree]]
    """(params, statistics, images, key, train) -> (unpooled features, statistics): timm's `forward_features`.
    Images are normalised, [batch, height, width, 3]; features are [batch, tokens, width] or
    [batch, height, width, channels] in the compute type."""
    read_features: Callable[..., tuple[Any, Tree]]
    """The same for `pool` and `head`: without the tokens that neither reads, which the last block then does
    not answer for. A ViT-S/16 that pools by its class token has 7 % fewer operations so."""
    pool: Callable[..., Any]
    """(params, features or what is read of them) -> pooled [batch, feature_width]: timm's
    `forward_head(pre_logits=True)`."""
    head: Callable[..., Any]
    """(params, features or what is read of them, key, train) -> logits float32 [batch, class_count]: timm's
    `forward_head`."""
    filter_checkpoint: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda tensors: tensors
    """Renames and reshapes tensors of checkpoints in older layouts, by timm's names and in timm's layout, and
    leaves out what is no parameter; returns current ones unchanged: timm's `checkpoint_filter_fn`."""
    adapt: Callable[[Tree], Tree] = lambda tree: tree
    """Fits converted pretrained parameters to this model before they are checked against it: position
    embeddings resampled to the image size and the like; returns other trees unchanged. Traced trees, too,
    where the patches keep their size: training at another image size goes through it."""
