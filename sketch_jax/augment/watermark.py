"""Words of random letters drawn over an image, as watermarks on drawings from the web are."""

from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from sketch_jax.arrays import Images
from sketch_jax.augment.tables import PerImage

FONT = (
    "7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e4149497a 7f0808087f 00417f4100 "
    "2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e 7f09192946 "
    "4649494931 01017f0101 3f4040403f 1f2040201f 3f4038403f 6314081463 0708700807 6151494543"
)
"""The letters A to Z as columns of seven dots, the lowest bit on top."""
LETTERS = 8
"""Of a word."""
LETTER_ROWS, LETTER_COLUMNS = 7, 6
"""Dots of a letter, with the gap after it."""


class Words(NamedTuple):
    """A word for each image."""

    letters: Int[Array, "batch letter"]
    row: PerImage
    """Of its centre, in pixels from the image's."""
    column: PerImage
    dot: PerImage
    """Side of a dot, in pixels."""
    angle: PerImage
    """Radians, counter-clockwise."""
    tone: PerImage
    """Grey of the letters, of 255."""
    opacity: PerImage
    """0 is invisible, 1 hides what is below."""


def draw_words(key: Key[Array, ""], opacity: Float[Array, "2"], count: int, shape: tuple[int, int]) -> Words:
    """Random words, a third of the width to all of it, up to 45 degrees aslant, somewhere in the image.

    Args:
        key: of this batch.
        opacity: least and largest.
        count: images.
        shape: height and width in pixels.
    """
    letter_key, uniform_key = jax.random.split(key)
    row, column, dot, angle, tone, visible = jax.random.uniform(uniform_key, (6, count))
    return Words(
        letters=jax.random.randint(letter_key, (count, LETTERS), 0, 26),
        row=(row - 0.5) * 0.8 * shape[0],
        column=(column - 0.5) * 0.5 * shape[1],
        dot=(1.0 + 2.0 * dot) / 3.0 * shape[1] / (LETTERS * LETTER_COLUMNS),
        angle=(angle - 0.5) * (np.pi / 2.0),
        tone=160.0 * tone,
        opacity=opacity[0] + (opacity[1] - opacity[0]) * visible,
    )


def draw_over(pixels: Images, words: Words) -> Images:
    """Each image with its word over it."""
    height, width = pixels.shape[1:3]
    covered = jax.vmap(lambda word: _coverage(word, height, width))(words)
    opacity = (words.opacity.reshape(-1, 1, 1) * covered)[..., None]
    values = jnp.asarray(pixels).astype(jnp.float32)
    mixed = values + opacity * (words.tone.reshape(-1, 1, 1, 1) - values)
    return jnp.clip(mixed + 0.5, 0.0, 255.0).astype(jnp.uint8)


def _coverage(word: Words, height: int, width: int) -> Float[Array, "height width"]:
    """1 where a dot of the word lies on a pixel's centre, 0 elsewhere."""
    bitmap = jnp.asarray(_font())[word.letters].transpose(1, 0, 2).reshape(LETTER_ROWS, -1)
    down = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2.0 - word.row).reshape(-1, 1)
    right = (jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2.0 - word.column).reshape(1, -1)
    cosine, sine = jnp.cos(word.angle), jnp.sin(word.angle)
    rows = _dots((down * cosine + right * sine) / word.dot, LETTER_ROWS)
    columns = _dots((right * cosine - down * sine) / word.dot, LETTERS * LETTER_COLUMNS)
    bordered = jnp.pad(bitmap, 1)
    return bordered.at[rows, columns].get(mode="promise_in_bounds").astype(jnp.float32)


def _dots(places: Float[Array, "height width"], count: int) -> Int[Array, "height width"]:
    """Which dot of a bordered bitmap lies at a place from its centre."""
    return jnp.clip(jnp.floor(places + count / 2.0 + 1.0), 0, count + 1).astype(jnp.int32)


def _font() -> UInt8[np.ndarray, "26 7 6"]:
    columns = np.array([list(bytes.fromhex(letter)) for letter in FONT.split()], np.uint8)
    dots = (columns[:, None, :] >> np.arange(LETTER_ROWS, dtype=np.uint8)[None, :, None]) & 1
    return np.pad(dots, ((0, 0), (0, 0), (0, 1)))
