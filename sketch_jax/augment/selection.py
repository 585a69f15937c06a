"""Operations that happen to some images of a batch only."""

from collections.abc import Callable

import jax
from jax import numpy as jnp
from jaxtyping import Array, Bool, PyTree

from sketch_jax.arrays import Images


def where_drawn(
    happens: Bool[Array, " batch"], operation: Callable[..., Images], pixels: Images, *parameters: PyTree
) -> Images:
    """What an operation makes of the images to which it happens, and the other images as they are.

    On a CPU it runs on one image after the other, and only where it happens: this spares the rest, and an
    image stays in the processor's cache. Elsewhere it runs on the whole batch, since a branch would wait for
    the host.

    Args:
        happens: for each image.
        operation: (pixels, *parameters) -> pixels, for batches of any length.
        pixels: images.
        parameters: arrays with a row for each image.
    """
    arguments = (happens, jnp.asarray(pixels), parameters)

    def one_by_one(happens: Array, pixels: Array, parameters: PyTree) -> Array:
        return jax.lax.map(lambda row: _on_one(operation, *row), (happens, pixels, parameters))

    def all_at_once(happens: Array, pixels: Array, parameters: PyTree) -> Array:
        return jnp.where(happens.reshape(-1, 1, 1, 1), operation(pixels, *parameters), pixels)

    return jax.lax.platform_dependent(*arguments, cpu=one_by_one, default=all_at_once)


def _on_one(operation: Callable[..., Images], happens: Array, image: Array, parameters: PyTree) -> Array:
    def change() -> Array:
        return operation(image[None], *jax.tree.map(lambda values: values[None], parameters))[0]

    return jax.lax.cond(happens, change, lambda: image)
