"""Images as patches: the embedding that starts a vision transformer, and leaving patches out in training."""

from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.models.attention import Tokens, optional_norm
from sketch_jax.models.convolutional import symmetric_uniform
from sketch_jax.models.half_precision import add_to_channels
from sketch_jax.models.layers import Norm


def cut_patches(
    images: Float[Array, "batch height width channels"], patch_size: int
) -> Float[Array, "batch patches values"]:
    """The patches of each image, row by row, values as they lie in the image; what is left over is cut off.

    Args:
        images: of any size.
        patch_size: height and width of a patch, in pixels.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // patch_size, width // patch_size
    whole = images[:, : rows * patch_size, : columns * patch_size]
    cells = whole.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)


class PatchProjection(nn.Module):
    """A convolution whose stride is its kernel's size, as one product of matrices.

    `kernel` is [height, width, in, out]. New weights and biases start as torch's convolutions do.
    """

    patch_size: int
    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"]) -> Tokens:
        """One token for each patch."""
        patches = cut_patches(images.astype(self.dtype), self.patch_size)
        batch, count, values = patches.shape
        init = symmetric_uniform(values**-0.5)
        shape = (self.patch_size, self.patch_size, images.shape[-1], self.features)
        kernel = self.param("kernel", init, shape, jnp.float32).astype(self.dtype)
        tokens = patches.reshape(batch * count, values) @ kernel.reshape(values, self.features)
        if self.use_bias:
            bias = self.param("bias", init, (self.features,), jnp.float32)
            tokens = add_to_channels(tokens, bias)
        return tokens.reshape(batch, count, self.features)


class PatchEmbed(nn.Module):
    """Patches as tokens.

    References:
        timm/layers/patch_embed.py.
    """

    patch_size: int
    width: int
    use_bias: bool = True
    norm_layer: Norm | None = None
    dtype: Any = jnp.float32

    def setup(self):
        """The projection and, where there is one, its norm."""
        self.proj = PatchProjection(self.patch_size, self.width, self.use_bias, dtype=self.dtype)
        self.norm = optional_norm(self.norm_layer)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Tokens:
        """One token for each patch, row by row."""
        return self.norm(self.proj(images))


class PatchDropout(nn.Module):
    """Leaves a share of the patches out of each image, other ones in each; fewer tokens cost less.

    References:
        timm/layers/patch_dropout.py; Scaling Language-Image Pre-training via Masking (arXiv:2212.00794).
    """

    rate: float
    prefix_tokens: int
    """Tokens before the patches, which all stay."""

    def __call__(self, tokens: Tokens, train: bool) -> Float[Array, "batch kept_tokens embedding"]:
        """Thins the patches in training."""
        return self.thin(tokens, train)[0]

    @nn.compact
    def thin(
        self, tokens: Tokens, train: bool
    ) -> tuple[Float[Array, "batch kept_tokens embedding"], Int[Array, "batch kept_tokens"] | None]:
        """Thins the patches in training, and tells which tokens stay; None: all of them."""
        if not train or self.rate == 0.0:
            return tokens, None
        batch, count = tokens.shape[0], tokens.shape[1] - self.prefix_tokens
        noise = jax.random.uniform(self.make_rng("dropout"), (batch, count))
        patches = jnp.argsort(noise, axis=1)[:, : max(1, int(count * (1.0 - self.rate)))]
        prefix = jnp.broadcast_to(jnp.arange(self.prefix_tokens)[None], (batch, self.prefix_tokens))
        kept = jnp.concatenate([prefix, patches + self.prefix_tokens], axis=1)
        return jnp.take_along_axis(tokens, kept[:, :, None], axis=1), kept
