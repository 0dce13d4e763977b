import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.png_files import only_pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, RGBA = 0, 2, 3, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, RGBA: 4}
TEXT = zlib.compress(b"three" * 1000)
EXTRAS = {
    b"zTXt": b"a\0\0" + TEXT,
    b"iTXt": b"a\0\1\0\0\0" + TEXT,
    b"iCCP": b"a\0\0" + TEXT,
    b"tEXt": b"a\0seven",
    b"gAMA": struct.pack(">I", 45455),
    b"abCd": b"",
}

Cut = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def cut() -> Cut:
    signature = [tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.bool)]
    function = tf.function(lambda files, are_png: only_pixels(files, are_png), input_signature=signature)

    def cut_pngs(*files: bytes) -> list[bytes]:
        return list(function(tf.constant(files), tf.constant([file.startswith(SIGNATURE) for file in files])).numpy())

    return cut_pngs


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    pixels: np.ndarray,
    color: int = GRAY,
    *,
    before: bytes = b"",
    behind: bytes = b"",
    level: int = 6,
    surplus: int = 0,
    data_sizes: Sequence[int] = (),
) -> bytes:
    """Encodes uint8[h,w,c] or [h,w]; `surplus` zeros follow the pixels, and `data_sizes` split their data."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), [[0, 0], [1, 0]]).tobytes()
    deflate = zlib.compressobj(level)
    data = deflate.compress(rows)
    data += b"".join(deflate.compress(bytes(1 << 20)) for _ in range(surplus >> 20)) + deflate.flush()
    ends = np.cumsum([0, *data_sizes])
    parts = [data[start:end] for start, end in zip(ends, [*ends[1:], len(data)], strict=True)]
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, color, 0, 0, 0))
    pixel_chunks = b"".join(chunk(b"IDAT", part) for part in parts)
    return SIGNATURE + header + before + pixel_chunks + behind + chunk(b"IEND")


def names(file: bytes) -> list[bytes]:
    found, place = [], len(SIGNATURE)
    while place < len(file):
        (length,) = struct.unpack(">I", file[place : place + 4])
        found.append(file[place + 4 : place + 8])
        place += length + 12
    return found


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


PALETTE_CHUNK = chunk(b"PLTE", noise(768).tobytes())
TRANSPARENT_CHUNK = chunk(b"tRNS", bytes([0, 100, 200]))
ALL_EXTRAS = b"".join(chunk(name, content) for name, content in EXTRAS.items())


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        (png(noise(9, 7), before=ALL_EXTRAS, behind=ALL_EXTRAS), []),
        (png(noise(9, 7, 4), RGBA, before=ALL_EXTRAS * 3), []),
        (png(noise(9, 7, 3), RGB, before=chunk(b"tRNS", bytes(6)) + ALL_EXTRAS), [b"tRNS"]),
        (png(noise(9, 7), PALETTE, before=ALL_EXTRAS + PALETTE_CHUNK + ALL_EXTRAS), [b"PLTE"]),
        (png(noise(9, 7), PALETTE, before=PALETTE_CHUNK + ALL_EXTRAS + TRANSPARENT_CHUNK), [b"PLTE", b"tRNS"]),
    ],
)
def test_only_chunks_that_change_the_pixels_are_kept(cut: Cut, file: bytes, kept: list[bytes]) -> None:
    (found,) = cut(file)
    assert names(found) == [b"IHDR", *kept, b"IDAT", b"IEND"]
    np.testing.assert_array_equal(tf.io.decode_png(found), tf.io.decode_png(file))


@pytest.mark.parametrize("sizes", [[8192] * 7, [1] * 300, [0, 5, 0, 1000, 3, 3, 3], []])
def test_all_chunks_of_pixels_are_kept(cut: Cut, sizes: list[int]) -> None:
    files = [png(noise(250, 240), data_sizes=sizes), b"a text", png(noise(6, 7), data_sizes=[9, 3], behind=ALL_EXTRAS)]
    found = cut(*files)
    assert found[:2] == files[:2]
    assert names(found[2]) == [b"IHDR", b"IDAT", b"IDAT", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(tf.io.decode_png(found[2])[..., 0], noise(6, 7))


@pytest.mark.parametrize("text", [b"IDAT of pixels", b"PLTE", b"tRNS"])
def test_pixels_may_contain_the_name_of_a_chunk(cut: Cut, text: bytes) -> None:
    pixels = np.frombuffer(text * 500, np.uint8).reshape(50, -1)
    # Without compression, the bytes of the pixels are those of the file.
    file = png(pixels, level=0, data_sizes=[700], behind=ALL_EXTRAS)
    assert file.count(text) > 400
    (found,) = cut(file)
    assert names(found) == [b"IHDR", b"IDAT", b"IDAT", b"IEND"]
    np.testing.assert_array_equal(tf.io.decode_png(found)[..., 0], pixels)


@pytest.mark.parametrize("number", [0, 1])
def test_more_data_than_pixels_is_an_error(cut: Cut, number: int) -> None:
    files = [png(noise(28, 28))] * 2
    files[number] = png(noise(28, 28), surplus=1 << 20)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"image\[{number}\] has more data than its pixels"):
        cut(*files)


def test_data_that_inflates_far_beyond_a_large_image_is_an_error(cut: Cut) -> None:
    file = png(np.zeros((2000, 2000), np.uint8), surplus=200 << 20)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image\[0\] has more data than its pixels need"):
        cut(file)


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("pixels", [np.zeros((3000, 3000), np.uint8), noise(500, 400), np.tile(noise(9, 7), (90, 99))])
def test_pages_of_any_content_and_compression_are_accepted(cut: Cut, pixels: np.ndarray, level: int) -> None:
    file = png(pixels, level=level, data_sizes=[8192] * 4)
    assert cut(file) == [file]


def test_a_truncated_file_stays_damaged(cut: Cut) -> None:
    file = png(noise(30, 20), PALETTE, before=PALETTE_CHUNK + TRANSPARENT_CHUNK, data_sizes=[50, 50], behind=ALL_EXTRAS)
    end = file.rindex(b"IDAT") + 100
    for length in range(len(SIGNATURE), end, 23):
        (found,) = cut(file[:length])
        with pytest.raises(tf.errors.InvalidArgumentError):
            tf.io.decode_png(found)
