"""Views of images: which there are, and that each shows what its name says."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from sketch_jax.errors import InputError
from sketch_jax.inference.view_options import View, Views, list_views
from sketch_jax.inference.views import RANDOM, create_random_view, pixel_matrix, view_images

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)


def seen(view: View, images=IMAGES) -> np.ndarray:
    matrix = pixel_matrix(view.matrix, *images.shape[1:3])
    return np.asarray(view_images(jnp.asarray(images), matrix)) * 255.0


def named(**fields) -> dict[str, View]:
    return {view.name: view for view in list_views(Views(**fields))}


def test_flips_and_turns_give_every_pixels_own_value():
    views = named(kinds=("d4", "vertical_flip"))
    assert len(views) == 8
    expected = {
        "identity": IMAGES,
        "horizontal_flip": IMAGES[:, :, ::-1],
        "turned_90": np.rot90(IMAGES, 1, (1, 2)),
        "turned_180": np.rot90(IMAGES, 2, (1, 2)),
        "turned_270": np.rot90(IMAGES, 3, (1, 2)),
    }
    for name, pixels in expected.items():
        np.testing.assert_allclose(seen(views[name]), pixels, atol=1e-3, err_msg=name)
    shown = {seen(view).round().astype(int).tobytes() for view in views.values()}
    assert len(shown) == 8
    assert (np.ascontiguousarray(IMAGES[:, ::-1]).astype(int).tobytes()) in shown


def test_each_distinct_view_is_there_once_in_the_order_in_which_it_is_named():
    views = list_views(Views(kinds=("vertical_flip", "d4", "identity", "horizontal_flip")))
    assert [view.name for view in views][:3] == ["vertical_flip", "identity", "horizontal_flip"]
    assert len(views) == 8
    assert len(list_views(Views(kinds=("scales", "identity"), scales=(1.0, 1.2)))) == 2
    assert len(list_views(Views(kinds=("rotations", "d4"), degrees=(90.0, 45.0)))) == 9
    assert len(list_views(Views(kinds=("five_crop", "ten_crop")))) == 10
    assert len(list_views(Views(kinds=("color_jitter", "color_jitter"), passes=3))) == 3


@pytest.mark.parametrize("degrees", [15.0, -15.0, 90.0])
def test_a_rotation_is_pils(degrees):
    grid = np.linspace(0, 1, 64)
    smooth = (127 + 100 * np.sin(4 * grid[:, None] + 0.5) * np.cos(3 * grid[None, :])).astype(np.uint8)
    pixels = np.repeat(smooth[:, :, None], 3, axis=2)
    expected = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255))
    (view,) = named(kinds=("rotations",), degrees=(degrees,)).values()
    found = seen(view, pixels[None])[0]
    inner = slice(14, 50)
    np.testing.assert_allclose(found[inner, inner], np.asarray(expected)[inner, inner], atol=1.5)
    if degrees != 90.0:
        assert (found[0, 0] == 255).all(), "beyond the borders there is paper"


def test_crops_show_their_part_of_the_image_on_the_whole_view():
    side = 16
    columns = np.broadcast_to(np.arange(side) * 10, (side, side)).astype(np.uint8)
    image = np.stack([columns, columns.T, columns], axis=-1)[None]
    views = named(kinds=("five_crop",), crop=0.5)
    assert list(views) == [
        *("centre_crop", "top_left_crop", "top_right_crop", "bottom_left_crop", "bottom_right_crop")
    ]
    right = seen(views["top_right_crop"], image)[0]
    np.testing.assert_allclose(right[4, :-1, 0], (77.5 + 5 * np.arange(side))[:-1], atol=0.01)
    assert right[8, 8, 1] < 60 < right[8, 8, 0]
    mirrored = named(kinds=("ten_crop",), crop=0.5)["mirrored_top_right_crop"]
    np.testing.assert_allclose(seen(mirrored, image)[0], right[:, ::-1], atol=1e-3)


def test_a_scale_magnifies():
    image = np.full((1, 20, 20, 3), 255, np.uint8)
    image[:, 8:12, 8:12] = 0
    large = seen(named(kinds=("scales",), scales=(2.0,))["scale_2"], image)
    assert (large < 128).sum() == pytest.approx(4 * (image < 128).sum(), rel=0.1)


@pytest.mark.parametrize("kind", RANDOM)
def test_random_views_change_images_and_are_the_same_for_the_same_key(kind):
    see = create_random_view(kind)
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    first, again, other = (np.asarray(see(key, images)) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - np.asarray(images) / 255.0).max() > 0.01
    assert first.min() >= 0.0
    assert first.max() <= 1.0


def test_what_makes_no_view_is_refused():
    with pytest.raises(InputError) as caught:
        Views(kinds=(), scales=(0.0,), degrees=(float("inf"),), crop=1.0, passes=0)
    assert str(caught.value).splitlines() == [
        "--views: these make no views (5):",
        "  scales 0: must be above 0, at most 4",
        "  degrees inf: must be a number",
        "  kinds is empty: must name a view at least",
        "  crop 1: must be above 0 and below 1",
        "  passes 0: must be at least 1",
        "set them in these ranges",
    ]
