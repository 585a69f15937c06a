"""What transformers over patches share around their blocks: prefix, positions, pooling, fitted weights."""

from collections.abc import Sequence

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import InputError
from sketch_jax.models.attention import Tokens
from sketch_jax.models.half_precision import add_shared
from sketch_jax.models.model import Request
from sketch_jax.models.pooling import largest_values
from sketch_jax.models.positions import (
    CUBIC,
    Resampling,
    resample_patch_kernel,
    resample_position_embedding,
)
from sketch_jax.trees import Tree

REDUCTIONS = ("avg", "avgmax", "max")


def put_before(
    prefix: Sequence[Float[Array, "1 _ embedding"]],
    patches: Float[Array, "batch patches embedding"],
    positions: Float[Array, "1 _ embedding"] | None,
    *,
    embeds_prefix: bool,
) -> Tokens:
    """Puts tokens before the patches of each image and adds position embeddings, in the type of the patches.

    Args:
        prefix: the tokens, float32.
        patches: embedded.
        positions: of the patches, or of all tokens; None: none are added.
        embeds_prefix: whether the tokens before the patches have positions, too.
    """
    count = sum(token.shape[1] for token in prefix)
    added = jnp.concatenate(prefix, axis=1) if prefix else jnp.zeros((1, 0, patches.shape[2]))
    if positions is None:
        added = jnp.pad(added, ((0, 0), (0, patches.shape[1]), (0, 0)))
    elif embeds_prefix:
        added = jnp.pad(added, ((0, 0), (0, patches.shape[1]), (0, 0))) + positions
    else:
        added = jnp.concatenate([added, positions], axis=1)
    return image_by_image(add_shared(jnp.pad(patches, ((0, 0), (count, 0), (0, 0))), added))


def image_by_image(tokens: Tokens) -> Tokens:
    """The tokens, on a GPU kept in memory one image after the other.

    XLA lays out a sum with what all images share (positions) with the images innermost, and every layer after
    it alike, so that products and norms transpose what they read. In a matrix there are no images to be
    innermost; the barrier keeps it one. (A layout constraint would gather a sharded batch; docs/log.md.)
    """
    if jax.default_backend() != "gpu":
        return tokens
    return jax.lax.optimization_barrier(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape)


def pool_tokens(tokens: Tokens, pooling: str, skipped: int) -> jax.Array:
    """The first token, or the mean, the maximum or the mean of both of the tokens after those skipped.

    Args:
        tokens: of each image.
        pooling: `token`, `avg`, `max`, `avgmax`; or empty, and the tokens stay as they are.
        skipped: tokens before the patches that are not pooled.
    """
    if pooling == "":
        return tokens
    if pooling == "token":
        return tokens[:, 0]
    pooled = tokens[:, skipped:]
    if pooling == "avg":
        return pooled.mean(axis=1)
    largest = largest_values(pooled)
    return largest if pooling == "max" else 0.5 * (largest + pooled.mean(axis=1))


def fit_embeddings(
    params: Tree,
    *,
    grid_size: int | None,
    patch_size: int,
    prefix_tokens: int,
    resampling: Resampling = CUBIC,
) -> Tree:
    """Pretrained parameters with positions for another grid of patches, and patches of another size.

    Args:
        params: at any image and patch size; without some of them, too. Others are left as they are.
        grid_size: patches in a row and in a column; None: the model has no learnt positions.
        patch_size: in pixels.
        prefix_tokens: tokens before the patches that have positions.
        resampling: of positions and patch kernels.
    """
    fitted = dict(params)
    if "pos_embed" in params and grid_size is not None:
        fitted["pos_embed"] = resample_position_embedding(
            params["pos_embed"], grid_size, prefix_tokens, resampling
        )
    projection = params.get("patch_embed", {}).get("proj", {})
    if "kernel" in projection:
        kernel = resample_patch_kernel(projection["kernel"], patch_size, resampling)
        fitted["patch_embed"] = {**params["patch_embed"], "proj": {**projection, "kernel": kernel}}
    return fitted


def refuse_image_size(request: Request, own_size: int, patch_size: int) -> None:
    """Refuses an image size that patches do not fill, unless it is the architecture's own.

    Raises:
        InputError: names the nearest sizes that work.
    """
    image_size = request.image_size
    if image_size == own_size or (image_size > 0 and image_size % patch_size == 0):
        return
    below = max(image_size, 0) // patch_size * patch_size
    sizes = " or ".join(str(size) for size in (below, below + patch_size) if size > 0)
    raise InputError(
        f"image size {image_size} is not a multiple of {patch_size}, the patch size of {request.name}; "
        f"take {sizes}"
    )
