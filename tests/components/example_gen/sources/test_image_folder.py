import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, encode_image, read_all, refuse, write_images


def test_reads_class_folders(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    records = read_all(folder)
    order = [0, 10, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [record.image for record in records] == [ARRAYS["x_train"][index].tobytes() for index in order]
    assert [record.label for record in records] == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [record.key for record in records[:3]] == ["0/00.png", "0/10.png", "1/01.png"]
    assert {record.origin for record in records} == {"all"}
    assert read_all(folder, 5) == records
    assert [len(list(share())) for share in open_source(str(folder)).shares(5)] == [5, 5, 2]


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_reads_folders_for_training_and_testing(tmp_path: Path, train: str, test: str) -> None:
    folder = write_images(tmp_path / "images" / train).parent
    write_images(tmp_path / "images" / test)
    (folder / "README.md").write_text("Digits")
    records = read_all(folder, 5)
    assert [(record.origin, record.key) for record in records[::12]] == [
        ("train", f"{train}/0/00.png"),
        ("test", f"{test}/0/00.png"),
    ]
    assert [record.origin for record in records] == ["train"] * 12 + ["test"] * 12


def test_accepts_links_and_suffixes_of_any_case_and_ignores_hidden_files(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    (folder / "0" / "00.png").rename(folder / "0" / "00.PNG")
    (folder / "0" / ".DS_Store").touch()
    (folder / ".git").mkdir()
    shutil.move(folder / "9", tmp_path / "elsewhere")
    (folder / "9").symlink_to(tmp_path / "elsewhere")
    assert [record.key for record in read_all(folder)][::11] == ["0/00.PNG", "9/09.png"]


def palette_image(transparent: bool) -> Image.Image:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "options", "value"),
    [
        (Image.new("L", (28, 28), 200), {"kind": "JPEG"}, 200),
        (Image.new("RGB", (28, 28), (100, 100, 100)), {}, 100),
        (Image.new("RGB", (28, 28), (255, 0, 0)), {}, 76),
        (Image.new("RGBA", (28, 28), (255, 255, 255, 51)), {}, 51),
        (Image.new("LA", (28, 28), (255, 0)), {}, 0),
        (Image.new("1", (28, 28), 1), {}, 255),
        (palette_image(transparent=False), {}, 255),
        (palette_image(transparent=True), {}, 0),
        (Image.new("RGB", (28, 28), (255, 255, 255)), {"transparency": (255, 255, 255)}, 0),
        (Image.new("L", (28, 28), 255), {"transparency": 255}, 0),
    ],
)
def test_converts_colors_to_luma_over_black(
    tmp_path: Path, image: Image.Image, options: dict[str, Any], value: int
) -> None:
    folder = write_images(tmp_path / "images")
    (folder / "0" / "00.png").write_bytes(encode_image(image, **options))
    assert read_all(folder)[0].image == bytes([value]) * 784


def test_keeps_every_gray_value(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    pixels = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)
    for name, image in (("00", Image.fromarray(pixels)), ("10", Image.fromarray(pixels).convert("RGB"))):
        (folder / "0" / f"{name}.png").write_bytes(encode_image(image))
    assert [record.image for record in read_all(folder)[:2]] == [pixels.tobytes()] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder / "7"),
            "/7: found no such class folder, expected class folders",
        ),
        (lambda folder: (folder / "3" / "03.png").rename(folder / "3" / ".03.png"), "/3: found an empty class folder"),
        *(
            (
                lambda folder, name=name: (folder / name).mkdir(),
                f"/{name}: found a folder named '{name}'",
            )
            for name in ("a", "10", "00")
        ),
        *(
            (
                lambda folder, name=name: (folder / "4" / name).touch(),
                rf"/4/{name}: found a file that is not a PNG or JPEG image, expected only images \(.png, .jpg, .jpeg\)",
            )
            for name in ("labels.csv", "digit.bmp")
        ),
        (lambda folder: (folder / "4" / "more.png").mkdir(), "/4/more.png: found a folder, expected only images"),
        (lambda folder: (folder / "digit.png").touch(), "/digit.png: found an image outside the class folders"),
    ],
)
def test_refuses_other_content(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    folder = write_images(tmp_path / "images")
    change(folder)
    refuse(folder, f"images{message}")


def test_refuses_a_missing_class_of_the_test_set(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images/train").parent
    shutil.rmtree(write_images(tmp_path / "images/test") / "0")
    refuse(folder, "images/test/0: found no such class folder")


@pytest.mark.parametrize("others", [(), ("0",), ("test", "testing"), ("validation", "test")])
def test_refuses_other_folders_beside_train(tmp_path: Path, others: tuple[str, ...]) -> None:
    folder = write_images(tmp_path / "images/train").parent
    for other in others:
        (folder / other).mkdir()
    found = ", ".join(f"'{name}'" for name in sorted(["train", *others]))
    refuse(folder, rf"images: found the folders {found}, expected one folder train \(or training\) and one folder test")


def png_of_16_bit_color() -> bytes:
    """Encodes what Pillow cannot write, and reads as 8-bit RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", 28, 28, 16, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(28 * (1 + 28 * 6)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BLANK = np.zeros((28, 28), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode_image(np.zeros((28, 32), np.uint8)), r"28 x 32 pixels \(height x width\), expected 28 x 28; resize"),
        (encode_image(np.zeros((28, 28), np.uint16)), "mode .* of 16 bits, expected 8-bit grayscale, palette, RGB"),
        (png_of_16_bit_color(), "mode RGB of 16 bits, expected 8-bit"),
        (encode_image(Image.new("CMYK", (28, 28)), "JPEG"), "mode CMYK, expected 8-bit"),
        *(
            (
                encode_image(BLANK)[:kept],
                "an image that cannot be read .*, expected an intact PNG or JPEG",
            )
            for kept in (0, 20, 60, -20)
        ),
        (encode_image(BLANK, "JPEG")[:-40], "an image that cannot be read .*[Tt]runcated"),
        (encode_image(BLANK, compress_level=0).replace(bytes(9), bytes(8) + b"\1"), "an image .*broken PNG file"),
        *((encode_image(BLANK, kind), r"an image that cannot be read \(b'") for kind in ("BMP", "TIFF")),
    ],
)
def test_refuses_unusable_images(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_images(tmp_path / "images")
    (folder / "1" / "11.png").write_bytes(content)
    refuse(folder, f"images/1/11.png: found {message}")
