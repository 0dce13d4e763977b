import gzip
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.example_gen.sources.detection import find_data, open_source, resolve_span
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import fingerprint
from tests.support.image_data import (
    RECORDS,
    csv_text,
    read_all,
    refuse,
    write_csv,
    write_idx,
    write_images,
    write_npz,
    write_parquet,
)

LAYOUTS = r"expected an npz file .*, a folder of four IDX files .*, a folder with a folder of images .*or a zip file"


def test_detects_a_file_by_content(tmp_path: Path) -> None:
    assert open_source(str(write_npz(tmp_path).rename(tmp_path / "a"))).format == "npz"
    (tmp_path / "b").write_bytes(gzip.compress(csv_text().encode("utf-8-sig")))
    assert open_source(str(tmp_path / "b")).format == "CSV"


def test_files_have_full_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(tmp_path)
    monkeypatch.chdir(path.parent)
    assert open_source("mnist.npz").files == open_source(f"file://{path}").files == (f"file://{path}",)


def test_finding_images_does_not_load_tensorflow(tmp_path: Path) -> None:
    script = "import sys; from components.example_gen.sources.detection import find_data; find_data(sys.argv[1], None)"
    command = [sys.executable, "-c", f"{script}; print('tensorflow' in sys.modules)", str(write_images(tmp_path))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.usefixtures("memory_uris")
@pytest.mark.parametrize("write", [write_npz, write_idx, write_images, write_csv, write_parquet])
def test_reads_other_file_systems(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path / write.__name__)
    memory = fsspec.filesystem("memory")
    memory.makedirs("/digits", exist_ok=True)
    memory.put(str(path), "/digits/", recursive=True)
    remote = f"memory://digits/{path.name}"
    assert all(uri.startswith("memory://") for uri in open_source(remote).files)
    assert read_all(f"{remote}/", 5) == read_all(path)


def test_refuses_a_missing_path(tmp_path: Path) -> None:
    refuse(tmp_path / "none.npz", f"^{tmp_path}/none.npz: found nothing at this path, {LAYOUTS}.*; correct the path")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", f"a file that starts with b'', {LAYOUTS}"),
        (gzip.compress(b"Hello", mtime=0), f"a file that starts with b'Hello', {LAYOUTS}"),
        (b"\x1f\x8b broken, " * 9, "corrupt gzip data"),
    ],
)
def test_refuses_another_file(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    refuse(tmp_path / "a.bin", f"a.bin: found {found}")


def test_refuses_another_folder(tmp_path: Path) -> None:
    refuse(tmp_path, f": found a folder with nothing, {LAYOUTS}")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "digits.db").touch()
    (tmp_path / "cats").mkdir()
    for name in (".DS_Store", "._notes.txt", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).touch()
    refuse(tmp_path, f": found a folder with 'cats', 'digits.db', 'notes.txt', {LAYOUTS}")


def test_refuses_two_complete_idx_data_sets(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx", prefix="emnist-digits-", test="test")
    folder = write_idx(tmp_path / "idx", prefix="emnist-mnist-", test="test")
    refuse(folder, r"idx: found IDX files emnist-\w+-\* and IDX files emnist-\w+-\*, expected one data set; keep each")


def pack(folder: Path, root: str = "", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Packs a file, or the content of a folder, as file managers do."""
    path = folder.parent / f"{folder.stem}.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{root}{file.name if file == folder else file.relative_to(folder)}")
        archive.writestr("__MACOSX/digits/._train.csv", "a resource fork")
        archive.writestr(f"{root}.DS_Store", "the places of icons")
    return path


@pytest.mark.parametrize("write", [write_npz, write_idx, write_images, write_csv, write_parquet])
@pytest.mark.parametrize("root", ["", "my digits/", "MNIST/raw/"])
def test_reads_zip_files_of_any_format(tmp_path: Path, write: Callable[[Path], Path], root: str) -> None:
    data = write(tmp_path / "data")
    archive = pack(data, root)
    assert read_all(archive, 5) == read_all(data, 5)
    assert fingerprint(open_source(str(archive))) == fingerprint(open_source(str(data)))


@pytest.mark.usefixtures("memory_uris")
def test_reads_zip_files_elsewhere_and_selects_one_file_in_them(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx")
    write_idx(folder, prefix="kmnist-")
    fsspec.filesystem("memory").pipe_file("/zipped/idx.zip", pack(folder, "all/").read_bytes())
    refuse("memory://zipped/idx.zip", r"found all: IDX files kmnist-\* and all: IDX files \*, expected one data set")
    assert read_all("zip://all/kmnist-train-images-idx3-ubyte::memory://zipped/idx.zip") == RECORDS
    assert read_all("zip://all/t10k-labels-idx1-ubyte::memory://zipped/idx.zip") == RECORDS


def test_sees_that_a_zip_file_was_replaced(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data")
    assert len(read_all(pack(data))) == 12
    (data / "0" / "10.png").unlink()
    assert len(read_all(pack(data))) == 11


def test_refuses_a_damaged_zip_file(tmp_path: Path) -> None:
    path = pack(write_csv(tmp_path / "csv"), compression=zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"label,pixel0", b"label,pixel9"))
    refuse(path, "zip://.*csv.zip: found a damaged or encrypted zip archive .Bad CRC-32 .*expected an intact one; down")
    path.write_bytes(data[:-100])
    refuse(path, "zip://.*csv.zip: found a damaged or encrypted zip archive .File is not a zip file")


def test_finds_the_only_data_set_below_a_folder(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/processed").mkdir()
    (tmp_path / "MNIST/processed/training.pt").touch()
    assert read_all(tmp_path) == read_all(tmp_path / "MNIST") == RECORDS
    write_csv(tmp_path / "other")
    refuse(tmp_path, r"found MNIST: raw: IDX files \* and other: train.csv, expected one data set")


def test_prefers_the_complete_idx_data_set(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx")
    write_idx(tmp_path / "idx", prefix="kmnist-")
    (folder / "kmnist-t10k-labels-idx1-ubyte").unlink()
    assert read_all(folder) == RECORDS


def test_refuses_two_layouts_in_one_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "both")
    folder = write_idx(tmp_path / "both")
    (folder / "train.csv").touch()
    refuse(folder, r"both: found IDX files \* and folders of images and train.csv, expected one data set")
    write_parquet(folder)
    refuse(
        folder, r"both: found IDX files \* and folders of images and Parquet files and train.csv, expected one data set"
    )


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("mnist.npz", b"damaged", "a damaged zip archive"),
        ("train.parquet", b"damaged", "a damaged Parquet file"),
        ("train.csv.gz", b"damaged", "1 columns whose names start with"),
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b\xff damaged", "corrupt gzip data"),
    ],
)
def test_names_the_damage_of_a_file_with_a_known_name(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    path = write_idx(tmp_path / "idx", suffix=".gz") / name
    path.write_bytes(content)
    refuse(path, f"{name}: found {found}")


@pytest.mark.parametrize(
    ("uri", "driver", "fix"),
    [
        ("s3://bucket/mnist.npz", "s3fs", "install it: .uv/bin/uv sync --inexact --extra s3$"),
        ("gs://bucket/mnist.npz", "gcsfs", "install it: .uv/bin/uv sync --inexact --extra gs$"),
    ],
)
def test_names_the_missing_driver(monkeypatch: pytest.MonkeyPatch, uri: str, driver: str, fix: str) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    refuse(uri, f"^{uri}: found no driver for this kind of URI, expected an installed fsspec driver; {fix}")


@pytest.mark.parametrize(
    "uri",
    [
        "cloud://bucket/mnist.npz",
        "memory://mnist.npz",
        "ssh://host/mnist.npz",
        "tar://mnist.npz::https://host/a.tar",
        "zip://a::ssh://host/a.zip",
    ],
)
def test_refuses_other_kinds_of_uri(uri: str) -> None:
    found = "found an unsupported kind of URI, expected a local path, or a URI that starts with file://, "
    refuse(uri, f"^{uri.removeprefix('zip://a::')}: {found}")


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """Spans 1, 2 and 10 as files, folders, and with numbers of five digits."""
    for number in (1, 2, 10):
        (tmp_path / f"mnist-{number}.npz").touch()
        (tmp_path / f"padded-{number:05d}.npz").touch()
        (tmp_path / f"day-{number}").mkdir()
        (tmp_path / f"day-{number}" / "train.csv").touch()
    for name in ("mnist-11.npz.part", "mnist-x.npz", "padded-20.npz"):
        (tmp_path / name).touch()
    (tmp_path / "day-11").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "span", "expected"),
    [
        ("mnist-{SPAN}.npz", None, ("mnist-10.npz", 10)),
        ("mnist-{SPAN}.npz", 2, ("mnist-2.npz", 2)),
        ("padded-{SPAN:5}.npz", None, ("padded-00010.npz", 10)),
        ("padded-{SPAN:5}.npz", 1, ("padded-00001.npz", 1)),
        ("day-{SPAN}", None, ("day-11", 11)),
        ("day-{SPAN}/", 2, ("day-2/", 2)),
        ("day-{SPAN}/train.csv", None, ("day-10/train.csv", 10)),
        ("mnist-1.npz", None, ("mnist-1.npz", 0)),
        ("mnist-1.npz", 0, ("mnist-1.npz", 0)),
    ],
)
def test_resolves_spans(
    spans: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, span: int | None, expected: tuple[str, int]
) -> None:
    name, number = expected
    assert resolve_span(f"{spans}/{pattern}", span) == (f"{spans}/{name}", number)
    monkeypatch.chdir(spans)
    assert resolve_span(pattern, span) == expected


@pytest.mark.usefixtures("memory_uris")
def test_resolves_spans_of_uris_and_sees_new_ones() -> None:
    for number in (0, 3, 4):
        fsspec.filesystem("memory").pipe_file(f"/spans/{number}/mnist.npz", b"")
        newest = (f"memory://spans/{number}/mnist.npz", number)
        assert resolve_span("memory://spans/{SPAN}/mnist.npz", None) == newest
    assert resolve_span("memory://spans/{SPAN}/mnist.npz", 0) == ("memory://spans/0/mnist.npz", 0)


@pytest.mark.parametrize(
    ("pattern", "span", "message"),
    [
        ("mnist-1.npz", 3, r"no \{SPAN\} for span 3, expected \{SPAN\} in the path"),
        *(
            (pattern, None, "no span, expected a file or folder that matches the pattern")
            for pattern in ("other-{SPAN}.npz", "none/{SPAN}/mnist.npz", "padded-{SPAN:3}.npz")
        ),
        *(
            ("mnist-{SPAN}.npz", span, rf"no span {span}, expected one of the existing spans \(1, 2, 10\)")
            for span in (3, -1)
        ),
        ("{SPAN}/mnist-{SPAN:2}.npz", None, r"2 placeholders, expected one \{SPAN\}"),
        *(
            (f"{placeholder}/mnist.npz", None, r"a malformed placeholder, expected one \{SPAN\} or \{SPAN:5\}")
            for placeholder in ("{SPAN:}", "{SPAN:x}", "{SPAN:0}", "{SPAN", "{SPANS}")
        ),
        ("day-{SPAN}x", None, "span 2 twice .*day-02x.* and .*day-2x"),
    ],
)
def test_refuses_a_wrong_span(spans: Path, pattern: str, span: int | None, message: str) -> None:
    for name in ("day-02x", "day-2x"):
        (spans / name).touch()
    with pytest.raises(DataError, match=message):
        resolve_span(f"{spans}/{pattern}", span)


def test_a_version_has_the_path_the_span_and_the_fingerprint(tmp_path: Path) -> None:
    for span, last_label in ((1, 5), (2, 6), (10, 6)):
        write_npz(tmp_path / f"span-{span}", y_test=np.array([0, 1, 2, 3, 4, 5, last_label]))
    pattern = str(tmp_path / "span-{SPAN}" / "mnist.npz")
    newest, one, two = (find_data(pattern, span) for span in (None, 1, 2))
    assert (newest.uri, newest.span) == (str(tmp_path / "span-10" / "mnist.npz"), 10)
    assert one.fingerprint != two.fingerprint == newest.fingerprint
    with pytest.raises(DataError, match="nowhere.npz"):
        find_data(str(tmp_path / "nowhere.npz"), None)
