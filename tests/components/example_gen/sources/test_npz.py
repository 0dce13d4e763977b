import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, RECORDS, read_all, read_images, refuse, write_npz

MNIST = Path(__file__).parents[4] / "data" / "mnist.npz"


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u8"])
def test_reads_labels_of_any_integer_type(tmp_path: Path, dtype: str) -> None:
    path = write_npz(tmp_path, y_train=(np.arange(12) % 10).astype(dtype))
    assert read_all(path, 5) == RECORDS


@pytest.mark.parametrize("shape", [(2, 5), (40, 3, 1), (9, 4, 3)])
def test_reads_any_size_in_gray_and_color(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, *shape), np.uint8)
    read = read_images(write_npz(tmp_path, x_train=images), 5)[:12]
    np.testing.assert_array_equal([image.pixels for _, image in read], images.reshape(12, *shape[:2], -1))
    assert {image.encoded for _, image in read} == {None}


def test_reads_any_number_of_classes(tmp_path: Path) -> None:
    labels = np.array([0, -1, 10, 499, *range(8)])
    assert [record.label for record, _ in read_images(write_npz(tmp_path, y_train=labels))[:12]] == [*map(str, labels)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_reads_flat_images_and_one_hot_labels(tmp_path: Path, dtype: Any) -> None:
    one_hot: Any = {f"y_{part}": np.eye(10, dtype=dtype)[ARRAYS[f"y_{part}"]] for part in ("train", "test")}
    flat: Any = {f"x_{part}": ARRAYS[f"x_{part}"].reshape(-1, 784) for part in ("train", "test")}
    path = write_npz(tmp_path, **one_hot, **flat)
    assert read_all(path, 5) == RECORDS
    assert open_source(str(path)).assumptions[:2] == (
        "x_train: the 784 pixels are those of 28 x 28 images",
        "y_train: a 1 marks the class, counted from 0",
    )


@pytest.mark.parametrize(
    ("images", "labels"), [("train_images", "train_labels"), ("X_train", "Y_train"), ("trainX", "trainY")]
)
def test_finds_arrays_by_their_names(tmp_path: Path, images: str, labels: str) -> None:
    arrays: Any = {
        key.replace("train", part): ARRAYS[f"{name}_{part}"]
        for part in ("train", "test")
        for key, name in ((images, "x"), (labels, "y"))
    }
    arrays[labels.replace("train", "test")] = ARRAYS["y_test"].reshape(-1, 1)
    np.savez(tmp_path / "a.npz", **arrays, notes=np.zeros(3))
    assert read_all(tmp_path / "a.npz", 5) == RECORDS


@pytest.mark.parametrize("keys", [("x", "y"), ("data", "target"), ("first", "second"), ("second", "first")])
def test_reads_one_set(tmp_path: Path, keys: tuple[str, str]) -> None:
    arrays: Any = dict(zip(keys, (ARRAYS["x_train"], ARRAYS["y_train"]), strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    records = read_all(tmp_path / "a.npz")
    assert [record[2:] for record in records] == [record[2:] for record in RECORDS[:12]]
    assert {record.origin for record in records} == {"all"}


def test_reads_large_images_in_small_shares(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x_train=np.zeros((12, 2000, 4000, 3), np.uint8))
    assert [len(share.records()) for share in open_source(str(path)).shares()] == [2, 2, 2, 2, 2, 2, 7]


def test_reads_mnist() -> None:
    records = read_all(MNIST, 8192)
    assert [sum(record.origin == origin for record in records) for origin in ("train", "test")] == [60_000, 10_000]
    assert [record.label for record in records[:3]] == ["5", "0", "4"]
    assert records[60_000].key == "test/000000"


SHAPES = r"\[n,height,width\] or \[n,height,width,3\]"


def images_with_nan() -> Any:
    images = np.zeros((3000, 28, 28), np.float32)
    images[[2077, 2999], 4, 5] = np.nan
    return images


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"y_test": None},
            r": found the arrays 'x_train \[12, 28, 28\]', 'y_train \[12\]', 'x_test \[7, 28, 28\]', expected x_",
        ),
        (
            {"x_test": np.zeros((7, 1, 1), np.uint8)},
            r", x_test: found 1 x 1 pixels .*, expected 2 x 2 pixels to 16 mega",
        ),
        ({"x_train": np.zeros((12, 783), np.uint8)}, rf", x_train: found shape \(12, 783\), expected {SHAPES}"),
        (
            {"images": np.zeros((12, 28, 28), np.uint8)},
            r": found the arrays .*'images \[12, 28, 28\]', expected x_train",
        ),
        ({"train_x": np.zeros((12, 28, 28), np.uint8)}, r": found the arrays .*'train_x \[12, 28, 28\]', expected x_"),
        ({"x_train": None, "y_train": None}, ": found the arrays 'x_test .*, 'y_test .*, expected x_train"),
        (
            {"y_train": np.eye(12)[[*range(11), 0]] + np.eye(12)[10] * (np.arange(12) == 5)[:, np.newaxis]},
            r", y_train, record 5 \(counted from 0\): found .*, expected exactly one 1, and zeros elsewhere; correct",
        ),
        (
            {"y_train": np.full((12, 3), np.nan)},
            r", y_train, record 0 .*: found '\[nan, nan, nan\]', expected exactly one 1",
        ),
        ({"x_train": np.zeros((12, 8, 8, 2), np.uint8)}, rf", x_train: found shape \(12, 8, 8, 2\), expected {SHAPES}"),
        ({"y_train": np.zeros((12, 1, 1), np.uint8)}, r", y_train: found shape \(12, 1, 1\), expected \[n\]"),
        ({"x_test": np.uint8(0)}, rf", x_test: found shape \(\), expected {SHAPES}"),
        *(
            ({"x_train": np.zeros((12, 28, 28), dtype)}, f", x_train: found dtype {dtype}, expected uint8")
            for dtype in ("float32", "int64", "bool", "uint16", "object")
        ),
        ({"y_test": np.zeros(7)}, ", y_test: found dtype float64, expected an integer dtype"),
        ({"y_train": np.zeros(12, object)}, ", y_train: found dtype object"),
        ({"x_train": images_with_nan()}, r", x_train, record 2077 \(counted from 0\): found NaN, expected uint8"),
        ({"y_train": np.array([1.0, np.nan] * 6)}, r", y_train, record 1 \(counted from 0\): found NaN"),
        (
            {"y_train": np.zeros(11, np.uint8)},
            ", y_train: found 11 labels for the 12 images of .*x_train",
        ),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, ", x_test: found no images"),
        ({"x_train": np.zeros((28, 28, 12), np.uint8).T}, r", x_train: found columns first \(Fortran order\)"),
    ],
)
def test_refuses_unusable_arrays(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    refuse(write_npz(tmp_path, **replaced), f"mnist.npz{message}")


# Size and offset of the archive's directory: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.16.
def with_wrong_directory(data: bytes, field: int) -> bytes:
    start = data.rindex(b"PK\x05\x06") + field
    return data[:start] + (len(data) * 2).to_bytes(4, "little") + data[start + 4 :]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(lambda data, kept=kept: data[: int(len(data) * kept)]) for kept in (0.3, 0.9, 0.999)),
        pytest.param(lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], id="changed byte"),
        pytest.param(lambda data: with_wrong_directory(data, 12), id="wrong size of the directory"),
        pytest.param(lambda data: with_wrong_directory(data, 16), id="wrong offset of the directory"),
    ],
)
def test_refuses_a_damaged_archive(tmp_path: Path, save: Any, damage: Callable[[bytes], bytes]) -> None:
    path = write_npz(tmp_path, save=save)
    path.write_bytes(damage(path.read_bytes()))
    refuse(path, "mnist.npz: found a damaged zip archive .*; download or copy it again")


@pytest.mark.parametrize("records_per_share", [5, 1000])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["x_train", "y_test"])
def test_refuses_a_wrong_checksum(tmp_path: Path, save: Any, records_per_share: int, key: str) -> None:
    path = write_npz(tmp_path, save=save)
    checksum = zipfile.ZipFile(path).getinfo(f"{key}.npy").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(checksum, b"\x01\x02\x03\x04"))
    refuse(path, r"found a damaged zip archive .*Bad CRC-32", records_per_share)


def npy(header: bytes) -> Callable[[bytes], bytes]:
    return lambda _: b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"not an array", "a header that is not npy"),
        (lambda _: b"\x93NUMPY\x09\x00", r"a header that is not npy \(\(9, 0\)\)"),
        (npy(b"{'descr': '|u1', ("), "a header that is not npy"),
        (npy(b"{'descr': '|u1', b'shape': 1}"), "a header that is not npy"),
        (npy(b"{'descr': 1}"), "a header that is not npy"),
        (npy(b"{'descr': '|u1'"), "a header that is not npy"),
        (lambda data: data[:-784], f"{11 * 784} bytes after the header, expected {12 * 784} by its shape"),
        (lambda data: data + b"\0", f"{12 * 784 + 1} bytes after the header, expected {12 * 784} by its shape"),
    ],
)
def test_refuses_a_damaged_array(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    data = zipfile.ZipFile(write_npz(tmp_path)).read("x_train.npy")
    path = write_npz(tmp_path, x_train=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", change(data))
    refuse(path, f"mnist.npz, x_train: found {message}")


def test_refuses_another_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.csv.zip", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    refuse(tmp_path / "train.csv.zip", "zip://::.*/train.csv.zip: found a folder with 'word', expected an npz file")


def test_refuses_a_web_server_that_only_sends_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise ValueError("The HTTP server doesn't appear to support range requests. Only reading")

    path = write_npz(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    refuse(path, r"mnist\.npz: found a web server that only sends whole files")
