"""Fitting learnt position embeddings and patch kernels to another image or patch size, as timm does.

References:
    timm/layers/pos_embed.py, timm/layers/patch_embed.py; FlexiViT (arXiv:2212.08013) for the kernels.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float

from sketch_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a grid is resampled."""

    kernel: Literal["cubic", "linear"] = "cubic"
    antialias: bool = True
    """Whether the kernel is stretched when the grid shrinks."""
    align_corners: bool = False
    """Whether the outermost samples keep their places, not the outer edges of their cells."""


CUBIC = Resampling()


def resize_matrix(old: int, new: int, resampling: Resampling = CUBIC) -> Float[np.ndarray, "new old"]:
    """The matrix that resamples an axis.

    Args:
        old: samples before.
        new: samples after.
        resampling: by which kernel.

    >>> resize_matrix(2, 3, Resampling(kernel="linear", antialias=False)).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    places = np.arange(new)
    if resampling.align_corners:
        centres = places * (old - 1) / max(new - 1, 1)
    else:
        centres = (places + 0.5) * old / new - 0.5
    stretch = max(old / new, 1.0) if resampling.antialias else 1.0
    distances = np.abs(np.arange(old)[None, :] - centres[:, None]) / stretch
    weights = _cubic(distances) if resampling.kernel == "cubic" else np.maximum(1.0 - distances, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(distances: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2, which torch takes where it antialiases."""
    near = (1.5 * distances - 2.5) * distances**2 + 1.0
    far = ((-0.5 * distances + 2.5) * distances - 4.0) * distances + 2.0
    return np.where(distances < 1.0, near, np.where(distances < 2.0, far, 0.0))


def resample_position_embedding(
    embedding: np.ndarray | Array, grid_size: int, prefix_tokens: int, resampling: Resampling = CUBIC
) -> Float[np.ndarray | Array, "1 tokens embedding"]:
    """Position embeddings for another grid of patches; those of the tokens before the patches are kept.

    Args:
        embedding: [1, tokens, width], of a square grid; may be traced.
        grid_size: patches in a row and in a column.
        prefix_tokens: tokens before the patches that have embeddings.
        resampling: by which kernel.

    Raises:
        InputError: when the embedding is not of a square grid.
    """
    if embedding.shape[1] == prefix_tokens + grid_size**2:
        return embedding
    prefix, patches = embedding[:, :prefix_tokens], embedding[:, prefix_tokens:]
    old_size = math.isqrt(patches.shape[1])
    if not old_size or old_size**2 != patches.shape[1]:
        raise InputError(
            f"pos_embed: {embedding.shape[1]} position embeddings, of which {prefix_tokens} stand before the "
            "patches, are not of a square grid of patches; take weights of a square image size"
        )
    matrix = resize_matrix(old_size, grid_size, resampling)
    grid = patches.reshape(old_size, old_size, -1)
    resampled = resize_plane(matrix, matrix, grid).reshape(1, grid_size**2, -1)
    join = np.concatenate if isinstance(embedding, np.ndarray) else jnp.concatenate
    return join([prefix.astype(np.float32), resampled], axis=1)


def resize_plane(
    rows: Float[np.ndarray, "new_rows old_rows"],
    columns: Float[np.ndarray, "new_columns old_columns"],
    values: Float[np.ndarray | Array, "old_rows old_columns channels"],
) -> Float[np.ndarray | Array, "new_rows new_columns channels"]:
    """Values of a plane, resized along both axes, in float32; traced ones in the program that is traced."""
    if isinstance(values, np.ndarray):
        resized = np.einsum("yh,xw,hwc->yxc", rows, columns, values.astype(np.float32), optimize=True)
        return resized.astype(np.float32)
    single = (jnp.asarray(value, jnp.float32) for value in (rows, columns, values))
    return jnp.einsum("yh,xw,hwc->yxc", *single, precision="highest")


def resample_patch_kernel(
    kernel: np.ndarray | Array, patch_size: int, resampling: Resampling = CUBIC
) -> Float[np.ndarray | Array, "size size channels width"]:
    """A patch embedding's kernel for another patch size, so that resized patches give nearly the same tokens.

    Args:
        kernel: [height, width, channels, tokens' width].
        patch_size: height and width wanted.
        resampling: how patches are resized.
    """
    if kernel.shape[:2] == (patch_size, patch_size):
        return kernel
    rows, columns = (np.linalg.pinv(resize_matrix(old, patch_size, resampling)) for old in kernel.shape[:2])
    old = np.asarray(kernel, np.float32)
    return np.einsum("hy,wx,hwcd->yxcd", rows, columns, old, optimize=True).astype(np.float32)
