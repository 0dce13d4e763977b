"""Small data sets in every format, written without the code of the readers."""

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.example_gen.sources.detection import open_source
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import Record, Source

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def arrays() -> Arrays:
    """Twelve images for training and seven for testing, under the names of mnist.npz."""
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (12, 28, 28), np.uint8),
        "y_train": np.arange(12, dtype=np.uint8) % 10,
        "x_test": random.integers(0, 256, (7, 28, 28), np.uint8),
        "y_test": np.arange(7, dtype=np.uint8)[::-1].copy(),
    }


@pytest.fixture
def expected(arrays: Arrays) -> list[Record]:
    """The records of a source with a test set."""
    return [
        Record(origin, f"{origin}/{index:06d}", image.tobytes(), int(label))
        for origin in ("train", "test")
        for index, (image, label) in enumerate(zip(arrays[f"x_{origin}"], arrays[f"y_{origin}"], strict=True))
    ]


@pytest.fixture
def read_all() -> Callable[..., list[Record]]:
    """Reads all shares of a source, pickled as workers receive them."""

    def read(source: Source, records_per_share: int = 1000) -> list[Record]:
        shares = pickle.loads(pickle.dumps(source.shares(records_per_share)))
        return [record for share in shares for record in share()]

    return read


@pytest.fixture
def refuse(read_all: Callable[..., list[Record]]) -> Callable[..., None]:
    """Expects a DataError, in one line, from opening or reading data."""

    def expect(uri: Path | str, message: str, records_per_share: int = 5) -> None:
        with pytest.raises(DataError, match=message) as raised:
            read_all(open_source(str(uri)), records_per_share)
        assert len(str(raised.value).splitlines()) == 1

    return expect


@pytest.fixture
def write_npz(tmp_path: Path, arrays: Arrays) -> Callable[..., Path]:
    """Writes `arrays`, some of them replaced, or left out if None."""

    def write(name: str = "mnist.npz", save: Callable[..., None] = np.savez_compressed, **replaced: Any) -> Path:
        path = tmp_path / name
        save(path, **{key: array for key, array in {**arrays, **replaced}.items() if array is not None})
        return path

    return write


@pytest.fixture
def write_idx(tmp_path: Path, arrays: Arrays) -> Callable[..., Path]:
    """Writes the four files of `arrays` to a folder."""

    def write(name: str = "idx", prefix: str = "", test: str = "t10k", mark: str = "-", suffix: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for origin, part in {"train": "train", "test": test}.items():
            images, labels = arrays[f"x_{origin}"], arrays[f"y_{origin}"]
            contents = {
                f"images{mark}idx3": struct.pack(">4I", 0x803, *images.shape) + images.tobytes(),
                f"labels{mark}idx1": struct.pack(">2I", 0x801, len(labels)) + labels.tobytes(),
            }
            for content, data in contents.items():
                packed = gzip.compress(data) if suffix == ".gz" else data
                (folder / f"{prefix}{part}-{content}-ubyte{suffix}").write_bytes(packed)
        return folder

    return write


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encodes an image."""

    def encode(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def write_images(tmp_path: Path, arrays: Arrays, png: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes the ten classes of `x_train` to class folders, two of them with two images."""

    def write(name: str = "images") -> Path:
        for index, (image, label) in enumerate(zip(arrays["x_train"], arrays["y_train"], strict=True)):
            path = tmp_path / name / str(label) / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
        return tmp_path / name

    return write


@pytest.fixture
def csv_text(arrays: Arrays) -> Callable[..., str]:
    """Returns the text of a CSV file of a part of `arrays`."""

    def text(part: str = "train", columns: str = "pixel{}", first: int = 0) -> str:
        rows = [",".join(["label", *(columns.format(first + index) for index in range(784))])]
        for image, label in zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True):
            rows.append(",".join(str(value) for value in (label, *image.ravel())))
        return "\n".join(rows) + "\n"

    return text


@pytest.fixture
def write_csv(tmp_path: Path, csv_text: Callable[..., str]) -> Callable[..., Path]:
    """Writes train.csv and test.csv to a folder."""

    def write(name: str = "csv", suffix: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for part in ("train", "test"):
            text = csv_text(part).encode()
            (folder / f"{part}.csv{suffix}").write_bytes(gzip.compress(text) if suffix else text)
        return folder

    return write
