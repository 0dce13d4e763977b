import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

from components.trainer.image_files import MAX_SCANS, check_scans, check_sizes, first_frame, limited_files
from registry.signatures import MAX_PIXELS

Cut = Callable[[bytes], bytes]
Limit = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def limit() -> Limit:
    """Passes the files of a request to `serving_default` through the limits."""
    signature = [tf.TensorSpec([None], tf.string)]
    graph = tf.function(lambda files: limited_files(files), input_signature=signature)
    return lambda *files: list(graph(tf.constant(files, tf.string)).numpy())


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DRAWING = Image.radial_gradient("L").resize((40, 30)).convert("RGB")


def jpeg(*, progressive: bool) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    return bytes(tf.io.encode_jpeg(noise, progressive=progressive).numpy())


def comment(text: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text


def scans(file: bytes, number: int) -> bytes:
    """Repeats the last scan until there are this many."""
    start = file.rindex(b"\xff\xda")
    return file[:-2] + file[start:-2] * (number - file.count(b"\xff\xda")) + file[-2:]


BASELINE, PROGRESSIVE = jpeg(progressive=False), jpeg(progressive=True)
# A video, for example; every 64 KB, two bytes are those of a marker by chance.
NOISE = np.random.default_rng(1).integers(0, 256, 4_000_000, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    "file",
    [
        BASELINE,
        PROGRESSIVE,
        scans(PROGRESSIVE, MAX_SCANS),
        BASELINE[:2] + comment(PROGRESSIVE) + BASELINE[2:],
        BASELINE + NOISE,
    ],
)
def test_a_jpeg_may_have_thumbnails_and_a_video(file: bytes) -> None:
    files = [scans(PROGRESSIVE, 30_000), file]
    assert check_scans(tf.constant(files), tf.constant([False, True])).numpy().tolist() == files


@pytest.mark.parametrize(
    "file",
    [
        scans(PROGRESSIVE, MAX_SCANS + 1),
        scans(PROGRESSIVE, 30_000),
        # The text would hide them from a search that gives up early.
        BASELINE[:2] + comment(b"\xff\xda" * 5000) + scans(PROGRESSIVE, 30_000)[2:],
    ],
)
def test_many_scans_are_an_error(file: bytes) -> None:
    message = r"image\[1\] has more than 24 scans: save it as a baseline JPEG"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        check_scans(tf.constant([b"", file]), tf.constant([True, True]))


@pytest.fixture(scope="module")
def cut() -> Cut:
    function = tf.function(first_frame, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda gif: bytes(function(tf.constant(gif))[0].numpy())


def animation(num_frames: int, **options: object) -> bytes:
    random = np.random.default_rng(0)
    first, *others = (Image.fromarray(random.integers(0, 256, (60, 50), dtype=np.uint8)) for _ in range(num_frames))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"comment": b"three" * 200}, {"duration": 40, "loop": 0}])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_only_the_first_frame_of_a_gif_is_kept(options: dict[str, object], num_frames: int) -> None:
    gif = animation(num_frames, **options)
    cut, size = first_frame(tf.constant(gif))
    assert size.numpy().tolist() == [60, 50]
    with Image.open(io.BytesIO(cut.numpy())) as picture, Image.open(io.BytesIO(gif)) as whole:
        assert [sum(1 for _ in ImageSequence.Iterator(each)) for each in (picture, whole)] == [1, num_frames]
        whole.seek(0)
        picture.seek(0)
        np.testing.assert_array_equal(picture.convert("RGB"), whole.convert("RGB"))


def test_the_search_in_a_truncated_gif_ends() -> None:
    gif = animation(1, comment=b"seven" * 10)
    cut = tf.function(first_frame, input_signature=[tf.TensorSpec([], tf.string)])
    for length in range(4, len(gif), 37):
        shortened = cut(tf.constant(gif[:length]))[0].numpy()
        assert shortened.startswith(b"GIF8")
        assert len(shortened) <= length + 1


def blocks(*lengths: int) -> bytes:
    return b"".join(bytes([length]) + b"!" * length for length in lengths) + b"\0"


def gif(extensions: bytes, data: bytes) -> bytes:
    screen, frame = struct.pack("<2H3B", 9, 9, 0x80, 0, 0) + bytes(6), b"," + struct.pack("<4HB", 0, 0, 9, 9, 0)
    return b"GIF89a" + screen + extensions + frame + b"\2" + data


@pytest.mark.parametrize(
    "extensions",
    [
        b"!\xf9\0" * 30_000,
        b"!\xfe" + blocks(*[255] * 100),
        b"!\xfe" + blocks(*range(1, 255), *[3, 1] * 9000),
        *(b"!\xfe" + blocks(*[1] * length) + b"!\xff" + blocks(7) for length in range(20, 40)),
    ],
)
@pytest.mark.parametrize("lengths", [[], [2], [255] * 900, [*[255] * 90, 3], [254, *[1, 2] * 5000], range(1, 256)])
def test_extensions_and_later_frames_are_dropped(cut: Cut, extensions: bytes, lengths: list[int]) -> None:
    data = blocks(*lengths)
    assert cut(gif(extensions, data) + gif(b"", data)[19:] + b";") == gif(b"", data) + b";"


def test_files_of_other_formats_are_errors(limit: Limit) -> None:
    png = encode(DRAWING)
    message = r"image\[1 3\] is not a PNG, JPEG, GIF or BMP file"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        limit(png, b"a text file", png, b"")


def png_header(side: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def gif_header(screen: int, frame: int) -> bytes:
    descriptor = b"," + struct.pack("<4HB", 0, 0, frame, frame, 0)
    return b"GIF89a" + struct.pack("<2H3B", screen, screen, 0, 0, 0) + descriptor + b"\x02\x01\x00\x00;"


def jpeg_header(side: int) -> bytes:
    encoded = encode(DRAWING, "JPEG")
    place = encoded.index(b"\xff\xc0") + 5
    return encoded[:place] + struct.pack(">2H", side, side) + encoded[place + 4 :]


def bmp_header(side: int) -> bytes:
    encoded = encode(DRAWING, "BMP")
    return encoded[:18] + struct.pack("<2i", side, -side) + encoded[26:]


@pytest.mark.parametrize(
    "encoded",
    [png_header(30_000), gif_header(30_000, 1), gif_header(1, 30_000), jpeg_header(30_000), bmp_header(30_000)],
)
def test_more_than_16_megapixels_are_an_error(limit: Limit, encoded: bytes) -> None:
    message = r"image\[1\] is 30000 x 30000 pixels, but 1 x 1 to 16 megapixels are allowed: resize it"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        limit(encode(DRAWING), encoded)


def test_the_limit_is_16_megapixels(limit: Limit) -> None:
    image = Image.new("L", (4000, 4000), 200)
    file = encode(image)
    assert limit(file) == [file]
    with pytest.raises(tf.errors.InvalidArgumentError, match="is 4001 x 4000 pixels"):
        limit(encode(image.resize((4001, 4000))))


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_images_without_pixels_are_an_error(limit: Limit, size: tuple[int, int]) -> None:
    encoded = b"GIF89a" + struct.pack("<2H3B", *size, 0, 0, 0) + b"," + struct.pack("<4HB", 0, 0, *size, 0) + b"\x02\0;"
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"image\[0\] is {size[0]} x {size[1]} pixels"):
        limit(encoded)


def test_a_narrow_image_counts_as_a_wide_one(limit: Limit) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="is 1 x 600000 pixels"):
        limit(encode(Image.new("L", (1, 600_000))))


def test_pixels_add_up_over_a_request() -> None:
    # The first image counts as one of 32x32.
    sizes = tf.constant([[28, 28], [2000, 2000], [32, 374_968], [1, 1]])
    pixels = 32 * 32 + 2000 * 2000 + 32 * 374_968
    assert pixels == MAX_PIXELS
    files = tf.constant(["a", "b", "c", "d"])
    assert check_sizes(files[:3], sizes[:3]).numpy().tolist() == [b"a", b"b", b"c"]
    message = r"the images up to image\[3\] have more than 16 megapixels: send fewer per request"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        check_sizes(files, sizes)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"a text file", r"image\[1\] is not a PNG, JPEG, GIF or BMP file"),
        (png_header(30_000), r"image\[1\] is 30000 x 30000 pixels"),
        (scans(PROGRESSIVE, MAX_SCANS + 1), r"image\[1\] has more than 24 scans"),
        (
            png_header(28) + struct.pack(">I", 100_000) + b"IDAT" + bytes(100_004),
            r"image\[1\] has more data than its pixels need",
        ),
    ],
)
def test_messages_name_the_refused_image(file: bytes, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        limited_files(tf.constant([encode(DRAWING), file]))


def test_files_within_the_limits_are_returned_in_order(limit: Limit) -> None:
    files = [encode(DRAWING, kind) for kind in ("PNG", "JPEG", "BMP")]
    assert limit(*files) == files
    assert limit(files[0], animation(3), files[1])[::2] == files[:2]
    assert limit() == []
