import itertools

import numpy as np
import pytest
from PIL import Image

from sketch_jax.data.resize import fit, resize_image, resized_size
from sketch_jax.preprocessing import Preprocessing

SIZES = [(64, 64), (300, 300), (97, 211), (211, 97), (500, 333), (31, 400), (224, 224), (256, 224), (23, 19)]
CROPS = [1.0, 0.95, 0.9, 0.875, 0.96]


def noise(height, width):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def timm_pixels(pixels, preprocessing):
    """timm's evaluation transform up to its conversion to a tensor; mean 1 makes its border white."""
    timm_data = pytest.importorskip("timm.data")
    transform = timm_data.create_transform(
        preprocessing.image_size,
        is_training=False,
        use_prefetcher=True,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_fraction,
        crop_mode=preprocessing.crop_mode,
        mean=(1.0, 1.0, 1.0),
    )
    return transform(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_equals_timm_to_the_bit(crop_mode, interpolation):
    for (height, width), crop_fraction, image_size in itertools.product(SIZES, CROPS, (64, 224, 95)):
        preprocessing = Preprocessing(
            image_size=image_size,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
            crop_mode=crop_mode,
        )
        pixels = noise(height, width)
        np.testing.assert_array_equal(
            resize_image(pixels, preprocessing),
            timm_pixels(pixels, preprocessing),
            err_msg=f"{height} x {width}, crop {crop_fraction}, to {image_size}",
        )


@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
def test_an_image_without_colour_gives_the_same_pixels_as_timm(crop_mode):
    pixels = noise(150, 130)[..., :1].repeat(3, -1)
    preprocessing = Preprocessing(image_size=96, crop_mode=crop_mode, crop_fraction=0.9)
    np.testing.assert_array_equal(resize_image(pixels, preprocessing), timm_pixels(pixels, preprocessing))


def test_one_coloured_pixel_is_enough_to_keep_colour():
    pixels = np.full((101, 101, 3), 200, np.uint8)
    pixels[50, 51] = (255, 0, 0)
    red, _, blue = resize_image(pixels, Preprocessing(image_size=101 // 2)).reshape(-1, 3).T.astype(int)
    assert (red - blue).max() > 20


def test_an_image_of_one_channel_gives_what_its_copy_in_three_gives():
    grey = noise(60, 50)[..., 0]
    preprocessing = Preprocessing(image_size=32)
    single = fit(Image.fromarray(grey), preprocessing)
    np.testing.assert_array_equal(
        np.asarray(single.convert("RGB")), resize_image(np.stack([grey] * 3, -1), preprocessing)
    )


def test_the_border_is_white():
    preprocessing = Preprocessing(image_size=64, crop_mode="border")
    pixels = resize_image(np.zeros((20, 40, 3), np.uint8), preprocessing)
    assert (pixels[:16] == 255).all()
    assert (pixels[48:] == 255).all()
    assert (pixels[16:48] == 0).all()


def test_a_crop_that_asks_for_more_than_the_image_is_padded_with_white():
    preprocessing = Preprocessing(image_size=64, crop_mode="squash", crop_fraction=2.0)
    pixels = resize_image(np.zeros((40, 40, 3), np.uint8), preprocessing)
    assert (pixels[16:48, 16:48] == 0).all()
    assert pixels.astype(int).sum() == 255 * 3 * (64 * 64 - 32 * 32)


def test_a_sliver_keeps_at_least_one_pixel():
    preprocessing = Preprocessing(image_size=32, crop_mode="border")
    assert resized_size((1000, 2), preprocessing) == (32, 1)
    assert resize_image(noise(2, 1000), preprocessing).shape == (32, 32, 3)


def test_an_image_of_the_right_size_is_unchanged():
    pixels = noise(48, 48)
    for crop_mode in ("squash", "center", "border"):
        preprocessing = Preprocessing(image_size=48, crop_mode=crop_mode)
        np.testing.assert_array_equal(resize_image(pixels, preprocessing), pixels)
