"""Small data sets in every format, written without the code of the readers."""

import gzip
import io
import json
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pyarrow import parquet

from components.example_gen.sources.detection import open_source
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import Image, Record


class ReadRecord(NamedTuple):
    """A record and its pixels, uint8[h,w] as bytes if they are gray."""

    origin: str
    key: str
    label: str
    pixels: bytes


_RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, NDArray[Any]] = {
    "x_train": _RANDOM.integers(0, 256, (12, 28, 28), np.uint8),
    "y_train": np.arange(12, dtype=np.uint8) % 10,
    "x_test": _RANDOM.integers(0, 256, (7, 28, 28), np.uint8),
    "y_test": np.arange(7, dtype=np.uint8)[::-1],
}
"""Twelve images for training and seven for testing, under the names of mnist.npz."""

RECORDS = [
    ReadRecord(origin, f"{origin}/{index:06d}", str(label), image.tobytes())
    for origin in ("train", "test")
    for index, (image, label) in enumerate(zip(ARRAYS[f"x_{origin}"], ARRAYS[f"y_{origin}"], strict=True))
]
"""The records of a source with a test set."""


def read_images(uri: Path | str, records_per_share: int = 1000) -> list[tuple[Record, Image]]:
    """Reads data in shares, pickled as workers receive them."""
    shares = pickle.loads(pickle.dumps(open_source(str(uri)).shares(records_per_share)))
    contents = [(share.records(), share) for share in shares]
    return [
        pair for records, share in contents for pair in zip(records, share.images(range(len(records))), strict=True)
    ]


def read_all(uri: Path | str, records_per_share: int = 1000) -> list[ReadRecord]:
    """Reads data in shares as `read_images` does."""
    return [ReadRecord(*record, image.pixels.tobytes()) for record, image in read_images(uri, records_per_share)]


def refuse(uri: Path | str, message: str, records_per_share: int = 5) -> None:
    """Expects a DataError, in one line, from opening or reading data."""
    with pytest.raises(DataError, match=message) as raised:
        read_all(uri, records_per_share)
    assert len(str(raised.value).splitlines()) == 1


def write_npz(folder: Path, save: Callable[..., None] = np.savez_compressed, **replaced: Any) -> Path:
    """Writes mnist.npz, some arrays replaced, or left out if None."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "mnist.npz", **{key: array for key, array in {**ARRAYS, **replaced}.items() if array is not None})
    return folder / "mnist.npz"


def write_idx(
    folder: Path, prefix: str = "", test: str = "t10k", mark: str = "-", suffix: str = "", **replaced: Any
) -> Path:
    """Writes four files, with some arrays replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for origin, part in {"train": "train", "test": test}.items():
        images, labels = ({**ARRAYS, **replaced}[f"{key}_{origin}"] for key in "xy")
        contents = {
            f"images{mark}idx3": struct.pack(">4I", 0x803, *images.shape) + images.tobytes(),
            f"labels{mark}idx1": struct.pack(">2I", 0x801, len(labels)) + labels.tobytes(),
        }
        for content, data in contents.items():
            packed = gzip.compress(data) if suffix else data
            (folder / f"{prefix}{part}-{content}-ubyte{suffix}").write_bytes(packed)
    return folder


def encode_image(image: PillowImage.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """Encodes an image."""
    buffer = io.BytesIO()
    (image if isinstance(image, PillowImage.Image) else PillowImage.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_images(folder: Path) -> Path:
    """Writes the training images to class folders, two of them with two images."""
    for index, (image, label) in enumerate(zip(ARRAYS["x_train"], ARRAYS["y_train"], strict=True)):
        path = folder / str(label) / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(image))
    return folder


def csv_text(part: str = "train", first: int = 0) -> str:
    """Returns a CSV file whose first pixel column has the number `first`."""
    rows = [",".join(["label", *(f"pixel{first + index}" for index in range(784))])]
    for image, label in zip(ARRAYS[f"x_{part}"], ARRAYS[f"y_{part}"], strict=True):
        rows.append(",".join(str(value) for value in (label, *image.ravel())))
    return "\n".join(rows) + "\n"


def write_csv(folder: Path, suffix: str = "") -> Path:
    """Writes train.csv and test.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        text = csv_text(part).encode()
        (folder / f"{part}.csv{suffix}").write_bytes(gzip.compress(text) if suffix else text)
    return folder


def parquet_table(
    part: str = "train", names: Sequence[str] | None = tuple("0123456789"), image: str = "image"
) -> pa.Table:
    """Returns images and labels as Hugging Face's `datasets` writes them; the labels are strings if `names` is None."""
    files = [{"bytes": encode_image(pixels), "path": "a.png"} for pixels in ARRAYS[f"x_{part}"]]
    labels = ARRAYS[f"y_{part}"].tolist()
    images = pa.array(files, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    if names is None:
        return pa.table({image: images, "label": pa.array(map(str, labels))})
    features = {image: {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({image: images, "label": pa.array(labels, pa.int64())}).replace_schema_metadata(metadata)


def write_parquet(folder: Path) -> Path:
    """Writes one file for training and one for testing, with row groups of four images."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        parquet.write_table(parquet_table(part), folder / f"{part}-00000-of-00001.parquet", row_group_size=4)
    return folder
