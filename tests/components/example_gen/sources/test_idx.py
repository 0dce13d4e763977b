import gzip
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.example_gen.sources import DataError, Record, open_source

Write = Callable[..., Path]
ReadAll = Callable[..., list[Record]]
IMAGES_HEADER = struct.pack(">4I", 0x803, 12, 28, 28)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_gives_what_was_written(
    write_idx: Write, read_all: ReadAll, expected: list[Record], suffix: str, mark: str, test: str
) -> None:
    source = open_source(str(write_idx(suffix=suffix, mark=mark, test=test)))
    assert source.format == "IDX"
    assert read_all(source) == read_all(source, 5) == expected


def test_files_are_in_fixed_order(write_idx: Write) -> None:
    folder = write_idx()
    names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    assert open_source(str(folder)).files == tuple(f"file://{folder}/{name}" for name in names)


def test_shares_survive_pickling(write_idx: Write, expected: list[Record]) -> None:
    shares = pickle.loads(pickle.dumps(open_source(str(write_idx(suffix=".gz"))).shares(5)))
    assert [len(list(share.read())) for share in shares] == [5, 5, 2, 5, 2]
    assert list(shares[1].read()) == expected[5:10]


def test_gzip_is_told_by_content(write_idx: Write, read_all: ReadAll, expected: list[Record]) -> None:
    folder = write_idx(suffix=".gz")
    for path in folder.iterdir():
        path.rename(path.with_suffix(""))
    assert read_all(open_source(str(folder))) == expected


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_one_file_stands_for_all_four(
    write_idx: Write, read_all: ReadAll, expected: list[Record], name: str, suffix: str
) -> None:
    folder = write_idx(suffix=suffix)
    assert read_all(open_source(str(folder / f"{name}{suffix}"))) == expected


def test_one_file_chooses_among_data_sets(write_idx: Write, read_all: ReadAll, expected: list[Record]) -> None:
    write_idx(prefix="emnist-digits-", test="test")
    folder = write_idx(prefix="kmnist-", test="test")
    source = open_source(str(folder / "kmnist-test-images-idx3-ubyte"))
    assert read_all(source) == expected
    assert all("kmnist-" in uri for uri in source.files)


def test_emnist_is_transposed_back(write_idx: Write, read_all: ReadAll, expected: list[Record]) -> None:
    records = read_all(open_source(str(write_idx(prefix="emnist-digits-", test="test", suffix=".gz"))), 5)
    turned = [np.frombuffer(record.image, np.uint8).reshape(28, 28).T.tobytes() for record in expected]
    assert [record.image for record in records] == turned
    assert [record.key for record in records] == [record.key for record in expected]


def refuse(path: Path, message: str, read: bool = False) -> None:
    with pytest.raises(DataError, match=message):
        for share in open_source(str(path)).shares(5):
            for _ in share.read() if read else ():
                pass


@pytest.mark.parametrize(("prefix", "test"), [("", "t10k"), ("emnist-digits-", "test")])
@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1", "images-idx3", "labels-idx1"])
def test_names_the_missing_file(write_idx: Write, prefix: str, test: str, part: str) -> None:
    name = f"{prefix}{part if part.startswith('train') else f'{test}-{part}'}-ubyte"
    folder = write_idx(prefix=prefix, test=test)
    (folder / name).unlink()
    refuse(folder, rf"/idx: found an incomplete IDX data set, expected {name}\[.gz\]; add it")


def test_refuses_a_file_that_is_there_twice(write_idx: Write) -> None:
    folder = write_idx()
    write_idx(suffix=".gz")
    refuse(folder, "/idx: found both train-images-idx3-ubyte and train-images-idx3-ubyte.gz, expected only one of them")


@pytest.mark.parametrize("magic", [0x801, 0xD03, 0x0308_0000])
def test_refuses_another_magic_number(write_idx: Write, magic: int) -> None:
    folder = write_idx()
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">I", magic) + path.read_bytes()[4:])
    refuse(folder, f"{path.name}: found magic number 0x{magic:08x}, expected 0x00000803, IDX images of type uint8")


def test_refuses_images_in_place_of_labels(write_idx: Write) -> None:
    folder = write_idx()
    shutil.copy(folder / "t10k-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte")
    refuse(folder, "t10k-labels-idx1-ubyte: found magic number 0x00000803, expected 0x00000801, IDX labels")


def test_refuses_another_size(write_idx: Write) -> None:
    folder = write_idx()
    (folder / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 7, 28, 27) + bytes(7 * 28 * 27))
    refuse(folder, "t10k-images-idx3-ubyte: found 28 x 27 pixels .*, expected 28 x 28")


def test_refuses_unequal_counts(write_idx: Write) -> None:
    folder = write_idx()
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 11) + bytes(11))
    refuse(folder, "train-labels-idx1-ubyte: found 11 labels for the 12 images of .*train-images-idx3-ubyte")


def test_refuses_no_images(write_idx: Write) -> None:
    folder = write_idx()
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 0, 28, 28))
    refuse(folder, "train-images-idx3-ubyte: found no images")


CONTENT_SIZES = [("train-images-idx3-ubyte", 16 + 12 * 784), ("t10k-labels-idx1-ubyte", 8 + 7)]


@pytest.mark.parametrize(("name", "size"), CONTENT_SIZES)
def test_refuses_a_truncated_plain_file(write_idx: Write, name: str, size: int) -> None:
    folder = write_idx()
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    refuse(
        folder, f"{name}: found {size - 1} bytes where its header asks for {size}, expected a complete file; it is cut"
    )


@pytest.mark.parametrize(("name", "size"), CONTENT_SIZES)
def test_refuses_surplus_bytes_in_a_plain_file(write_idx: Write, name: str, size: int) -> None:
    folder = write_idx()
    (folder / name).write_bytes((folder / name).read_bytes() + b"\0")
    refuse(folder, f"{name}: found {size + 1} bytes, expected {size}, as its header says")


@pytest.mark.parametrize("kept", [0, 3, 10])
def test_refuses_a_truncated_header(write_idx: Write, kept: int) -> None:
    folder = write_idx()
    (folder / "train-images-idx3-ubyte").write_bytes(IMAGES_HEADER[:kept])
    refuse(folder, "train-images-idx3-ubyte: found .* bytes where .* should follow, expected a complete file")


def rewrite_gzip(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


@pytest.mark.parametrize(("name", "size"), CONTENT_SIZES)
def test_refuses_a_gzipped_file_with_too_little_in_it(write_idx: Write, name: str, size: int) -> None:
    folder = write_idx(suffix=".gz")
    rewrite_gzip(folder, name, lambda data: data[:-1])
    refuse(folder, f"{name}.gz: found .* bytes where .* should follow, expected a complete file; it is cut", read=True)


@pytest.mark.parametrize(("name", "size"), CONTENT_SIZES)
def test_refuses_a_gzipped_file_with_too_much_in_it(write_idx: Write, name: str, size: int) -> None:
    folder = write_idx(suffix=".gz")
    rewrite_gzip(folder, name, lambda data: data + b"\0")
    refuse(
        folder, rf"{name}.gz: found bytes after the last record, expected \d+ records, as its header says", read=True
    )


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_refuses_truncated_gzip(write_idx: Write, name: str) -> None:
    folder = write_idx(suffix=".gz")
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    refuse(folder, f"{name}: found gzip data that end too early, expected a complete file; it is cut short", read=True)


@pytest.mark.parametrize(
    ("place", "reason"),
    [(2, "Unknown compression method"), (5000, "CRC check failed|Error -3"), (-8, "CRC check failed")],
)
def test_refuses_corrupt_gzip(write_idx: Write, place: int, reason: str) -> None:
    folder = write_idx(suffix=".gz")
    path = folder / "train-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    refuse(folder, rf"{path.name}: found corrupt gzip data \(({reason})", read=True)


def test_names_the_record_of_a_label_out_of_range(write_idx: Write, arrays: dict[str, Any]) -> None:
    folder = write_idx()
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-4] + b"\x1a\x00\x00\x00")
    refuse(
        folder, rf"{path.name}, record 8 \(counted from 0\): found label 26, expected a class from 0 to 9", read=True
    )
