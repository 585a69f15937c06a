"""Near-duplicates: images that differ by a flip, a quarter turn, their size, a small shift or JPEG losses.

Each image becomes a grey thumbnail, of which the mean of all is taken away: what they share (paper, frames,
bars) says nothing. A hash of its low frequencies, compared in all eight flips and quarter turns, finds the
candidates; the thumbnails of these, laid over one another as well as they can be, decide.

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
from sketch_jax.data.verify import Progress
from sketch_jax.errors import InputError

SIDE = 64
"""Of thumbnails, in cells."""
FREQUENCIES = 8
"""Low frequencies along each axis that make a hash."""
VIEWS = 8
"""Flips and quarter turns of a square: the last four are those of its transpose."""
CANDIDATE = 0.75
"""Least correlation of the hashes of pairs whose thumbnails are compared. 95 of 100 drawings of 32 pixels
have 0.76 and more with their copy shifted by a pixel along both axes, of 64 pixels 0.9."""
FEW = 100
"""The mean of fewer images shows them rather than what all share, and is not taken away."""
MOST_PAIRS = 50
"""Times the number of images: more pairs are no near-duplicates, but pictures that look alike altogether."""
REACH = 2
"""Cells by which thumbnails are moved against one another."""
BLOCK = 256
"""Images, or pairs, that are compared at a time."""

Thumbnails = UInt8[np.ndarray, "images side side"]
Shared = Float[np.ndarray, "side side"]
"""What all thumbnails share."""
Centred = Float[np.ndarray, "images side side"]
"""Thumbnails less what they share, and less their means."""
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


def read_thumbnails(examples: Examples, progress: Progress = lambda done, total: None) -> Thumbnails:
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
            progress(part.stop, len(examples))
    return made


def find_duplicates(
    thumbnails: Thumbnails, similarity: float, progress: Progress = lambda done, total: None
) -> Pairs:
    """Pairs of near-duplicates; images of one colour throughout are none.

    The hashes of every image are compared with those of every other.

    Args:
        thumbnails: of all images.
        similarity: least correlation of a pair, above 0 to 1.
        progress: called now and then.

    Raises:
        InputError: nearly all images are found to be alike.
    """
    total = len(thumbnails)
    shared = thumbnails.mean(0, dtype=np.float32) if total >= FEW else np.zeros((SIDE, SIDE), np.float32)
    hashes = _hash(thumbnails, shared)
    found = [_no_pairs()]
    for rows in _blocks(total):
        found.append(_pairs_of(thumbnails, shared, hashes, rows, similarity))
        count = sum(len(pairs.first) for pairs in found)
        if count > MOST_PAIRS * total:
            raise InputError(
                f"--duplicates.similarity {similarity:g}: {count:,} pairs of near-duplicates among "
                f"{rows.stop:,} of {total:,} images; they look alike altogether, so raise it, or leave "
                "--duplicates.kind out"
            )
        progress(rows.stop, total)
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
        what was given where none are newly together.
    """
    from scipy import sparse  # here, as it takes a tenth of a second of each start

    names = list(ids if groups is None else groups)
    leaders: dict[str, int] = {}
    own = [leaders.setdefault(name, place) for place, name in enumerate(names)]
    links = np.stack([np.arange(len(own)), np.array(own, np.int64)])
    first, second = np.concatenate([links, [pairs.first, pairs.second]], axis=1)
    graph = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    _, together = sparse.csgraph.connected_components(graph, directed=False)
    _, earliest, of_image = np.unique(together[: len(names)], return_index=True, return_inverse=True)
    if len(earliest) == len(leaders):
        return None if groups is None else tuple(groups)
    return tuple(names[place] for place in earliest[of_image])


def _centred(thumbnails: Thumbnails, shared: Shared) -> Centred:
    """Thumbnails less what all share, and less their means."""
    rest = thumbnails - shared
    return rest - rest.mean((1, 2), keepdims=True)


def _hash(thumbnails: Thumbnails, shared: Shared) -> Hashes:
    """Low frequencies, of length 1; 0 for images of one colour."""
    low = _low_frequencies()
    spectra = np.zeros((len(thumbnails), FREQUENCIES, FREQUENCIES), np.float32)
    for rows in _blocks(len(thumbnails)):
        part = slice(rows.start, rows.stop)
        spectra[part] = low @ _centred(thumbnails[part], shared) @ low.T
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


def _pairs_of(
    thumbnails: Thumbnails, shared: Shared, hashes: Hashes, rows: range, similarity: float
) -> Pairs:
    """The pairs whose first image is in a block of rows."""
    block, later = hashes[rows.start : rows.stop], hashes[rows.start :].reshape(-1, FREQUENCIES**2)
    places, views, nearness = [], [], []
    for view in range(VIEWS):
        seen = _orient(block, view, _flip_frequencies).reshape(len(block), -1)
        correlation = (seen @ later.T).ravel()
        near = np.flatnonzero(correlation >= CANDIDATE)
        places.append(near)
        views.append(np.full(len(near), view, np.uint8))
        nearness.append(correlation[near])
    place, view = np.concatenate(places), np.concatenate(views)
    nearest_first = np.argsort(-np.concatenate(nearness), kind="stable")
    place, of_nearest = np.unique(place[nearest_first], return_index=True)
    view = view[nearest_first][of_nearest]
    first, second = np.divmod(place, len(later))
    wanted = second > first
    first, second, view = first[wanted] + rows.start, second[wanted] + rows.start, view[wanted]
    alike = _correlations(thumbnails, shared, first, second, view)
    kept = alike >= similarity
    return Pairs(first[kept], second[kept], alike[kept])


def _correlations(
    thumbnails: Thumbnails,
    shared: Shared,
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
            ours, theirs = (_centred(thumbnails[each[places]], shared) for each in (first, second))
            found[places] = _aligned_correlation(_orient(ours, view, np.flip), theirs)
    return found


def _aligned_correlation(ours: Centred, theirs: Centred) -> Float[np.ndarray, " images"]:
    from scipy import fft  # here, as above

    cores = usable_cores()
    ours_of, theirs_of = (np.asarray(fft.rfft2(each, workers=cores)) for each in (ours, theirs))
    over_shifts = np.asarray(fft.irfft2(ours_of * np.conj(theirs_of), s=(SIDE, SIDE), workers=cores))
    near = np.arange(-REACH, REACH + 1)
    best = over_shifts[:, near][:, :, near].max((1, 2))
    lengths = np.linalg.norm(ours, axis=(1, 2)) * np.linalg.norm(theirs, axis=(1, 2))
    return (best / np.maximum(lengths, 1e-3)).astype(np.float32)


def _blocks(count: int) -> Sequence[range]:
    rows = range(count)
    return [rows[start : start + BLOCK] for start in rows[::BLOCK]]


def _no_pairs() -> Pairs:
    nothing = np.zeros(0, np.int64)
    return Pairs(nothing, nothing, np.zeros(0, np.float32))
