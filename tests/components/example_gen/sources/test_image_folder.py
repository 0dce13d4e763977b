import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.example_gen.sources import DataError, Record, open_source

Write = Callable[..., Path]
ReadAll = Callable[..., list[Record]]
Encode = Callable[..., bytes]


def test_gives_what_was_written(write_images: Write, read_all: ReadAll, arrays: dict[str, Any]) -> None:
    source = open_source(str(write_images()))
    records = read_all(source)
    order = [0, 10, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert source.format == "image folder"
    assert [record.image for record in records] == [arrays["x_train"][index].tobytes() for index in order]
    assert [record.label for record in records] == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [record.key for record in records[:3]] == ["0/00.png", "0/10.png", "1/01.png"]
    assert {record.origin for record in records} == {"all"}
    assert read_all(source, 5) == records


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_folders_for_training_and_testing(write_images: Write, read_all: ReadAll, train: str, test: str) -> None:
    folder = write_images(f"images/{train}").parent
    write_images(f"images/{test}")
    (folder / "README.md").write_text("Digits")
    records = read_all(open_source(str(folder)), 5)
    assert [(record.origin, record.key) for record in records[::12]] == [
        ("train", f"{train}/0/00.png"),
        ("test", f"{test}/0/00.png"),
    ]
    assert [record.origin for record in records] == ["train"] * 12 + ["test"] * 12


def test_shares_survive_pickling(write_images: Write) -> None:
    shares = open_source(str(write_images())).shares(5)
    copies = pickle.loads(pickle.dumps(shares))
    assert [list(copy.read()) for copy in copies] == [list(share.read()) for share in shares]
    assert [len(list(share.read())) for share in shares] == [5, 5, 2]


def test_suffixes_of_any_case_and_links_and_hidden_files(
    write_images: Write, read_all: ReadAll, tmp_path: Path
) -> None:
    folder = write_images()
    (folder / "0" / "00.png").rename(folder / "0" / "00.PNG")
    (folder / "0" / ".DS_Store").touch()
    (folder / ".git").mkdir()
    shutil.move(folder / "9", tmp_path / "elsewhere")
    (folder / "9").symlink_to(tmp_path / "elsewhere")
    assert [record.key for record in read_all(open_source(str(folder)))][::11] == ["0/00.PNG", "9/09.png"]


def test_reads_jpeg(write_images: Write, read_all: ReadAll, png: Encode) -> None:
    folder = write_images()
    (folder / "0" / "00.png").unlink()
    (folder / "0" / "00.JPG").write_bytes(png(np.full((28, 28), 200, np.uint8), "JPEG"))
    assert read_all(open_source(str(folder)))[0].image == bytes([200]) * 784


def palette_image(transparent: bool) -> Image.Image:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (Image.new("RGB", (28, 28), (100, 100, 100)), 100),
        (Image.new("RGB", (28, 28), (255, 0, 0)), 76),
        (Image.new("RGBA", (28, 28), (255, 255, 255, 51)), 51),
        (Image.new("LA", (28, 28), (255, 0)), 0),
        (Image.new("1", (28, 28), 1), 255),
        (palette_image(transparent=False), 255),
        (palette_image(transparent=True), 0),
    ],
)
def test_colours_become_luminance(
    write_images: Write, read_all: ReadAll, png: Encode, image: Image.Image, value: int
) -> None:
    folder = write_images()
    (folder / "0" / "00.png").write_bytes(png(image))
    assert read_all(open_source(str(folder)))[0].image == bytes([value]) * 784


@pytest.mark.parametrize(("mode", "white"), [("RGB", (255, 255, 255)), ("L", 255)])
def test_a_colour_that_stands_for_transparent_is_background(
    write_images: Write, read_all: ReadAll, png: Encode, mode: str, white: Any
) -> None:
    folder = write_images()
    (folder / "0" / "00.png").write_bytes(png(Image.new(mode, (28, 28), white), transparency=white))
    assert read_all(open_source(str(folder)))[0].image == bytes(784)


def refuse(path: Path, message: str, read: bool = False) -> None:
    with pytest.raises(DataError, match=message):
        for share in open_source(str(path)).shares(5):
            for _ in share.read() if read else ():
                pass


def test_refuses_a_missing_class(write_images: Write) -> None:
    folder = write_images()
    shutil.rmtree(folder / "7")
    refuse(folder, "images/7: found no such class folder, expected class folders 0 to 9 only; add it")


def test_refuses_an_empty_class(write_images: Write) -> None:
    folder = write_images()
    (folder / "3" / "03.png").unlink()
    (folder / "3" / ".hidden.png").touch()
    refuse(folder, "images/3: found an empty class folder, expected at least one image")


@pytest.mark.parametrize("name", ["a", "10", "00"])
def test_refuses_another_class(write_images: Write, name: str) -> None:
    folder = write_images()
    (folder / name).mkdir()
    refuse(
        folder, f"images/{name}: found a folder named '{name}', expected class folders 0 to 9 only; rename or remove it"
    )


def test_refuses_a_missing_class_of_the_test_set(write_images: Write) -> None:
    folder = write_images("images/train").parent
    shutil.rmtree(write_images("images/test") / "0")
    refuse(folder, "images/test/0: found no such class folder")


@pytest.mark.parametrize("others", [(), ("0",), ("test", "testing"), ("validation", "test")])
def test_refuses_other_folders_beside_train(write_images: Write, others: tuple[str, ...]) -> None:
    folder = write_images("images/train").parent
    for other in others:
        (folder / other).mkdir()
    found = ", ".join(f"'{name}'" for name in sorted(["train", *others]))
    refuse(folder, rf"images: found the folders {found}, expected one folder train \(or training\) and one folder test")


@pytest.mark.parametrize("name", ["labels.csv", "digit.bmp"])
def test_refuses_other_files_in_a_class(write_images: Write, name: str) -> None:
    folder = write_images()
    (folder / "4" / name).touch()
    refuse(folder, rf"images/4/{name}: found a file that is no image, expected only images \(.png, .jpg, .jpeg\)")


def test_refuses_a_folder_in_a_class(write_images: Write) -> None:
    folder = write_images()
    (folder / "4" / "more.png").mkdir()
    refuse(folder, "images/4/more.png: found a folder, expected only images")


def test_refuses_an_image_beside_the_classes(write_images: Write) -> None:
    folder = write_images()
    (folder / "digit.png").touch()
    refuse(folder, "images/digit.png: found an image outside the class folders")


def replace_image(folder: Path, content: bytes) -> None:
    (folder / "1" / "11.png").write_bytes(content)


def test_refuses_another_size(write_images: Write, png: Encode) -> None:
    folder = write_images()
    replace_image(folder, png(np.zeros((28, 32), np.uint8)))
    refuse(folder, r"images/1/11.png: found 28 x 32 pixels \(height x width\), expected 28 x 28; resize", read=True)


def test_refuses_16_bit_greyscale(write_images: Write, png: Encode) -> None:
    folder = write_images()
    replace_image(folder, png(np.zeros((28, 28), np.uint16)))
    refuse(folder, "images/1/11.png: found mode .* of 16 bits, expected 8-bit greyscale, palette, RGB", read=True)


def test_refuses_16_bit_colour(write_images: Write) -> None:
    # Made by hand because Pillow cannot write it, and reads it as 8-bit RGB.
    folder = write_images()
    replace_image(folder, png_of_depth_16())
    refuse(folder, "images/1/11.png: found mode RGB of 16 bits, expected 8-bit", read=True)


def png_of_depth_16() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", 28, 28, 16, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(28 * (1 + 28 * 6)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_refuses_other_colours(write_images: Write, png: Encode) -> None:
    folder = write_images()
    replace_image(folder, png(Image.new("CMYK", (28, 28)), "JPEG"))
    refuse(folder, "images/1/11.png: found mode CMYK, expected 8-bit", read=True)


@pytest.mark.parametrize("kept", [0, 20, 300, -20])
def test_refuses_a_truncated_image(write_images: Write, png: Encode, arrays: dict[str, Any], kept: int) -> None:
    folder = write_images()
    replace_image(folder, png(arrays["x_train"][0])[:kept])
    refuse(folder, "images/1/11.png: found an image that cannot be read .*, expected an intact PNG or JPEG", read=True)


def test_refuses_a_truncated_jpeg(write_images: Write, png: Encode, arrays: dict[str, Any]) -> None:
    folder = write_images()
    replace_image(folder, png(arrays["x_train"][0], "JPEG")[:-100])
    refuse(folder, "images/1/11.png: found an image that cannot be read .*truncated", read=True)


def test_refuses_changed_bytes(write_images: Write, png: Encode, arrays: dict[str, Any]) -> None:
    folder = write_images()
    data = bytearray(png(arrays["x_train"][0], compress_level=0))
    data[400] ^= 1
    replace_image(folder, bytes(data))
    refuse(folder, "images/1/11.png: found an image that cannot be read .*broken PNG file", read=True)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF"])
def test_refuses_another_format(write_images: Write, png: Encode, kind: str) -> None:
    folder = write_images()
    replace_image(folder, png(np.zeros((28, 28), np.uint8), kind))
    refuse(folder, r"images/1/11.png: found an image that cannot be read \(b'", read=True)
