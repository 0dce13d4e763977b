import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, RECORDS, read_all, read_images, refuse, write_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
LETTERS = np.array([0, 9, 10, 25, 61, 200, 255], np.uint8)
NAMES = (IMAGES, "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", LABELS)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_reads_all_styles_of_names(tmp_path: Path, suffix: str, mark: str, test: str) -> None:
    folder = write_idx(tmp_path / "idx", suffix=suffix, mark=mark, test=test)
    assert read_all(folder) == RECORDS
    for file in folder.iterdir():
        assert read_all(file) == RECORDS, "one file stands for all four"


def test_detects_gzip_by_content(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx", suffix=".gz")
    for path in folder.iterdir():
        path.rename(path.with_suffix(""))
    assert open_source(str(folder)).files == tuple(f"file://{folder}/{name}" for name in NAMES)
    assert read_all(folder) == RECORDS


def test_one_file_selects_its_data_set(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx", prefix="emnist-digits-", test="test")
    folder = write_idx(tmp_path / "idx", prefix="kmnist-", test="test")
    file = folder / "kmnist-test-images-idx3-ubyte"
    assert read_all(file) == RECORDS
    assert all("kmnist-" in uri for uri in open_source(str(file)).files)


def test_transposes_emnist(tmp_path: Path) -> None:
    records = read_all(write_idx(tmp_path, prefix="emnist-digits-", test="test", suffix=".gz"), 5)
    assert records == [
        record._replace(pixels=np.frombuffer(record.pixels, np.uint8).reshape(28, 28).T.tobytes()) for record in RECORDS
    ]


@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_any_size_and_any_number_of_classes(tmp_path: Path, prefix: str, suffix: str) -> None:
    images = np.arange(7 * 2 * 5, dtype=np.uint8).reshape(7, 2, 5)
    stored = images.swapaxes(1, 2) if prefix else images
    folder = write_idx(tmp_path, prefix, "test", suffix=suffix, x_test=stored.reshape(7, 2, 5), y_test=LETTERS)
    read = read_images(folder, 3)[12:]
    assert [record.label for record, _ in read] == ["0", "9", "10", "25", "61", "200", "255"]
    np.testing.assert_array_equal([image.pixels for _, image in read], images[..., np.newaxis])


@pytest.mark.parametrize(("prefix", "test"), [("", "t10k"), ("emnist-digits-", "test")])
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1", "images-idx3", "labels-idx1"])
def test_names_the_missing_file(tmp_path: Path, prefix: str, test: str, part: str) -> None:
    name = f"{prefix}{part if part.startswith('train') else f'{test}-{part}'}-ubyte"
    folder = write_idx(tmp_path / "idx", prefix=prefix, test=test)
    (folder / name).unlink()
    refuse(folder, rf"/idx: found an incomplete IDX data set, expected {name}\[.gz\]; add it")


def test_a_copy_may_be_gzipped_but_not_differ(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx")
    write_idx(tmp_path / "idx", suffix=".gz")
    assert open_source(str(folder)).files == tuple(f"file://{folder}/{name}" for name in NAMES)
    assert read_all(folder) == RECORDS
    write_idx(tmp_path / "idx", suffix=".gz", y_train=np.zeros(12, np.uint8))
    refuse(
        folder, "/idx: found both train-labels-idx1-ubyte and train-labels-idx1-ubyte.gz, which differ, expected only"
    )


def test_reads_files_in_folders_of_their_names(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx")
    for name in NAMES:
        (folder / name).rename(tmp_path / "file")
        (folder / name).mkdir()
        (tmp_path / "file").rename(folder / name / name)
    assert read_all(folder) == read_all(folder / IMAGES) == RECORDS
    write_idx(folder, mark=".")
    assert read_all(folder) == RECORDS, "copies beside the folders"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_the_labels_of_qmnist(tmp_path: Path, suffix: str) -> None:
    folder = write_idx(tmp_path / "idx", "qmnist-", "test", suffix=suffix)
    for part, key in (("train", "y_train"), ("test", "y_test")):
        (folder / f"qmnist-{part}-labels-idx1-ubyte{suffix}").unlink()
        table = np.full((len(ARRAYS[key]), 8), 7, ">i4")
        table[:, 0] = ARRAYS[key]
        data = header(0xC02, *table.shape) + table.tobytes()
        path = folder / f"qmnist-{part}-labels-idx2-int{suffix}"
        path.write_bytes(gzip.compress(data) if suffix else data)
    assert read_all(folder, 5) == read_all(path) == RECORDS
    path.write_bytes(header(0xC02, 7, 8) + bytes(7 * 8))
    refuse(folder, "qmnist-test-labels-idx2-int.*: found 68 bytes, expected 236, as its header says")


def header(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


NUM_BYTES = 16 + 12 * 784


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        *(
            (IMAGES, lambda data, magic=magic: header(magic) + data[4:], f"magic number 0x{magic:08x}, .*IDX images of")
            for magic in (0x801, 0xD03, 0x0308_0000)
        ),
        (LABELS, lambda _: header(0x803, 7, 28, 28) + bytes(7 * 784), "magic number 0x00000803, .*IDX labels"),
        (IMAGES, lambda _: header(0x803, 12, 28, 1) + bytes(12 * 28), "28 x 1 pixels .*, expected 2 x 2 pixels to 16"),
        (IMAGES, lambda _: header(0x803, 1, 20_000, 20_000), "20000 x 20000 pixels .*; resize or remove"),
        (LABELS, lambda _: header(0x801, 6) + bytes(6), "6 labels for the 7 images of .*t10k-images-idx3-ubyte"),
        (IMAGES, lambda _: header(0x803, 0, 28, 28), "no images"),
        (IMAGES, lambda data: data[:-1], f"{NUM_BYTES - 1} bytes, expected {NUM_BYTES}, as its header says; download"),
        (IMAGES, lambda data: data + b"\0", f"{NUM_BYTES + 1} bytes, expected {NUM_BYTES}, as its header says"),
        (LABELS, lambda data: data[:-1], "14 bytes, expected 15, as its header says"),
        *(
            (IMAGES, lambda data, kept=kept: data[:kept], "only [0-9]+ of [0-9]+ bytes, .*a complete file")
            for kept in (0, 3, 10)
        ),
    ],
)
def test_refuses_unusable_files(tmp_path: Path, name: str, change: Callable[[bytes], bytes], message: str) -> None:
    path = write_idx(tmp_path / "idx") / name
    path.write_bytes(change(path.read_bytes()))
    refuse(path.parent, f"{name}: found {message}")


def packed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(change(gzip.decompress(data)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (packed(lambda data: data[:-1]), "only [0-9]+ of [0-9]+ bytes, expected a complete file"),
        (packed(lambda data: data + b"\0"), "bytes after the last record, expected [0-9]+ records, as its header says"),
        (lambda data: data[:-9], "gzip data that ends too early, expected a complete file"),
        *(
            (
                lambda data, place=place: data[:place] + bytes([data[place] ^ 0xFF]) + data[place:][1:],
                r"corrupt gzip data \(.*, expected an intact gzip file",
            )
            for place in (2, -8)
        ),
    ],
)
@pytest.mark.parametrize("name", [f"{IMAGES}.gz", f"{LABELS}.gz"])
def test_refuses_unusable_gzipped_files(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    path = write_idx(tmp_path / "idx", suffix=".gz") / name
    path.write_bytes(change(path.read_bytes()))
    refuse(path.parent, f"{name}: found {message}")


def test_refuses_an_unknown_name(tmp_path: Path) -> None:
    shutil.copy(write_idx(tmp_path / "idx") / IMAGES, tmp_path / "digits.idx")
    refuse(tmp_path / "digits.idx", "digits.idx: found an IDX file with an unknown name, expected a name such as train")
    shutil.copy(tmp_path / "digits.idx", tmp_path / IMAGES)
    refuse(tmp_path / IMAGES, r"found an incomplete IDX data set, expected train-labels-idx1-ubyte\[.gz\]; add it")
