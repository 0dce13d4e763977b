import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from components.trainer.image_decoding import LONGEST_SIDE, MAX_PIXELS, check_image, decode_luminance
from PIL import Image
from PIL.Image import Resampling

from components.trainer.image_files import PNG, read_headers

Decode = Callable[..., list[np.ndarray]]


@pytest.fixture(scope="module")
def decode() -> Decode:
    """Decodes the files of one batch, one after the other."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int32)])
    def one_of(files: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        files, formats, sizes = read_headers(files)
        file, _ = check_image(number, files[number], formats[number], sizes[number], tf.constant(0.0))
        return decode_luminance(file)

    return lambda *files: [one_of(tf.constant(files), tf.constant(n)).numpy() for n in range(len(files))]


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawing(mode: str = "RGB") -> Image.Image:
    """Colored rectangles and a gradient, 40 pixels wide and 30 high."""
    pixels = np.full((30, 40, 3), 255, np.uint8)
    pixels[4:12, 6:30] = (200, 30, 60)
    pixels[15:25, 3:17] = (20, 90, 140)
    pixels[26:, :] = np.arange(40, dtype=np.uint8)[:, np.newaxis] * 6
    image = Image.fromarray(pixels)
    return image.quantize(dither=Image.Dither.NONE) if mode == "P" else image.convert(mode)


def luminance(image: Image.Image) -> np.ndarray:
    """Luminance on white paper, computed by Pillow."""
    rgba = image.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(paper, rgba).convert("RGB")) @ (0.299, 0.587, 0.114)


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "L", 0.1),
        ("PNG", "LA", 0.1),
        ("PNG", "RGB", 0.1),
        ("PNG", "RGBA", 0.1),
        ("PNG", "P", 0.1),
        ("PNG", "1", 0.1),
        ("JPEG", "L", 3),
        ("JPEG", "RGB", 3),
        ("GIF", "L", 0.1),
        ("GIF", "P", 0.1),
        ("BMP", "L", 0.1),
        ("BMP", "RGB", 0.1),
        ("BMP", "RGBA", 0.1),
    ],
)
def test_formats_and_channels(decode: Decode, kind: str, mode: str, tolerance: float) -> None:
    image = drawing(mode)
    (found,) = decode(encode(image, kind, **({"quality": 100, "subsampling": 0} if mode == "RGB" else {})))
    assert np.abs(found - luminance(image)).mean() < tolerance


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_show_white_paper(decode: Decode, mode: str) -> None:
    image = drawing(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    # Pillow rounds after each step.
    np.testing.assert_allclose(decode(encode(image))[0], luminance(image), atol=1.1)


def test_alpha_that_hides_the_whole_image_is_ignored(decode: Decode) -> None:
    image = drawing("RGBA")
    image.putalpha(0)
    np.testing.assert_allclose(decode(encode(image, "BMP"))[0], luminance(drawing()), atol=0.1)


def test_a_palette_with_transparent_colors(decode: Decode) -> None:
    image = drawing("P")
    (found,) = decode(encode(image, transparency=image.getpixel((10, 8))))
    np.testing.assert_allclose(found[4:12, 6:30], 255)
    np.testing.assert_allclose(found[15:25, 3:17], luminance(drawing())[15:25, 3:17], atol=1)


def test_sixteen_bits_per_channel(decode: Decode) -> None:
    gray = np.asarray(drawing("L"))
    (found,) = decode(encode(Image.fromarray(gray.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(found, gray)


def test_the_exif_orientation_is_not_applied(decode: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(drawing(), "JPEG", exif=exif))[0].shape == (30, 40)


@pytest.mark.parametrize(("width", "height"), [(256, 256), (300, 200), (512, 100), (900, 2400), (3000, 1)])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_large_images_are_averaged(decode: Decode, width: int, height: int, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    (found,) = decode(encode(Image.fromarray(noise).convert(mode)))
    factor = -(-max(width, height) // LONGEST_SIDE)
    assert found.shape == (max(1, height // factor), max(1, width // factor))
    # Pillow counts a pixel on the edge of an area fully or not at all: only means over larger areas agree.
    coarse = (max(1, found.shape[1] // 8), max(1, found.shape[0] // 8))
    expected, averaged = (
        np.asarray(Image.fromarray(each.astype(np.float32)).resize(coarse, Resampling.BOX)) for each in (noise, found)
    )
    np.testing.assert_allclose(averaged, expected, atol=25)
    assert np.mean(found) == pytest.approx(np.mean(noise), abs=3)


def test_a_thin_line_survives_averaging(decode: Decode) -> None:
    page = np.full((2000, 2000), 255, np.uint8)
    page[:, 1001] = 0
    assert decode(encode(Image.fromarray(page)))[0].min() == pytest.approx(255 * 7 / 8, abs=1)


def test_files_of_other_formats_are_errors(decode: Decode) -> None:
    png = encode(drawing())
    message = r"image_bytes\[1 3\] is not a PNG, JPEG, GIF or BMP file"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(png, b"a text file", png, b"")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("PNG", "Invalid PNG"),
        ("JPEG", "Invalid JPEG"),
        ("GIF", "Invalid GIF"),
        ("BMP", "Input size should match"),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_image_is_an_error(decode: Decode, kind: str, message: str, share: float) -> None:
    encoded = encode(drawing(), kind)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(encoded[: int(len(encoded) * share)])


def png_header(side: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def gif(screen: int, frame: int) -> bytes:
    descriptor = b"," + struct.pack("<4HB", 0, 0, frame, frame, 0)
    return b"GIF89a" + struct.pack("<2H3B", screen, screen, 0, 0, 0) + descriptor + b"\x02\x01\x00\x00;"


def jpeg(side: int) -> bytes:
    encoded = encode(drawing(), "JPEG")
    place = encoded.index(b"\xff\xc0") + 5
    return encoded[:place] + struct.pack(">2H", side, side) + encoded[place + 4 :]


def bmp(side: int) -> bytes:
    encoded = encode(drawing(), "BMP")
    return encoded[:18] + struct.pack("<2i", side, -side) + encoded[26:]


@pytest.mark.parametrize("encoded", [png_header(30_000), gif(30_000, 1), gif(1, 30_000), jpeg(30_000), bmp(30_000)])
def test_more_than_16_megapixels_are_an_error(decode: Decode, encoded: bytes) -> None:
    message = r"image_bytes\[1\] is 30000 x 30000 pixels, but 1 x 1 to 16 megapixels are allowed: resize it"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(encode(drawing()), encoded)


def test_the_limit_is_16_megapixels(decode: Decode) -> None:
    image = Image.new("L", (4000, 4000), 200)
    assert decode(encode(image))[0].shape == (250, 250)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is 4001 x 4000 pixels"):
        decode(encode(image.resize((4001, 4000))))


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_images_without_pixels_are_an_error(decode: Decode, size: tuple[int, int]) -> None:
    encoded = b"GIF89a" + struct.pack("<2H3B", *size, 0, 0, 0) + b"," + struct.pack("<4HB", 0, 0, *size, 0) + b"\x02\0;"
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"image_bytes\[0\] is {size[0]} x {size[1]} pixels"):
        decode(encoded)


def test_a_narrow_image_counts_as_a_wide_one(decode: Decode) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="is 1 x 600000 pixels"):
        decode(encode(Image.new("L", (1, 600_000))))


def test_pixels_add_up_over_a_request() -> None:
    def num_pixels(side: int, num_before: float) -> float:
        size, encoded = tf.constant([side, side]), tf.constant("")
        return float(check_image(tf.constant(3), encoded, tf.constant(PNG), size, tf.constant(num_before))[1])

    assert num_pixels(28, 5.0) == 5 + 32 * 32
    assert num_pixels(2000, 12e6) == MAX_PIXELS
    message = r"the images up to image_bytes\[3\] have more than 16 megapixels: send fewer per request"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        num_pixels(2001, 12e6)
