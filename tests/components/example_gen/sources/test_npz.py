import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.example_gen.sources import DataError, Record, open_source

Write = Callable[..., Path]
ReadAll = Callable[..., list[Record]]

MNIST = Path(__file__).parents[4] / "data" / "mnist.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_gives_what_was_written(write_npz: Write, read_all: ReadAll, expected: list[Record], save: Any) -> None:
    source = open_source(str(write_npz(save=save)))
    assert source.format == "npz"
    assert read_all(source) == expected


def test_sharing_out_changes_nothing(write_npz: Write, read_all: ReadAll, expected: list[Record]) -> None:
    source = open_source(str(write_npz()))
    shares = source.shares(5)
    assert [len(list(share.read())) for share in shares] == [5, 5, 2, 5, 2]
    assert read_all(source, 5) == expected


def test_shares_survive_pickling(write_npz: Write, expected: list[Record]) -> None:
    shares = pickle.loads(pickle.dumps(open_source(str(write_npz())).shares(5)))
    assert list(shares[1].read()) == expected[5:10]


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u8"])
def test_labels_of_any_integer_type(write_npz: Write, read_all: ReadAll, expected: list[Record], dtype: str) -> None:
    path = write_npz(y_train=(np.arange(12) % 10).astype(dtype))
    assert read_all(open_source(str(path)), 5) == expected


def test_reads_mnist(read_all: ReadAll) -> None:
    records = read_all(open_source(str(MNIST)), 8192)
    assert [sum(record.origin == origin for record in records) for origin in ("train", "test")] == [60_000, 10_000]
    assert [record.label for record in records[:3]] == [5, 0, 4]
    assert records[60_000].key == "test/000000"


def refuse(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(str(path)).shares()


def test_refuses_a_missing_array(write_npz: Write) -> None:
    refuse(write_npz(y_test=None), "mnist.npz: found x_train.npy, y_train.npy, x_test.npy, but no array 'y_test'")


def test_refuses_another_size(write_npz: Write) -> None:
    path = write_npz(x_test=np.zeros((7, 28, 27), np.uint8))
    refuse(path, r"mnist.npz, x_test: found 28 x 27 pixels .*, expected 28 x 28; resize")


@pytest.mark.parametrize(("key", "shape"), [("x_train", (12, 784)), ("y_train", (12, 1)), ("x_test", ())])
def test_refuses_other_dimensions(write_npz: Write, key: str, shape: tuple[int, ...]) -> None:
    path = write_npz(**{key: np.zeros(shape, np.uint8)})
    refuse(path, rf"mnist.npz, {key}: found shape \({', '.join(map(str, shape))}.*\), expected \[n")


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint16"])
def test_refuses_other_types_of_images(write_npz: Write, dtype: str) -> None:
    refuse(write_npz(x_train=np.zeros((12, 28, 28), dtype)), f"x_train: found dtype {dtype}, expected uint8")


def test_refuses_labels_that_are_no_integers(write_npz: Write) -> None:
    refuse(write_npz(y_test=np.zeros(7)), "y_test: found dtype float64, expected an integer dtype")


@pytest.mark.parametrize(("key", "shape"), [("x_train", (12, 28, 28)), ("y_train", (12,))])
def test_refuses_pickled_objects(write_npz: Write, key: str, shape: tuple[int, ...]) -> None:
    refuse(write_npz(**{key: np.zeros(shape, object)}), f"{key}: found dtype object")


def test_names_the_first_image_with_nan(write_npz: Write) -> None:
    images = np.zeros((3000, 28, 28), np.float32)
    images[[2077, 2999], 4, 5] = np.nan
    refuse(write_npz(x_train=images), r"mnist.npz, x_train, record 2077 \(counted from 0\): found NaN, expected uint8")


def test_names_the_first_label_with_nan(write_npz: Write) -> None:
    refuse(
        write_npz(y_train=np.array([1.0, np.nan] * 6)), r"mnist.npz, y_train, record 1 \(counted from 0\): found NaN"
    )


def test_refuses_unequal_counts(write_npz: Write) -> None:
    path = write_npz(y_train=np.zeros(11, np.uint8))
    refuse(path, "mnist.npz, y_train: found 11 labels for the 12 images of .*x_train, expected one label per image")


def test_refuses_no_images(write_npz: Write) -> None:
    refuse(write_npz(x_test=np.zeros((0, 28, 28), np.uint8)), "mnist.npz, x_test: found no images")


def test_refuses_fortran_order(write_npz: Write, arrays: dict[str, Any]) -> None:
    path = write_npz(x_train=np.asfortranarray(arrays["x_train"]))
    refuse(path, r"mnist.npz, x_train: found columns first \(fortran order\)")


@pytest.mark.parametrize("label", [10, -1])
def test_names_the_record_of_a_label_out_of_range(write_npz: Write, read_all: ReadAll, label: int) -> None:
    labels = np.zeros(12, np.int64)
    labels[8:] = label
    source = open_source(str(write_npz(y_train=labels)))
    message = rf"mnist.npz, record 8 \(counted from 0\), y_train: found label {label}, expected a class from 0 to 9"
    with pytest.raises(DataError, match=message):
        read_all(source, 5)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_refuses_a_truncated_file(write_npz: Write, kept: float) -> None:
    path = write_npz()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    refuse(path, "mnist.npz: found a damaged zip archive .*; download or copy it again")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_refuses_changed_bytes(write_npz: Write, read_all: ReadAll, save: Any) -> None:
    path = write_npz(save=save)
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"mnist.npz: found a damaged zip archive"):
        read_all(open_source(str(path)), 5)


def write_member(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", data)


def test_refuses_a_member_that_is_not_npy(write_npz: Write) -> None:
    path = write_npz(x_train=None)
    write_member(path, b"not an array")
    refuse(path, "mnist.npz, x_train: found a header that is not npy")


@pytest.mark.parametrize(
    "text", [b"{'descr': '|u1', (", b"{'descr': '|u1', b'shape': 1}", b"{'descr': 1}", b"{'descr': '|u1'"]
)
def test_refuses_a_damaged_npy_header(write_npz: Write, text: bytes) -> None:
    path = write_npz(x_train=None)
    write_member(path, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    refuse(path, "mnist.npz, x_train: found a header that is not npy")


@pytest.mark.parametrize("field", [12, 16])
def test_refuses_wrong_offsets(write_npz: Write, field: int) -> None:
    path = write_npz()
    data = bytearray(path.read_bytes())
    # Size and offset of the archive's directory: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16.
    start = data.rindex(b"PK\x05\x06") + field
    data[start : start + 4] = (len(data) * 2).to_bytes(4, "little")
    path.write_bytes(data)
    refuse(path, "mnist.npz: found a damaged zip archive")


def test_a_web_server_that_only_sends_whole_files(write_npz: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise ValueError("The HTTP server doesn't appear to support range requests. Only reading")

    source = open_source(str(write_npz()))
    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    with pytest.raises(DataError, match=r"mnist\.npz: found a web server that only sends whole files"):
        source.shares()


@pytest.mark.parametrize("records_per_share", [5, 1000])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["x_train", "y_test"])
def test_refuses_a_wrong_checksum(
    write_npz: Write, read_all: ReadAll, save: Any, records_per_share: int, key: str
) -> None:
    path = write_npz(save=save)
    checksum = zipfile.ZipFile(path).getinfo(f"{key}.npy").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(checksum, b"\x01\x02\x03\x04"))
    with pytest.raises(DataError, match=r"found a damaged zip archive .*Bad CRC-32"):
        read_all(open_source(str(path)), records_per_share)


def test_refuses_an_unknown_version_of_npy(write_npz: Write) -> None:
    path = write_npz(x_train=None)
    write_member(path, b"\x93NUMPY\x09\x00")
    refuse(path, r"mnist.npz, x_train: found a header that is not npy \(\(9, 0\)\)")


@pytest.mark.parametrize("size", [-784, 1])
def test_refuses_an_array_of_another_size_than_its_header_says(write_npz: Write, size: int) -> None:
    path = write_npz()
    member = zipfile.ZipFile(path).read("x_train.npy")
    path = write_npz(x_train=None)
    write_member(path, member[:size] if size < 0 else member + bytes(size))
    refuse(
        path, rf"mnist.npz, x_train: found {12 * 784 + size} bytes after the header, expected {12 * 784} by its shape"
    )
