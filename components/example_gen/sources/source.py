"""The interface of all formats and the checks that they share, so that the pipeline reads any of them the same way."""

import hashlib
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.storage import in_parallel, opened, plain_path
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, MAX_PIXEL, NUM_CLASSES

# Origins of records: the two sets of a source with its own test set, and the only set of any other source.
TRAIN = "train"
TEST = "test"
ALL = "all"

# 6 MB of pixels: small against a worker's memory, large against the cost of opening a file.
RECORDS_PER_SHARE = 8192

_BLOCK_SIZE = 2**20


class Record(NamedTuple):
    """A labeled image.

    Attributes:
        origin: `TRAIN` or `TEST` if the source has its own test set, else `ALL`.
        key: Identifies the record in its source: origin and index ("train/000123"), or the relative path of its file.
        image: uint8[28,28] in row-major order as 784 bytes, 0 background to 255 ink.
        label: The class, 0 to 9.
    """

    origin: str
    key: str
    image: bytes
    label: int

    @property
    def stratum(self) -> tuple[str, int]:
        """Origin and label."""
        return self.origin, self.label


Share = Callable[[], Iterator[Record]]
"""Reads the records that one worker reads, in a fixed order; small, picklable, and raises DataError."""


@dataclass(frozen=True)
class Source(ABC):
    """Labeled images in files of one format.

    Attributes:
        format: Human-readable name of the format.
        files: Full URIs of all files, in a fixed order.
    """

    format: str
    files: tuple[str, ...]

    @abstractmethod
    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """Validates headers, counts and sizes, and divides the records into shares.

        Returns:
            Shares of at most `records_per_share` records that together contain every record once, in a fixed order.

        Raises:
            DataError: A file is missing, damaged, or has a wrong shape or type.
        """


class Array(ABC):
    """The images or the labels of one origin; as text, their place."""

    @abstractmethod
    def count(self) -> int:
        """Validates header and size, and returns the number of records."""

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """Returns a range of records: images uint8[n,28,28] or labels [n]."""


@dataclass(frozen=True)
class ArraySource(Source):
    """Images and labels in separate arrays.

    Attributes:
        arrays: Origin, images and labels of each set.
    """

    arrays: tuple[tuple[str, Array, Array], ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        shares: list[Share] = []
        for origin, images, labels in self.arrays:
            num_images, num_labels = images.count(), labels.count()
            if num_images < 1:
                raise DataError(str(images), "no images", "at least one", "provide data")
            if num_images != num_labels:
                found = f"{num_labels} labels for the {num_images} images of {images}"
                fix = "use images and labels of the same data set"
                raise DataError(str(labels), found, "one label per image", fix)
            for start, stop in ranges(num_images, records_per_share):
                shares.append(partial(_read_arrays, origin, images, labels, start, stop))
        return shares


def _read_arrays(origin: str, images: Array, labels: Array, start: int, stop: int) -> Iterator[Record]:
    yield from numbered_records(
        origin,
        start,
        images.read(start, stop).tobytes(),
        labels.read(start, stop),
        lambda index: f"{labels}, {numbered(index)}",
    )


def ranges(num_records: int, records_per_share: int) -> list[tuple[int, int]]:
    """Divides records into consecutive ranges of (start, stop)."""
    starts = range(0, num_records, records_per_share)
    return [(start, min(start + records_per_share, num_records)) for start in starts]


def check_image_size(where: str, height: int, width: int) -> None:
    """Raises a DataError unless images have 28 x 28 pixels."""
    if (height, width) != (IMAGE_HEIGHT, IMAGE_WIDTH):
        expected = f"{IMAGE_HEIGHT} x {IMAGE_WIDTH}"
        raise DataError(where, f"{height} x {width} pixels (height x width)", expected, f"resize to {expected}")


def numbered_records(
    origin: str, start: int, images: bytes, labels: NDArray[np.integer], where: Callable[[int], str]
) -> Iterator[Record]:
    """Makes records whose key is their index.

    Args:
        origin: Origin of all records.
        start: Index of the first record.
        images: uint8[n,28,28] as bytes.
        labels: Integers [n].
        where: Returns the place of the label of the record at an index.

    Raises:
        DataError: A label is not from 0 to 9.
    """
    for offset in np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))[:1]:
        expected = f"a class from 0 to {NUM_CLASSES - 1}"
        raise DataError(where(start + int(offset)), f"label {labels[offset]}", expected, "correct or remove the record")
    for offset, label in enumerate(labels.tolist()):
        image = images[offset * IMAGE_SIZE : (offset + 1) * IMAGE_SIZE]
        yield Record(origin, f"{origin}/{start + offset:06d}", image, label)


def numbered(index: int) -> str:
    """Names a record by its index."""
    return f"record {index} (counted from 0)"


def fingerprint(source: Source) -> str:
    """Returns the hex SHA-256 of the names, sizes and contents of the files, the same wherever they are stored.

    Raises:
        DataError: A file cannot be read.
    """
    paths = [plain_path(uri) for uri in source.files]
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    digest = hashlib.sha256()
    for path, (size, content) in zip(paths, in_parallel(_digest, source.files), strict=True):
        digest.update(f"{posixpath.relpath(path, folder)}\0{size}\0{content}\n".encode())
    return digest.hexdigest()


def _digest(uri: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with opened(uri) as file:
        while block := file.read(_BLOCK_SIZE):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


@dataclass(frozen=True)
class Summary:
    """The content of a source.

    Attributes:
        counts: The number of records of each of the ten classes, by origin.
        min_pixel: Smallest pixel value, 0 to 255.
        max_pixel: Largest pixel value, 0 to 255.
    """

    counts: dict[str, list[int]]
    min_pixel: int
    max_pixel: int


def verify(source: Source) -> Summary:
    """Reads and checks every record, so that a user sees damage before a run does.

    Raises:
        DataError: The first record or file that cannot be used.
    """
    counts: dict[str, list[int]] = {}
    min_pixel, max_pixel = MAX_PIXEL, 0
    for share in source.shares():
        records = list(share())
        for record in records:
            counts.setdefault(record.origin, [0] * NUM_CLASSES)[record.label] += 1
        pixels = np.frombuffer(b"".join(record.image for record in records), np.uint8)
        min_pixel, max_pixel = min(min_pixel, int(pixels.min())), max(max_pixel, int(pixels.max()))
    return Summary(counts, min_pixel, max_pixel)
