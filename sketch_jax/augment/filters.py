"""Operations on the neighbourhood of a pixel, on bytes as Pillow has them: 255 is white paper.

Beyond the border lie copies of its pixels.

References:
    Pillow's Filter.c, ImageEnhance and UnsharpMask.c; albumentations' Emboss.
"""

from collections.abc import Sequence

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from sketch_jax.arrays import Images
from sketch_jax.augment.colour import blend, luma
from sketch_jax.augment.tables import PerImage

Values = Float[Array, "batch height width channel"]


def sharpen(pixels: Images, factors: PerImage) -> Images:
    """Distances from Pillow's smoothed image multiplied by a factor: 0 is smooth, 1 unchanged, 2 sharp.

    The outermost pixels are their own smoothed value, as in Pillow.
    """
    values = jnp.asarray(pixels).astype(jnp.float32)
    inner = jnp.floor(_correlate(values, ((1, 1, 1), (1, 5, 1), (1, 1, 1))) / 13.0 + 0.5)
    return blend(jnp.where(_is_border(*values.shape[1:3]), values, inner), values, factors)


def gaussian_blur(pixels: Images, sigmas: PerImage) -> Images:
    """A Gaussian of the given standard deviation in pixels, of at least 0, cut off nowhere.

    Its true spread is that from 0.8 pixels on; they are too wide for less: 0.5 gives 0.47, 0.3 none.
    """
    return _rounded(_blurred(pixels, sigmas))


def unsharp_mask(pixels: Images, sigmas: PerImage, shares: PerImage, thresholds: PerImage) -> Images:
    """A share of what a Gaussian blur takes away is added again, where that is more than a threshold.

    Args:
        pixels: images.
        sigmas: standard deviation of the blur in pixels; Pillow's `radius`.
        shares: Pillow's `percent`, of 1.
        thresholds: least difference of bytes that counts.
    """
    values = jnp.asarray(pixels).astype(jnp.float32)
    lost = values - jnp.round(_blurred(pixels, sigmas))
    added = jnp.trunc(lost * _per_image(shares))
    return _cut(jnp.where(jnp.abs(lost) > _per_image(thresholds), values + added, values))


def emboss(pixels: Images, opacities: PerImage, reliefs: PerImage) -> Images:
    """A relief lit from the lower right, drawn over the image.

    Args:
        pixels: images.
        opacities: 0 shows the image, 1 the relief alone.
        reliefs: how much a neighbour counts, from 0.
    """
    values = jnp.asarray(pixels).astype(jnp.float32)
    diagonal = _correlate(values, ((-1, 0, 0), (0, 1, 0), (0, 0, 1)))
    slope = _correlate(values, ((-1, -1, 0), (-1, 0, 1), (0, 1, 1)))
    relief = diagonal + _per_image(reliefs) * slope
    return _rounded(values + _per_image(opacities) * (relief - values))


def motion_blur(pixels: Images, lengths: PerImage, angles: PerImage) -> Images:
    """The mean along a line through each pixel.

    Args:
        pixels: images.
        lengths: of the line in pixels, counted along the nearer axis; 1 and less change nothing.
        angles: of the line in radians, counter-clockwise from the direction of the rows.
    """
    values = jnp.asarray(pixels).astype(jnp.float32)
    reach = jnp.maximum((lengths - 1.0) / 2.0, 0.0)
    down, right = -jnp.sin(angles), jnp.cos(angles)
    longer = jnp.maximum(jnp.abs(down), jnp.abs(right))

    def add(step: Int[Array, ""], total: Array) -> Array:
        places = step.astype(jnp.float32) * jnp.array([1.0, -1.0])
        weights = jnp.clip(reach + 1.0 - step.astype(jnp.float32), 0.0, 1.0)
        moved = sum(_moved(values, place * down / longer, place * right / longer) for place in places)
        return total + _per_image(weights) * moved

    steps = jnp.ceil(reach.max()).astype(jnp.int32)
    total = jax.lax.fori_loop(1, steps + 1, add, values)
    return _rounded(total / _per_image(2.0 * reach + 1.0))


def edge_channels(pixels: Images) -> Images:
    """Strokes along the edges of the grey image: Sobel's, Prewitt's and Laplace's, each as a channel.

    Magnitudes are of 255 where black meets white along an axis.
    """
    grey = luma(pixels).astype(jnp.float32)
    difference, sobel, flat = (-1, 0, 1), (1, 2, 1), (1, 1, 1)
    magnitudes = [_gradient(grey, difference, smooth) / sum(smooth) for smooth in (sobel, flat)]
    laplace = jnp.abs(_correlate(grey, ((0, 1, 0), (1, -4, 1), (0, 1, 0))))
    return _rounded(255.0 - jnp.concatenate([*magnitudes, laplace], axis=-1))


def _gradient(grey: Values, difference: Sequence[int], smooth: Sequence[int]) -> Values:
    down = _correlate(grey, [[change * weight for weight in smooth] for change in difference])
    right = _correlate(grey, [[change * weight for change in difference] for weight in smooth])
    return jnp.sqrt(down * down + right * right)


def _correlate(values: Values, kernel: Sequence[Sequence[int]]) -> Values:
    """The weighted sum of a pixel's 3 x 3 neighbours."""
    height, width = values.shape[1:3]
    padded = jnp.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    total = jnp.zeros_like(values)
    for row, weights in enumerate(kernel):
        for column, weight in enumerate(weights):
            if weight:
                total += weight * padded[:, row : row + height, column : column + width]
    return total


def _blurred(pixels: Images, sigmas: PerImage) -> Values:
    """By one product with a matrix along each axis: any spread costs the same, and is as wide as it says."""
    values = jnp.asarray(pixels).astype(jnp.float32).transpose(0, 3, 1, 2)
    height, width = values.shape[2:]
    down, right = _gaussian_matrix(sigmas, height), _gaussian_matrix(sigmas, width)
    rows = jnp.einsum("bhk,bckw->bchw", down, values)
    return jnp.einsum("bchk,bwk->bhwc", rows, right)


def _gaussian_matrix(sigmas: PerImage, size: int) -> Float[Array, "batch size size"]:
    """The share of each input in each output; what lies beyond an end counts as a copy of it.

    An input counts over the whole width of its pixel, which by itself spreads it by a twelfth.
    """
    places = jnp.arange(size, dtype=jnp.float32)
    spread = jnp.sqrt(2.0 * jnp.maximum(sigmas * sigmas - 1.0 / 12.0, 1e-6)).reshape(-1, 1, 1)
    edges = jnp.concatenate([jnp.array([-jnp.inf]), places[1:] - 0.5, jnp.array([jnp.inf])])
    distances = edges.reshape(1, 1, -1) - places.reshape(1, -1, 1)
    shares = 0.5 * jax.lax.erf(distances / spread)
    return jnp.diff(shares, axis=-1)


def _moved(values: Values, down: PerImage, right: PerImage) -> Values:
    """Each image read at places that far away, between pixels along one axis."""

    def move(image: Array, down: Array, right: Array) -> Array:
        height, width = image.shape[:2]
        rows = jnp.arange(height, dtype=jnp.float32) + down
        columns = jnp.arange(width, dtype=jnp.float32) + right
        return _between(_between(image, rows, 0), columns, 1)

    return jax.vmap(move)(values, down, right)


def _between(image: Array, places: Float[Array, " size"], axis: int) -> Array:
    """An image read at fractional places along an axis."""
    size = image.shape[axis]
    before = jnp.floor(places)
    first, second = (jnp.clip(before.astype(jnp.int32) + step, 0, size - 1) for step in (0, 1))
    weights = (places - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    low, high = jnp.take(image, first, axis), jnp.take(image, second, axis)
    return low + weights * (high - low)


def _is_border(height: int, width: int) -> Array:
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in (height, width))
    edge_row = ((rows == 0) | (rows == height - 1)).reshape(1, -1, 1, 1)
    edge_column = ((columns == 0) | (columns == width - 1)).reshape(1, 1, -1, 1)
    return edge_row | edge_column


def _per_image(values: PerImage) -> Float[Array, "batch 1 1 1"]:
    return values.reshape(-1, 1, 1, 1)


def _rounded(values: Values) -> Images:
    return _cut(values + 0.5)


def _cut(values: Values) -> Images:
    return jnp.clip(values, 0.0, 255.0).astype(jnp.uint8)
