import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from serving.client import inputs
from serving.client.client import Input
from serving.client.inputs import (
    MAX_FILE_BYTES,
    ImageError,
    Inputs,
    NoInputError,
    find_inputs,
    read_image,
    read_images,
)

# Where the first row and the first column of what is stored belong, by EXIF 2.3, table "Orientation".
STORED_AS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda upright: np.rot90(upright, 2).T,
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.fixture
def upright() -> np.ndarray:
    """Wider than high, with a different gray in each corner."""
    image = np.full((32, 48), 250, dtype=np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = 0, 80, 160
    return image


def decoded(content: bytes) -> np.ndarray:
    """The pixels as TensorFlow sees them, whatever EXIF says."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_photos_are_turned_upright(tmp_path: Path, upright: np.ndarray, orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / "photo"
    quality = {"quality": 95} if file_format == "JPEG" else {"lossless": True} if file_format == "WEBP" else {}
    Image.fromarray(STORED_AS[orientation](upright)).save(file, file_format, exif=exif, **quality)
    content = read_image(str(file))
    difference = decoded(content).astype(int) - upright
    assert np.abs(difference).max() <= 12
    assert (content == file.read_bytes()) == (orientation == 1 and file_format in ("JPEG", "PNG"))
    assert Image.open(io.BytesIO(content)).getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF"])
def test_what_the_model_decodes_is_not_changed(tmp_path: Path, upright: np.ndarray, file_format: str) -> None:
    file = tmp_path / "image"
    Image.fromarray(upright).save(file, file_format)
    assert read_image(str(file)) == file.read_bytes()


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        ("BMP", "1"),
        ("BMP", "P"),
        ("BMP", "RGB"),
        ("PPM", "L"),
        ("TIFF", "CMYK"),
        ("TIFF", "F"),
        ("TIFF", "LA"),
        ("WEBP", "RGBA"),
    ],
)
def test_other_formats_become_png(tmp_path: Path, file_format: str, mode: str) -> None:
    file = tmp_path / "image"
    original = Image.linear_gradient("L").convert(mode)
    original.save(file, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    sent = Image.open(io.BytesIO(read_image(str(file))))
    assert sent.format == "PNG"
    with Image.open(file) as read:
        assert np.array_equal(np.asarray(sent.convert("RGB")), np.asarray(read.convert("RGB")))


def test_a_truncated_png_is_left_to_the_model(tmp_path: Path) -> None:
    """To look for EXIF at its end, Pillow would have to decode it."""
    file = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    assert read_image(str(file)) == file.read_bytes()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("L", (3, 4)).save(content, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    assert read_image("-") == content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seven", r"^this is not an image; expected PNG, JPEG, GIF, BMP, WebP, TIFF, PGM or PPM\.$"),
        # Pillow would start Ghostscript.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "^this is not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "^this is HEIC or AVIF, .*; convert it to JPEG or PNG"),
        (b"", r"^this file is empty; expected PNG"),
        (None, r"^cannot be read: No such file or directory\.$"),
    ],
)
def test_files_that_are_not_images(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "image.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_image(str(file))


def test_a_pixel_that_is_no_number_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 2] = np.nan
    Image.fromarray(pixels).save(tmp_path / "nan.tif")
    with pytest.raises(ImageError, match="NaN or infinite; expected finite numbers"):
        read_image(str(tmp_path / "nan.tif"))


def test_a_damaged_image_is_refused(tmp_path: Path, upright: np.ndarray) -> None:
    file = tmp_path / "cut.tif"
    Image.fromarray(upright).save(file)
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(ImageError, match=r"^this image is damaged: "):
        read_image(str(file))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    with file.open("wb") as stream:
        stream.truncate(100 * MAX_FILE_BYTES)
    with pytest.raises(ImageError, match=r"^more than 32 MiB; make the image smaller"):
        read_image(str(file))


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    file = tmp_path / "image.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    with pytest.raises(ImageError, match=r"^this image is far too large: .*900000000 pixels"):
        read_image(str(file))


def test_an_image_too_large_for_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_PIXELS", 1_000_000)
    file = tmp_path / "image.bmp"
    Image.new("1", (1001, 1000)).save(file)
    with pytest.raises(ImageError, match=r"^1001 x 1000 pixels; the model accepts up to 1 megapixels\."):
        read_image(str(file))


def test_images_that_cannot_be_read_have_an_error(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("text")
    sources = [str(tmp_path / "a.png"), str(tmp_path / "text.png")]
    assert list(read_images(sources)) == [
        Input(sources[0], 0, Path(sources[0]).read_bytes()),
        Input(sources[1], 0, b"", "this is not an image; expected PNG, JPEG, GIF, BMP, WebP, TIFF, PGM or PPM."),
    ]


@pytest.fixture
def drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = (
        "b.JPG",
        "a.png",
        "deep/er/c.webp",
        "e.heic",
        "f.jfif",
        "deep/examples.tfrecord-00000",
        "deep/more-of-2.gz",
    )
    others = ("notes.txt", "deep/labels.csv", "slides.pdf", "weights.h5")
    for name in (*found, *others, ".hidden.png", ".DS_Store", "Thumbs.db", "deep/.git/d.png"):
        Path("drawings", name).parent.mkdir(parents=True, exist_ok=True)
        Path("drawings", name).touch()
    Image.new("L", (1, 1)).save("drawings/g", "PNG")
    Path("drawings", "gone.png").symlink_to("nowhere")


@pytest.mark.usefixtures("drawings")
def test_folders_are_searched_in_order_and_named_files_used_once() -> None:
    assert find_inputs(["drawings"]) == Inputs(
        images=tuple(
            f"drawings/{name}" for name in ("a.png", "b.JPG", "deep/er/c.webp", "e.heic", "f.jfif", "g", "gone.png")
        ),
        record_files=("drawings/deep/examples.tfrecord-00000", "drawings/deep/more-of-2.gz"),
        num_others=4,
    )
    names = ["drawings/notes.txt", "-", "drawings/a.png", "drawings/.hidden.png", "-"]
    assert find_inputs(names) == Inputs(tuple(names[:4]), ())


@pytest.mark.usefixtures("drawings")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drawings", "none.png"], r"^none\.png: no such file or folder\.$"),
        (["empty"], r"^empty: no image \(expected PNG, .*\) and no TFRecord \(\*\.tfrecord\*, \*\.gz\)"),
        (["/dev/null"], r"^/dev/null: neither a file nor a folder\.$"),
    ],
)
def test_arguments_without_inputs(arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(NoInputError, match=message):
        find_inputs(arguments)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_become_bytes(tmp_path: Path, upright: np.ndarray, white: float) -> None:
    file = tmp_path / "float.tif"
    Image.fromarray(upright / np.float32(255) * np.float32(white)).save(file)
    np.testing.assert_allclose(decoded(read_image(str(file))), upright, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_unused_bits_do_not_darken_an_image(tmp_path: Path, upright: np.ndarray, bits: int) -> None:
    file = tmp_path / "wide.png"
    Image.fromarray(np.round(upright / 255 * (2**bits - 1)).astype(np.uint16)).save(file)
    np.testing.assert_allclose(decoded(read_image(str(file))), upright, atol=1)
