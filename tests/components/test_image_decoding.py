import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.Image import Resampling

from components.features import Contract
from components.image_decoding import LONGEST_SIDE, decode_contrast, decode_images

Decode = Callable[[bytes], np.ndarray]


@pytest.fixture(scope="module")
def decode() -> Decode:
    """Decodes the luminance of a file."""
    graph = tf.function(decode_contrast, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda file: graph(tf.constant(file)).numpy()


def decode_all(files: list[bytes], height: int, width: int, channels: int) -> np.ndarray:
    """Decodes images to a size."""
    contract = Contract(("a", "b"), height, width, channels)
    graph = tf.function(
        lambda batch: decode_images(batch, contract.image_shape), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    return graph(tf.constant(files, tf.string)).numpy()


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
    found = decode(encode(image, kind, **({"quality": 100, "subsampling": 0} if mode == "RGB" else {})))
    assert np.abs(found - luminance(image)).mean() < tolerance


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_show_white_paper(decode: Decode, mode: str) -> None:
    image = drawing(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    # Pillow rounds after each step.
    np.testing.assert_allclose(decode(encode(image)), luminance(image), atol=1.1)


def test_alpha_that_hides_the_whole_image_is_ignored(decode: Decode) -> None:
    image = drawing("RGBA")
    image.putalpha(0)
    np.testing.assert_allclose(decode(encode(image, "BMP")), luminance(drawing()), atol=0.1)


def test_a_palette_with_transparent_colors(decode: Decode) -> None:
    image = drawing("P")
    found = decode(encode(image, transparency=image.getpixel((10, 8))))
    np.testing.assert_allclose(found[4:12, 6:30], 255)
    np.testing.assert_allclose(found[15:25, 3:17], luminance(drawing())[15:25, 3:17], atol=1)


def test_sixteen_bits_per_channel(decode: Decode) -> None:
    gray = np.asarray(drawing("L"))
    found = decode(encode(Image.fromarray(gray.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(found, gray)


def test_the_exif_orientation_is_not_applied(decode: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(drawing(), "JPEG", exif=exif)).shape == (30, 40)


@pytest.mark.parametrize(("width", "height"), [(256, 256), (300, 200), (512, 100), (900, 2400), (3000, 1)])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_large_images_are_averaged(decode: Decode, width: int, height: int, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    found = decode(encode(Image.fromarray(noise).convert(mode)))
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
    assert decode(encode(Image.fromarray(page))).min() == pytest.approx(255 * 7 / 8, abs=1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_an_image_of_the_size_of_the_contract_does_not_change(mode: str) -> None:
    image = drawing(mode)
    (color,) = decode_all([encode(image)], 30, 40, 3)
    np.testing.assert_array_equal(color, np.asarray(image.convert("RGB")))
    (gray,) = decode_all([encode(image)], 30, 40, 1)
    assert (color.dtype, gray.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(gray[..., 0], np.round(luminance(image)))


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_of_images_show_white_paper(channels: int) -> None:
    image = drawing("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    (found,) = decode_all([encode(image)], 30, 40, channels)
    paper = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    expected = np.asarray(paper) if channels == 3 else luminance(image)[..., np.newaxis]
    np.testing.assert_allclose(found, expected, atol=1.6)


@pytest.mark.parametrize(
    ("image_size", "size", "rows", "columns"),
    [
        ((30, 20), (28, 28), (0, 28), (4, 23)),
        ((20, 30), (28, 28), (4, 23), (0, 28)),
        ((10, 10), (28, 28), (0, 28), (0, 28)),
        ((10, 40), (20, 32), (6, 14), (0, 32)),
        ((600, 300), (64, 64), (0, 64), (16, 48)),
        ((3000, 1000), (300, 300), (0, 300), (100, 200)),
        ((1, 1), (8, 12), (0, 8), (2, 10)),
        ((1, 3000), (28, 28), (13, 14), (0, 28)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_another_size_keep_their_aspect_ratio(
    image_size: tuple[int, int], size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], channels: int
) -> None:
    (found,) = decode_all([encode(Image.fromarray(np.full((*image_size, 3), 200, np.uint8)))], *size, channels)
    expected = np.zeros((*size, channels))
    expected[slice(*rows), slice(*columns)] = 200
    np.testing.assert_array_equal(found, expected)


def test_resizing_averages_fine_patterns() -> None:
    checkerboard = np.indices((112, 112)).sum(axis=0).astype(np.uint8) % 2 * 255
    (found,) = decode_all([encode(Image.fromarray(checkerboard))], 28, 28, 1)
    np.testing.assert_allclose(found, 127.5, atol=8)


def test_resized_pixels_are_whole_numbers_in_range() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (20, 33, 3), dtype=np.uint8) * 255
    found = decode_all([encode(Image.fromarray(noise))], 28, 30, 3)
    np.testing.assert_array_equal(found, np.round(found))
    assert (found.min(), found.max()) == (0, 255)


def test_images_of_different_formats_and_sizes_share_a_batch() -> None:
    images = [drawing(), drawing("L").resize((400, 300)), drawing("P"), drawing()]
    files = [encode(image, kind) for image, kind in zip(images, ("PNG", "JPEG", "GIF", "BMP"), strict=True)]
    found = decode_all(files, 30, 40, 3)
    assert found.shape == (4, 30, 40, 3)
    for file, each in zip(files, found, strict=True):
        np.testing.assert_array_equal(decode_all([file], 30, 40, 3)[0], each)
    assert decode_all([], 30, 40, 3).shape == (0, 30, 40, 3)


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


def test_the_ink_of_a_single_color_is_its_opacity(decode: Decode) -> None:
    alpha = Image.fromarray(np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1)))
    for color in ("white", "black", "gray"):
        image = Image.new("RGBA", (40, 30), color)
        image.putalpha(alpha)
        np.testing.assert_allclose(decode(encode(image)), 255 - np.asarray(alpha, np.float32))


def test_colors_that_are_equally_light_differ_in_a_channel(decode: Decode) -> None:
    image = Image.new("RGB", (40, 30), (0, 130, 0))
    image.paste((255, 0, 0), (10, 5, 30, 25))
    np.testing.assert_array_equal(decode(encode(image)), np.asarray(image)[..., 0])


def test_yellow_ink_in_uneven_light_is_blue_that_is_missing(decode: Decode) -> None:
    light = np.linspace(1, 0.75, 30)[:, np.newaxis] * np.linspace(1, 0.75, 40)
    paper = np.full((30, 40, 3), (240, 240, 235))
    paper[5:25, 18:22] = (250, 235, 60)
    image = Image.fromarray((np.minimum(paper, 255) * light[..., np.newaxis]).astype(np.uint8))
    np.testing.assert_array_equal(decode(encode(image)), np.asarray(image)[..., 2])


def test_twelve_bits_of_sixteen_are_whitened(decode: Decode) -> None:
    values = np.tile(np.linspace(4095, 1000, 40).astype(np.uint16), (30, 1))
    np.testing.assert_allclose(decode(encode(Image.fromarray(values))), values / 4095 * 255, atol=16)
