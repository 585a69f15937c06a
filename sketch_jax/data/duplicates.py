"""Near-duplicates: images that differ by a flip, a quarter turn, their size, a small shift or JPEG losses.

Each image becomes a grey thumbnail. A hash of its low frequencies, compared in all eight flips and quarter
turns, finds the candidates; the thumbnails of these, laid over one another as well as they can be, decide.

References:
    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010), section 3.2.1: hashes
    by low frequencies of the discrete cosine transform. Theirs keeps signs; here the values are kept, as the
    signs of drawings' low frequencies turn over at a shift of one pixel.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image

from sketch_jax.data.decode import decode_image
from sketch_jax.data.options import usable_cores
from sketch_jax.data.records import Examples, Pixels

SIDE = 64
"""Of thumbnails, in cells."""
FREQUENCIES = 12
"""Low frequencies along each axis that make a hash."""
VIEWS = 8
"""Flips and quarter turns of a square: the last four are those of its transpose."""
CANDIDATE = 0.84
"""Least correlation of the hashes of pairs whose thumbnails are compared. 64-pixel drawings and their copies
shifted by a pixel have 0.85 and more."""
REACH = 2
"""Cells by which thumbnails are moved against one another."""
BLOCK = 256
"""Images, or pairs, that are compared at a time."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

Thumbnails = UInt8[np.ndarray, "images side side"]
Hashes = Float[np.ndarray, "images frequencies frequencies"]


class Pairs(NamedTuple):
    """Pairs of near-duplicates; the first of a pair is the earlier image."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    similarity: Float[np.ndarray, " pairs"]
    """Correlation of their thumbnails, as well as they can be laid over one another; 1 is the same."""


def thumbnail(pixels: Pixels) -> UInt8[np.ndarray, "side side"]:
    """The grey thumbnail of an image, squashed to a square: each cell is the mean over its area."""
    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def read_thumbnails(examples: Examples, progress: Progress | None = None) -> Thumbnails:
    """Thumbnails of all images of a table.

    Args:
        examples: the table.
        progress: called now and then.

    Raises:
        ImageError: an image cannot be decoded.
    """
    made = np.empty((len(examples), SIDE, SIDE), np.uint8)

    def fill(rows: range) -> None:
        for row in rows:
            made[row] = thumbnail(decode_image(examples.read(row)))

    parts = _blocks(len(examples))
    with ThreadPoolExecutor(usable_cores()) as pool:
        for part, _ in zip(parts, pool.map(fill, parts), strict=True):
            if progress is not None:
                progress(part.stop, len(examples))
    return made


def find_duplicates(thumbnails: Thumbnails, similarity: float) -> Pairs:
    """All pairs of near-duplicates; images of one colour throughout are none.

    Every image is compared with every other: 10,000 take about a second on two cores, 100,000 two minutes.

    Args:
        thumbnails: of all images.
        similarity: least correlation of a pair, above 0 to 1.
    """
    hashes = _hash(thumbnails)
    found = [_no_pairs(), *(_pairs_of(thumbnails, hashes, rows, similarity) for rows in _blocks(len(hashes)))]
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def join_groups(
    ids: Sequence[str], groups: Sequence[str] | None, pairs: Pairs, count: int
) -> tuple[str, ...] | None:
    """Groups in which near-duplicates are together, and so are the groups that they had.

    Args:
        ids: of the images that get a group: the first of those that were compared.
        groups: of these images; None: every image for itself.
        pairs: of near-duplicates among all images that were compared.
        count: of all these; further ones can be what joins two of the first.

    Returns:
        For each image the group, or where it had none the id, of the first one that it is together with;
        what was given where there are no pairs.
    """
    from scipy import sparse  # here, as it takes a tenth of a second of each start

    if not len(pairs.first):
        return None if groups is None else tuple(groups)
    names = list(ids if groups is None else groups)
    leaders: dict[str, int] = {}
    own = [leaders.setdefault(name, place) for place, name in enumerate(names)]
    links = np.stack([np.arange(len(own)), np.array(own, np.int64)])
    first, second = np.concatenate([links, [pairs.first, pairs.second]], axis=1)
    graph = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    _, together = sparse.csgraph.connected_components(graph, directed=False)
    _, earliest, of_image = np.unique(together[: len(names)], return_index=True, return_inverse=True)
    return tuple(names[place] for place in earliest[of_image])


def _hash(thumbnails: Thumbnails) -> Hashes:
    """Low frequencies but that of the mean, of length 1; 0 for thumbnails of one colour."""
    low = _low_frequencies()
    spectra = np.concatenate(
        [
            low @ thumbnails[rows.start : rows.stop].astype(np.float32) @ low.T
            for rows in _blocks(len(thumbnails))
        ]
        or [np.zeros((0, FREQUENCIES, FREQUENCIES), np.float32)]
    )
    spectra[:, 0, 0] = 0.0
    length = np.linalg.norm(spectra, axis=(1, 2), keepdims=True)
    return np.where(length > 1e-2, spectra / np.maximum(length, 1e-2), 0.0)


@functools.cache
def _low_frequencies() -> Float[np.ndarray, "frequencies side"]:
    """Of the cosine transform of type II, each row of length 1."""
    cells, frequencies = np.arange(SIDE) + 0.5, np.arange(FREQUENCIES)[:, None]
    rows = np.cos(np.pi / SIDE * frequencies * cells)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _orient(
    square: Shaped[np.ndarray, "*images side side"],
    view: int,
    flip: Callable[[np.ndarray, int], np.ndarray],
) -> Shaped[np.ndarray, "*images side side"]:
    """One of the eight views; `flip` turns an axis round."""
    turned = np.swapaxes(square, -1, -2) if view >= 4 else square
    turned = flip(turned, -2) if view & 2 else turned
    return flip(turned, -1) if view & 1 else turned


def _flip_frequencies(hashes: Hashes, axis: int) -> Hashes:
    """What flipping an image does to its cosine transform: the odd frequencies change their signs."""
    signs = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)
    return hashes * (signs[:, None] if axis == -2 else signs)


def _pairs_of(thumbnails: Thumbnails, hashes: Hashes, rows: range, similarity: float) -> Pairs:
    """The pairs whose first image is in a block of rows."""
    block, later = hashes[rows.start : rows.stop], hashes[rows.start :].reshape(-1, FREQUENCIES**2)
    nearest = np.full((len(block), len(later)), -1.0, np.float32)
    view_of = np.zeros(nearest.shape, np.uint8)
    for view in range(VIEWS):
        seen = _orient(block, view, _flip_frequencies).reshape(len(block), -1)
        correlation = seen @ later.T
        nearer = correlation > nearest
        nearest[nearer], view_of[nearer] = correlation[nearer], view
    first, second = np.nonzero(np.triu(nearest >= CANDIDATE, 1))
    alike = _correlations(thumbnails, first + rows.start, second + rows.start, view_of[first, second])
    kept = alike >= similarity
    return Pairs(first[kept] + rows.start, second[kept] + rows.start, alike[kept])


def _correlations(
    thumbnails: Thumbnails,
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    views: UInt8[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Correlations of thumbnails, the first seen in a view, at the shift of few cells that fits best."""
    found = np.empty(len(first), np.float32)
    for view in range(VIEWS):
        of_view = np.flatnonzero(views == view)
        for part in _blocks(len(of_view)):
            places = of_view[part.start : part.stop]
            ours = _orient(thumbnails[first[places]], view, np.flip)
            found[places] = _aligned_correlation(ours, thumbnails[second[places]])
    return found


def _aligned_correlation(ours: Thumbnails, theirs: Thumbnails) -> Float[np.ndarray, " images"]:
    a, b = (image - image.mean((1, 2), keepdims=True) for image in (ours / 255.0, theirs / 255.0))
    over_shifts = np.fft.irfft2(np.fft.rfft2(a) * np.conj(np.fft.rfft2(b)), s=(SIDE, SIDE))
    near = np.arange(-REACH, REACH + 1)
    best = over_shifts[:, near][:, :, near].max((1, 2))
    lengths = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(b, axis=(1, 2))
    return (best / np.maximum(lengths, 1e-9)).astype(np.float32)


def _blocks(count: int) -> Sequence[range]:
    rows = range(count)
    return [rows[start : start + BLOCK] for start in rows[::BLOCK]]


def _no_pairs() -> Pairs:
    nothing = np.zeros(0, np.int64)
    return Pairs(nothing, nothing, np.zeros(0, np.float32))
