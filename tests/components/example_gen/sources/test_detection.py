import gzip
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from components.example_gen.sources import DataError, Record, open_source

Write = Callable[..., Path]
ReadAll = Callable[..., list[Record]]
LAYOUTS = r"expected an npz file .*, a folder of four IDX files .*, a folder of class folders 0 to 9 .*, or a CSV file"


def refuse(uri: Path | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(str(uri))


def test_files_are_told_by_content(write_npz: Write, csv_text: Callable[..., str], tmp_path: Path) -> None:
    assert open_source(str(write_npz().rename(tmp_path / "a"))).format == "npz"
    (tmp_path / "b").write_text(csv_text())
    assert open_source(str(tmp_path / "b")).format == "CSV"
    (tmp_path / "c").write_bytes(gzip.compress(csv_text().encode("utf-8-sig")))
    assert open_source(str(tmp_path / "c")).format == "CSV"


def test_folders_are_told_by_what_is_in_them(write_idx: Write, write_images: Write, tmp_path: Path) -> None:
    assert open_source(str(write_idx())).format == "IDX"
    assert open_source(f"{write_images()}/").format == "image folder"


def test_files_have_full_uris(write_npz: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz()
    monkeypatch.chdir(path.parent)
    assert open_source("mnist.npz").files == open_source(f"file://{path}").files == (f"file://{path}",)


@pytest.fixture
def memory() -> str:
    """An empty folder in memory."""
    file_system = fsspec.filesystem("memory")
    if file_system.exists("/digits"):
        file_system.rm("/digits", recursive=True)
    file_system.makedirs("/digits")
    return "memory://digits"


@pytest.mark.parametrize("layout", ["npz", "idx", "images", "csv"])
def test_other_file_systems(
    memory: str, layout: str, read_all: ReadAll, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if layout == "csv":
        (tmp_path / "csv").mkdir()
        (tmp_path / "csv" / "train.csv").write_text(request.getfixturevalue("csv_text")())
    else:
        request.getfixturevalue(f"write_{layout}")()
    path = tmp_path / ("mnist.npz" if layout == "npz" else layout)
    fsspec.filesystem("memory").put(str(path), "/digits/", recursive=True)
    local, remote = open_source(str(path)), open_source(f"{memory}/{path.name}")
    assert all(uri.startswith("memory://") for uri in remote.files)
    assert read_all(remote, 5) == read_all(local)


def test_refuses_a_missing_path(tmp_path: Path) -> None:
    refuse(tmp_path / "none.npz", f"^{tmp_path}/none.npz: found nothing at this path, {LAYOUTS}.*; correct the path")


@pytest.mark.parametrize("content", [b"", b"Hello", b"\x1f\x8b broken", gzip.compress(b"Hello")])
def test_refuses_another_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    refuse(tmp_path / "a.bin", f"a.bin: found a file that starts b.*, {LAYOUTS}")


def test_refuses_another_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mnist.npz").touch()
    (tmp_path / "cats").mkdir()
    (tmp_path / ".hidden").touch()
    refuse(tmp_path, f": found a folder with 'cats', 'mnist.npz', 'notes.txt', {LAYOUTS}")


def test_refuses_an_empty_folder(tmp_path: Path) -> None:
    refuse(tmp_path, f": found a folder with nothing, {LAYOUTS}")


def test_refuses_two_complete_idx_data_sets(write_idx: Write) -> None:
    write_idx(prefix="emnist-mnist-", test="test")
    folder = write_idx(prefix="emnist-digits-", test="test")
    refuse(
        folder, r"idx: found IDX files emnist-digits-\* and IDX files emnist-mnist-\*, expected one data set; keep each"
    )


def test_prefers_the_complete_idx_data_set(write_idx: Write, read_all: ReadAll, expected: list[Record]) -> None:
    folder = write_idx()
    write_idx(prefix="kmnist-")
    (folder / "kmnist-t10k-labels-idx1-ubyte").unlink()
    assert read_all(open_source(str(folder))) == expected


def test_refuses_two_layouts_in_one_folder(write_images: Write, write_idx: Write, tmp_path: Path) -> None:
    write_images("both")
    folder = write_idx("both")
    (folder / "train.csv").touch()
    refuse(folder, r"both: found IDX files \* and folders of images and train.csv, expected one data set")


@pytest.mark.parametrize("name", ["mnist.npz", "train.csv.gz", "train-images-idx3-ubyte.gz"])
def test_damaged_files_are_told_by_name(write_idx: Write, name: str) -> None:
    folder = write_idx(suffix=".gz")
    (folder / name).write_bytes(b"\x1f\x8b\xff damaged")
    with pytest.raises(DataError, match=f"{name}: found (a damaged zip archive|corrupt gzip data)"):
        open_source(str(folder / name)).shares()


def test_refuses_an_idx_file_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "digits.idx").write_bytes(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784))
    refuse(
        tmp_path / "digits.idx", "digits.idx: found an IDX file whose name does not tell its part, expected a name such"
    )


def test_names_the_missing_sibling_of_an_idx_file(write_idx: Write, tmp_path: Path) -> None:
    shutil.copy(write_idx(suffix=".gz") / "train-labels-idx1-ubyte.gz", tmp_path)
    message = r"found an incomplete IDX data set, expected train-images-idx3-ubyte\[.gz\]; add it"
    refuse(tmp_path / "train-labels-idx1-ubyte.gz", message)


@pytest.mark.parametrize(("scheme", "driver", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gs")])
def test_names_the_extra_of_a_missing_driver(
    monkeypatch: pytest.MonkeyPatch, scheme: str, driver: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    refuse(
        f"{scheme}://bucket/mnist.npz",
        rf"^{scheme}://bucket/mnist.npz: found no driver .*; install it: .uv/bin/uv sync --inexact --extra {extra}$",
    )


def test_names_another_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    refuse("abfs://container/mnist.npz", "found no driver for this kind of URI, .*; install that driver .*adlfs")


def test_refuses_an_unknown_scheme() -> None:
    refuse("cloud://bucket/mnist.npz", "^cloud://bucket/mnist.npz: found a URI that cannot be opened .*cloud")
