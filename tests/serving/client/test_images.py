"""What is read of image files: their bytes, or, where the model would see something else, an upright copy."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from serving.client import images
from serving.client.errors import ImageError
from serving.client.images import MAX_FILE_BYTES, read_image

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
    """Wider than high, with another grey in each corner."""
    image = np.full((32, 48), 250, dtype=np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = 0, 80, 160
    return image


def decoded(content: bytes) -> np.ndarray:
    """The pixels as TensorFlow sees them, whatever EXIF says."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_photo_is_turned_upright(tmp_path: Path, upright: np.ndarray, orientation: int, file_format: str) -> None:
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
def test_what_the_model_decodes_goes_as_it_is(tmp_path: Path, upright: np.ndarray, file_format: str) -> None:
    file = tmp_path / "image"
    Image.fromarray(upright).save(file, file_format)
    assert read_image(str(file)) == file.read_bytes()


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("BMP", "1"), ("BMP", "P"), ("BMP", "RGB"), ("TIFF", "CMYK"), ("TIFF", "F"), ("TIFF", "LA"), ("WEBP", "RGBA")],
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


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_text("seven")
    with pytest.raises(ImageError, match=r"^this is no image that can be read; expected PNG, JPEG, GIF, BMP, WebP or"):
        read_image(str(file))
    file.write_bytes(b"")
    with pytest.raises(ImageError, match=r"^there is nothing in it; expected PNG"):
        read_image(str(file))
    with pytest.raises(ImageError, match=r"^cannot be read: No such file or directory\.$"):
        read_image(str(tmp_path / "none.png"))


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


def test_an_image_too_large_for_the_model_is_not_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    file = tmp_path / "image.bmp"
    Image.new("1", (1001, 1000)).save(file)
    with pytest.raises(ImageError, match=r"^1001 x 1000 pixels; the model takes images of up to 1 megapixels\."):
        read_image(str(file))
