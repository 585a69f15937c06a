import dataclasses
import io
import pickle

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sketch_jax.data.decode import ImageError, check_image, decode_image, load_image
from sketch_jax.data.resize import resize_image
from sketch_jax.errors import InputError
from sketch_jax.preprocessing import Preprocessing


def noise(height, width, *channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)


def sketch(height, width, tint=(255, 255, 255)):
    """Dark strokes on paper, smooth enough for JPEG."""
    rows, columns = np.mgrid[:height, :width]
    strokes = np.cos(rows / 7.0 + 3.0 * np.sin(columns / 23.0)) ** 8
    return (np.asarray(tint) * (1.0 - 0.8 * strokes[..., None])).astype(np.uint8)


def encoded(pixels, image_format, *, mode=None, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, image_format, **options)
    return buffer.getvalue()


def oriented(pixels, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, "JPEG", exif=exif, quality=95, **options)


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int))


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_that_were_written(image_format):
    pixels = noise(13, 17, 3)
    np.testing.assert_array_equal(decode_image(encoded(pixels, image_format)), pixels)


def test_lossless_webp_gives_the_pixels_that_were_written():
    pixels = noise(13, 17, 3)
    np.testing.assert_array_equal(decode_image(encoded(pixels, "WEBP", lossless=True)), pixels)


def test_a_path_gives_the_same_pixels_as_its_bytes(tmp_path):
    data = encoded(sketch(40, 50), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), decode_image(data))


def test_the_suffix_of_a_file_does_not_matter(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(noise(5, 6, 3), "PNG"))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), noise(5, 6, 3))


def test_pixels_pass_through():
    pixels = noise(4, 5, 3)
    assert decode_image(pixels) is pixels


def test_one_channel_is_repeated():
    grey = noise(9, 8)
    np.testing.assert_array_equal(decode_image(encoded(grey, "PNG")), np.stack([grey] * 3, -1))


def test_black_and_white_of_one_bit_becomes_0_and_255():
    bits = noise(9, 8) > 127
    expected = np.where(bits, 255, 0)[..., None].repeat(3, -1)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(bits), "PNG")), expected)


@pytest.mark.parametrize(("image_format", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_sixteen_bits_are_scaled_and_not_clipped(image_format, order):
    values = np.linspace(0, 65535, 30 * 20).round().astype(f"{order}u2").reshape(30, 20)
    pixels = decode_image(encoded(Image.fromarray(values), image_format))
    np.testing.assert_array_equal(pixels[..., 1], np.round(values / 257.0))
    assert len(np.unique(pixels)) == 256


def test_sixteen_bits_in_a_32_bit_image_are_scaled():
    values = np.array([[0, 257, 65535]], np.int32)
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0], [0, 1, 255]
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 65536]], np.int32), "32-bit integers, whose range is not known"),
        (np.array([[-1, 5]], np.int32), "32-bit integers, whose range is not known"),
        (np.array([[0.0, 0.5]], np.float32), "floating-point numbers, whose range is not known"),
    ],
)
def test_pixels_of_unknown_range_are_refused(values, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(encoded(Image.fromarray(values), "TIFF"))


def test_a_palette_gives_its_colours():
    palette = noise(16, 3)
    indices = noise(9, 7) % 16
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode_image(encoded(image, "PNG")), palette[indices])
    np.testing.assert_array_equal(decode_image(encoded(image, "GIF")), palette[indices])


def test_transparent_colours_of_a_palette_are_white():
    palette = np.array([[0, 0, 0], [200, 10, 20]], np.uint8)
    indices = noise(9, 7) % 2
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    expected = np.array([[255, 255, 255], [200, 10, 20]])[indices]
    for image_format in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode_image(encoded(image, image_format, transparency=0)), expected)


def on_white(values, alpha):
    """Exact blending, rounded to the nearest level."""
    share = alpha[..., None].astype(np.int64)
    return ((values * share + 255 * (255 - share)) / 255.0).round()


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_on_white(image_format):
    layer = noise(12, 11, 4)
    layer[0, :, 3], layer[1, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    pixels = decode_image(encoded(layer, image_format, **options))
    np.testing.assert_array_equal(pixels, on_white(layer[..., :3], layer[..., 3]))
    assert (pixels[0] == 255).all()


def test_grey_with_transparency_is_laid_on_white():
    layer = noise(12, 11, 2)
    expected = on_white(layer[..., :1], layer[..., 1])
    pixels = decode_image(encoded(Image.fromarray(layer, "LA"), "PNG"))
    np.testing.assert_array_equal(pixels, expected.repeat(3, -1))


@pytest.mark.parametrize(
    ("values", "transparency"),
    [
        (np.array([[0, 9, 0]], np.uint8), 0),
        (np.array([[[1, 2, 3], [9, 9, 9], [1, 2, 3]]], np.uint8), (1, 2, 3)),
        (np.array([[0, 9 * 257, 0]], np.uint16), 0),
    ],
)
def test_a_colour_declared_transparent_is_white(values, transparency):
    pixels = decode_image(encoded(Image.fromarray(values), "PNG", transparency=transparency))
    np.testing.assert_array_equal(pixels[0], [[255] * 3, [9] * 3, [255] * 3])


def test_cmyk_is_converted():
    colours = np.full((16, 16, 4), (0, 0, 0, 0), np.uint8)
    colours[:, 8:] = (0, 255, 255, 0)
    pixels = decode_image(encoded(Image.fromarray(colours, "CMYK"), "JPEG", quality=95))
    assert difference(pixels[:, 0], np.array([255, 255, 255])).max() <= 2
    assert difference(pixels[:, 15], np.array([255, 0, 0])).max() <= 2


ORIENTED = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_photographs_are_turned_upright(orientation):
    stored = sketch(24, 40, (250, 200, 120))
    upright = ORIENTED[orientation](decode_image(oriented(stored, 1)))
    np.testing.assert_array_equal(decode_image(oriented(stored, orientation)), upright)


@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_turned_photograph_is_turned_before_it_is_resized(orientation):
    stored = sketch(190, 301, (250, 200, 120))
    data = oriented(stored, orientation)
    preprocessing = Preprocessing(image_size=64, crop_mode="center", crop_fraction=0.9)
    expected = resize_image(decode_image(data), preprocessing)
    np.testing.assert_array_equal(load_image(data, preprocessing), expected)


@pytest.mark.parametrize("orientation", ORIENTED)
def test_fast_loading_turns_photographs_upright(orientation):
    stored = sketch(190, 301, (250, 200, 120))
    preprocessing = Preprocessing(image_size=64)
    as_stored = load_image(oriented(stored, 1), preprocessing, jpeg_scaling="fast")
    turned = load_image(oriented(stored, orientation), preprocessing, jpeg_scaling="fast")
    np.testing.assert_array_equal(turned, ORIENTED[orientation](as_stored))


def test_a_tiff_with_an_orientation_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = noise(6, 9, 3)
    pixels = decode_image(encoded(stored, "TIFF", exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(stored, -1))


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(buffer.getvalue())[..., 0], np.asarray(frames[0]))


def small_files():
    pixels = sketch(60, 80, (250, 240, 200))
    return {
        "jpeg": encoded(pixels, "JPEG"),
        "progressive jpeg": encoded(pixels, "JPEG", progressive=True),
        "png": encoded(pixels, "PNG"),
        "webp": encoded(pixels, "WEBP"),
        "lossless webp": encoded(pixels, "WEBP", lossless=True),
        "bmp": encoded(pixels, "BMP"),
        "gif": encoded(pixels, "GIF", mode="P"),
        "tiff": encoded(pixels, "TIFF"),
    }


def can_be_decoded(data):
    try:
        decode_image(data)
    except ImageError:
        return False
    return True


@pytest.mark.parametrize("name", small_files())
def test_a_truncated_file_is_refused_or_whole_but_never_grey(name):
    data = small_files()[name]
    lengths = sorted({*range(0, len(data), len(data) // 60), len(data) - 1})
    whole = decode_image(data)
    read = [length for length in lengths if can_be_decoded(data[:length])]
    assert len(lengths) - len(read) > 50
    for length in lengths:
        if length in read:
            np.testing.assert_array_equal(decode_image(data[:length]), whole)
        else:
            with pytest.raises(ImageError, match=r"cannot be read as an image: \w"):
                check_image(data[:length])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_end_was_never_written_is_refused(progressive):
    thumbnail = encoded(sketch(16, 16), "JPEG")
    exif = Image.Exif()
    exif[0x9C9B] = thumbnail
    data = encoded(noise(60, 80, 3), "JPEG", progressive=progressive, exif=exif)
    assert thumbnail in data
    hollow = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    with pytest.raises(ImageError, match=r"its last \d+ bytes are zeros"):
        decode_image(hollow)
    with pytest.raises(ImageError, match=r"its last \d+ bytes are zeros"):
        check_image(hollow)


def test_zeros_after_the_end_of_a_jpeg_do_no_harm():
    data = encoded(sketch(60, 80), "JPEG")
    np.testing.assert_array_equal(decode_image(data + bytes(4096)), decode_image(data))


def test_the_error_names_the_file_and_the_reason(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not an image")
    with pytest.raises(InputError) as caught:
        decode_image(path)
    assert str(caught.value) == (
        f"{path}: cannot be read as an image: it is none of JPEG, PNG, WEBP, BMP, GIF, TIFF; "
        "replace the file or leave it out"
    )


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(ImageError, match="it is empty"):
        decode_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: cannot be read as an image: there is no such file"):
        load_image(tmp_path / "absent.png", Preprocessing(image_size=8))


def test_images_beyond_the_pixel_limit_are_refused_before_they_are_decoded():
    data = encoded(noise(20, 30), "PNG")
    assert decode_image(data, pixel_limit=600).shape == (20, 30, 3)
    with pytest.raises(ImageError, match="30 × 20 pixels are more than the limit of 599"):
        decode_image(data, pixel_limit=599)
    with pytest.raises(ImageError, match="more than the limit"):
        load_image(data, Preprocessing(image_size=8), pixel_limit=599)


def test_a_decompression_bomb_is_refused():
    header = encoded(Image.new("1", (1, 1)), "BMP")
    bomb = header[:18] + (40000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(ImageError, match=r"exceeds limit|more than the limit"):
        decode_image(bomb)


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("a.png", "is grey")))
    assert (error.place, error.reason) == ("a.png", "is grey")
    assert "a.png: cannot be read as an image: is grey" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        encoded(sketch(300, 410), "JPEG"),
        encoded(sketch(300, 410, (250, 240, 200)), "JPEG"),
        encoded(sketch(300, 410)[..., 0], "JPEG"),
        encoded(noise(70, 50, 3), "PNG"),
        encoded(noise(70, 50, 4), "PNG"),
        encoded(noise(70, 50, 3), "GIF", mode="P"),
    ],
    ids=["grey as rgb", "tinted", "one channel", "png", "rgba", "palette"],
)
def test_loading_equals_decoding_then_resizing(data):
    preprocessing = Preprocessing(image_size=96, crop_mode="squash")
    expected = resize_image(decode_image(data), preprocessing)
    np.testing.assert_array_equal(load_image(data, preprocessing), expected)


def drawing(height, width):
    """Smooth strokes of various widths, drawn at four times the size."""
    rng = np.random.default_rng(height * width)
    image = Image.new("RGB", (4 * width, 4 * height), (252, 250, 240))
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        turns = np.cumsum(rng.normal(0.0, 0.3, 30)) + rng.uniform(0.0, 6.28)
        steps = np.stack([np.cos(turns), np.sin(turns)], -1) * min(height, width) / 10
        points = rng.uniform(0.0, 4.0, 2) * (width, height) + np.cumsum(steps, 0)
        pen.line([tuple(point) for point in points], fill=(30, 30, 40), width=4 * int(rng.integers(1, 6)))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
@pytest.mark.parametrize("size", [(500, 500), (601, 803), (1501, 1027)])
def test_fast_loading_changes_less_than_twice_what_another_filter_changes(size, crop_mode):
    data = encoded(drawing(*size), "JPEG", quality=92)
    preprocessing = Preprocessing(image_size=224, crop_mode=crop_mode)
    bilinear = dataclasses.replace(preprocessing, interpolation="bilinear")
    exact = load_image(data, preprocessing)
    change = difference(load_image(data, preprocessing, jpeg_scaling="fast"), exact).mean()
    assert 0.0 < change < 2.0 * difference(load_image(data, bilinear), exact).mean()


def test_fast_loading_does_not_shift_a_jpeg_of_odd_size():
    gradient = np.linspace(0.0, 255.0, 8 * 60 + 1).round().astype(np.uint8)
    data = encoded(np.tile(gradient[None, :, None], (8 * 60 + 1, 1, 3)), "JPEG", quality=98)
    preprocessing = Preprocessing(image_size=60, interpolation="bilinear")
    fast = load_image(data, preprocessing, jpeg_scaling="fast")
    assert difference(fast, load_image(data, preprocessing)).max() <= 2


def test_fast_loading_is_exact_where_a_jpeg_is_less_than_twice_the_target():
    data = encoded(sketch(300, 440, (250, 240, 200)), "JPEG")
    preprocessing = Preprocessing(image_size=224)
    np.testing.assert_array_equal(
        load_image(data, preprocessing, jpeg_scaling="fast"), load_image(data, preprocessing)
    )


def test_fast_loading_of_other_formats_is_exact():
    data = encoded(noise(300, 300, 3), "PNG")
    preprocessing = Preprocessing(image_size=50)
    np.testing.assert_array_equal(
        load_image(data, preprocessing, jpeg_scaling="fast"), load_image(data, preprocessing)
    )


def test_importing_the_decoder_loads_no_jax():
    import subprocess
    import sys

    code = "import sys, sketch_jax.data.sources, sketch_jax.data.split_file; print('jax' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
