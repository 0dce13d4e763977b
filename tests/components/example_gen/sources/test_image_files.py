import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.image_files import decode_image
from tests.support.image_data import encode_image

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (20, 30), np.uint8)
COLOR = RANDOM.integers(0, 256, (20, 30, 3), np.uint8)
BLANK = np.zeros((28, 28), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        encode_image(GRAY),
        encode_image(COLOR),
        encode_image(Image.fromarray(GRAY), dpi=(72, 72)),
        encode_image(GRAY, "JPEG"),
        encode_image(COLOR, "JPEG", progressive=True, subsampling=0),
        encode_image(COLOR, "JPEG", exif=Image.Exif()),
        encode_image(Image.fromarray(COLOR), "MPO", save_all=True, append_images=[Image.fromarray(COLOR[::-1])]),
    ],
)
def test_passes_on_what_the_graph_decodes(content: bytes) -> None:
    image = decode_image(content, "a.png")
    assert image.encoded == content
    np.testing.assert_array_equal(image.pixels, tf.io.decode_image(content, expand_animations=False).numpy())
    assert image.pixels.shape[:2] == (20, 30)


def rotated(image: np.ndarray, orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"image": image, "exif": exif}


def palette_image(*, transparent: bool) -> Image.Image:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([0, 0, 0, 255, 128, 64])
    if transparent:
        image.info["transparency"] = 1
    return image


def gradient(dtype: str) -> np.ndarray:
    return (np.arange(28 * 28).reshape(28, 28) * 80).astype(dtype)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"image": GRAY, "kind": "BMP"}, GRAY),
        ({"image": COLOR, "kind": "BMP"}, COLOR),
        ({"image": GRAY, "kind": "GIF"}, np.repeat(GRAY[..., np.newaxis], 3, axis=2)),
        ({"image": COLOR, "kind": "WEBP", "lossless": True}, COLOR),
        ({"image": COLOR, "kind": "TIFF", "compression": "tiff_lzw"}, COLOR),
        ({"image": gradient("<u2"), "kind": "TIFF"}, gradient("<u2") // 256),
        ({"image": gradient("<u2")}, gradient("<u2") // 256),
        (rotated(GRAY, 3), GRAY[::-1, ::-1]),
        (rotated(COLOR, 6), COLOR.swapaxes(0, 1)[:, ::-1]),
        ({"image": Image.new("1", (28, 28), 1)}, np.full((28, 28), 255)),
        ({"image": palette_image(transparent=False)}, np.full((28, 28, 3), [255, 128, 64])),
        ({"image": palette_image(transparent=True)}, np.full((28, 28, 4), [255, 128, 64, 0])),
        ({"image": Image.new("RGBA", (28, 28), (1, 2, 3, 51))}, np.full((28, 28, 4), [1, 2, 3, 51])),
        ({"image": Image.new("LA", (28, 28), (255, 7))}, np.full((28, 28, 2), [255, 7])),
        ({"image": Image.new("L", (28, 28), 9), "transparency": 9}, np.full((28, 28, 2), [9, 0])),
        (
            {"image": Image.new("RGB", (28, 28), (9, 8, 7)), "transparency": (9, 8, 7)},
            np.full((28, 28, 4), [9, 8, 7, 0]),
        ),
    ],
)
def test_converts_other_formats_to_pixels(options: dict[str, Any], expected: np.ndarray) -> None:
    image = decode_image(encode_image(**options), "a")
    assert (image.encoded, image.pixels.dtype) == (None, np.uint8)
    np.testing.assert_array_equal(image.pixels, expected.reshape(*expected.shape[:2], -1))


def test_applies_the_orientation_of_a_photo() -> None:
    left_is_white = np.tile(np.repeat(np.array([255, 0], np.uint8), 32), (32, 1))
    image = decode_image(encode_image(kind="JPEG", **rotated(left_is_white, 6)), "photo.jpg")
    assert image.encoded is None
    np.testing.assert_allclose(image.pixels[..., 0], left_is_white.T, atol=2)


def test_converts_cmyk_to_rgb() -> None:
    image = decode_image(encode_image(Image.new("CMYK", (28, 28), (0, 255, 255, 0)), "JPEG"), "a.jpg")
    assert image.encoded is None
    np.testing.assert_allclose(image.pixels, np.full((28, 28, 3), [255, 0, 0]), atol=3)


def png(width: int, height: int, depth: int, color_type: int, pixels: bytes) -> bytes:
    """Encodes what Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, depth, color_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_reduces_16_bit_color_to_8_bits() -> None:
    image = decode_image(png(28, 28, 16, 2, 28 * (b"\0" + 28 * b"\x12\xff\x34\xff\x56\xff")), "a.png")
    assert image.encoded is None
    np.testing.assert_array_equal(image.pixels, np.full((28, 28, 3), [0x12, 0x34, 0x56]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            encode_image(np.zeros((1, 1), np.uint8)),
            "1 x 1 pixels .*, expected 2 x 2 pixels to 16 megapixels; resize or",
        ),
        (encode_image(np.zeros((1, 50), np.uint8), "JPEG"), "1 x 50 pixels"),
        (png(4001, 4000, 8, 0, b""), r"4000 x 4001 pixels \(height x width\), expected 2 x 2 pixels to 16 megapixels"),
        (png(10_000, 10_000, 8, 2, b""), "10000 x 10000 pixels"),
        (png(20_000, 20_000, 8, 0, b""), "a huge image .*, expected at most 16 megapixels; resize or remove it"),
        *(
            (
                encode_image(BLANK)[:kept],
                "(a damaged|an image that cannot be read|no readable image).*, expected ",
            )
            for kept in (0, 20, 40, 60, -20, -12)
        ),
        (encode_image(BLANK, compress_level=0).replace(bytes(9), bytes(8) + b"\1"), "a damaged or truncated PNG file"),
        (
            encode_image(GRAY, "JPEG")[:-40],
            "a damaged or truncated JPEG file, expected an intact image; download or copy",
        ),
        (encode_image(COLOR, "BMP")[:-40], r"an image that cannot be read \(image file is truncated"),
        (encode_image(COLOR, "WEBP")[:-40], "(an image that cannot be read|no readable image)"),
        (encode_image(gradient("float32"), "TIFF"), "pixels of 32 bits .mode F., expected 8 or 16 bits per channel"),
        (encode_image(gradient("int32"), "TIFF"), "pixels of 32 bits .mode I., expected 8 or 16 bits per channel"),
        (encode_image(COLOR, "EPS"), r"no readable image \(b'%!PS-Ado'\.\.\.\), expected one of PNG, JPEG, BMP"),
        (b"<svg/>", r"no readable image \(b'<svg/>'\.\.\.\), expected one of"),
    ],
)
def test_refuses_unusable_images(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^images/1.png: found {message}") as raised:
        decode_image(content, "images/1.png")
    assert len(str(raised.value).splitlines()) == 1
