"""Near-duplicates are found whatever was done to them, and what merely resembles is not."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from sketch_jax.data.decode import decode_image
from sketch_jax.data.doodles import SUBJECTS, Doodles, load_doodles
from sketch_jax.data.duplicates import Pairs, find_duplicates, join_groups, read_thumbnails, thumbnail
from sketch_jax.data.options import NearDuplicates
from sketch_jax.errors import InputError

USUAL = NearDuplicates().similarity


@pytest.fixture(scope="module")
def drawings():
    doodles = Doodles(classes=tuple(SUBJECTS)[:12], train_per_class=6, test_per_class=1)
    train = load_doodles(doodles).train
    return train, [decode_image(train.read(row)) for row in range(len(train))]


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def rescaled(pixels):
    height, width = pixels.shape[:2]
    small = Image.fromarray(pixels).resize((width * 2 // 3, height * 2 // 3), Image.Resampling.BICUBIC)
    return np.asarray(small)


def shifted(pixels):
    return np.pad(pixels, ((1, 0), (1, 0), (0, 0)), constant_values=255)[:-1, :-1]


CHANGES = {
    "flipped": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "turned": lambda pixels: np.rot90(pixels),
    "turned and flipped": lambda pixels: np.rot90(pixels, 3)[::-1],
    "rescaled": rescaled,
    "a JPEG": jpeg,
    "shifted": shifted,
    "all of it": lambda pixels: jpeg(rescaled(np.ascontiguousarray(np.rot90(shifted(pixels))))),
}


def copies_of(images, change):
    return [np.ascontiguousarray(CHANGES[change](pixels)) for pixels in images]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_to_a_copy_does_not_hide_it(drawings, change):
    images = drawings[1]
    copies = copies_of(images, change)
    pairs = find_duplicates(np.stack([thumbnail(pixels) for pixels in (*images, *copies)]), USUAL)
    found = {(first, second - len(images)) for first, second in zip(pairs.first, pairs.second, strict=True)}
    assert sum(first == second for first, second in found) >= 0.95 * len(images)
    assert sum(first != second for first, second in found) <= 0.02 * len(images)


@pytest.mark.parametrize("side", [32, 48])
def test_small_images_that_are_shifted_by_a_pixel_are_found(drawings, side):
    sized = [np.asarray(Image.fromarray(pixels).resize((side, side))) for pixels in drawings[1]]
    pairs = find_duplicates(np.stack([thumbnail(pixels) for pixels in (*sized, *map(shifted, sized))]), USUAL)
    assert (pairs.second - pairs.first == len(sized)).sum() >= 0.95 * len(sized)


def barred(pixels):
    height, width = pixels.shape[:2]
    wide = np.zeros((height, width * 4 // 3, 3), np.uint8)
    wide[:, width // 6 : width // 6 + width] = pixels
    return wide


def test_bars_that_all_images_have_make_them_no_duplicates(drawings):
    images = [barred(pixels) for pixels in drawings[1]]
    copies = [pixels[:, ::-1] for pixels in images]
    pairs = find_duplicates(np.stack([thumbnail(pixels) for pixels in (*images, *copies)]), USUAL)
    right = pairs.second - pairs.first == len(images)
    assert right.sum() >= 0.95 * len(images)
    assert (~right).sum() <= 0.04 * len(images)


def test_images_that_look_alike_altogether_are_refused_with_a_remedy():
    alike = np.random.default_rng(0).integers(0, 9, (200, 64, 64), np.uint8)
    alike[:150, 20:40, 10:50] += 200
    with pytest.raises(InputError) as caught:
        find_duplicates(alike, 0.5)
    assert str(caught.value) == (
        "--duplicates.similarity 0.5: 12,400 pairs of near-duplicates among 200 of 200 images; they look "
        "alike altogether, so raise it, or leave --duplicates.kind out"
    )


def test_copies_of_real_drawings_are_found_and_two_drawings_are_none(quickdraw):
    files = sorted(quickdraw.glob("train/*/*.png"))[::10]
    images = [decode_image(path) for path in files]
    assert len(images) >= 200
    own = np.stack([thumbnail(pixels) for pixels in images])
    assert len(find_duplicates(own, USUAL).first) == 0
    for change in CHANGES:
        copies = np.stack([thumbnail(pixels) for pixels in copies_of(images, change)])
        pairs = find_duplicates(np.concatenate([own, copies]), USUAL)
        right = pairs.second - pairs.first == len(images)
        assert right.sum() >= 0.95 * len(images), change


def test_flips_and_turns_leave_the_similarity_one(drawings):
    pixels = drawings[1][0][:, 8:]
    for flip, turns in itertools.product((False, True), range(4)):
        side = pixels[:, ::-1] if flip else pixels
        turned = np.ascontiguousarray(np.rot90(side, turns))
        pairs = find_duplicates(np.stack([thumbnail(pixels), thumbnail(turned)]), 0.99)
        assert pairs.similarity.tolist()


def test_the_similarity_is_the_best_correlation_over_small_shifts():
    noise = np.random.default_rng(0).integers(0, 256, (70, 70)).astype(np.float64)
    smooth = noise
    for axis in (0, 1, 0, 1):
        smooth = sum(np.roll(smooth, step, axis) for step in range(-3, 4)) / 7
    smooth = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    first, second = smooth[:64, :64], np.roll(smooth[:64, :64], (2, -1), (0, 1))
    best = max(
        np.corrcoef(first.ravel(), np.roll(second, (down, right), (0, 1)).ravel())[0, 1]
        for down, right in itertools.product(range(-2, 3), repeat=2)
    )
    pairs = find_duplicates(np.stack([first, second]), 0.5)
    assert best == pytest.approx(1.0)
    assert pairs.similarity.tolist() == pytest.approx([best], abs=1e-5)


def test_pairs_are_found_across_the_blocks_that_are_compared_at_a_time():
    thumbnails = np.random.default_rng(0).integers(0, 256, (600, 64, 64), np.uint8)
    thumbnails[500], thumbnails[400] = thumbnails[3].T[::-1], thumbnails[20]
    pairs = find_duplicates(thumbnails, USUAL)
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(3, 500), (20, 400)]


def test_empty_pages_are_no_duplicates():
    assert len(find_duplicates(np.full((3, 64, 64), 255, np.uint8), 0.1).first) == 0
    assert len(find_duplicates(np.zeros((0, 64, 64), np.uint8), 0.1).first) == 0


def test_thumbnails_are_those_of_the_images_in_order_and_progress_is_told(drawings):
    train, images = drawings
    told = []
    made = read_thumbnails(train, lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(made, np.stack([thumbnail(pixels) for pixels in images]))
    assert told[-1] == (len(train), len(train))


def pairs_of(*places):
    first, second = zip(*places, strict=True) if places else ((), ())
    return Pairs(np.array(first, np.int64), np.array(second, np.int64), np.ones(len(places), np.float32))


def test_near_duplicates_and_the_groups_they_had_are_joined():
    ids = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert join_groups(ids, None, pairs_of((1, 3)), 5) == ("a.png", "b.png", "c.png", "b.png", "e.png")
    groups = ["x", "y", "y", "z", "z"]
    assert join_groups(ids, groups, pairs_of((0, 2)), 5) == ("x", "x", "x", "z", "z")
    assert join_groups(ids, groups, pairs_of(), 5) == ("x", "y", "y", "z", "z")
    assert join_groups(ids, None, pairs_of(), 5) is None


def test_a_pair_within_a_group_or_outside_changes_no_groups():
    ids, groups = ["a", "b", "c"], ["x", "y", "x"]
    assert join_groups(ids, groups, pairs_of((0, 2), (1, 3)), 4) == ("x", "y", "x")
    assert join_groups(ids, None, pairs_of((1, 3)), 4) is None


def test_two_images_that_are_like_a_third_of_another_part_are_joined():
    assert join_groups(["a", "b", "c"], None, pairs_of((0, 3), (2, 3)), 4) == ("a", "b", "a")
