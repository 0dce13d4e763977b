import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

from components.trainer.image_files import MAX_SCANS, check_scans, first_frame

Cut = Callable[[bytes], bytes]


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
    message = r"image_bytes\[1\] has more than 24 scans: save it as a baseline JPEG"
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
