"""The interface of all formats and the checks that they share, so that the pipeline reads any of them the same way."""

import hashlib
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

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


class Share(ABC):
    """The part of a source that one worker reads: small, picklable and independent of the source."""

    @abstractmethod
    def read(self) -> Iterator[Record]:
        """Yields the records of the share in a fixed order.

        Raises:
            DataError: A record is damaged or out of range.
        """


@dataclass(frozen=True)
class Source(ABC):
    """Labeled images in files of one format.

    Attributes:
        format: Human-readable name of the format.
        files: Full URIs of all files, in a fixed order.
    """

    format: ClassVar[str]
    files: tuple[str, ...]

    @abstractmethod
    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """Validates headers, counts and sizes, and divides the records into shares.

        Args:
            records_per_share: Largest number of records in a share, at least 1.

        Returns:
            Shares that together contain every record once, in a fixed order.

        Raises:
            DataError: A file is missing, damaged, or has a wrong shape or type.
        """


def ranges(num_records: int, records_per_share: int) -> list[tuple[int, int]]:
    """Divides records into consecutive ranges of (start, stop)."""
    starts = range(0, num_records, records_per_share)
    return [(start, min(start + records_per_share, num_records)) for start in starts]


def check_counts(images: str, num_images: int, labels: str, num_labels: int) -> None:
    """Raises a DataError unless there are images, and as many labels; `images` and `labels` name their places."""
    if num_images < 1:
        raise DataError(images, "no images", "at least one", "provide data")
    if num_images != num_labels:
        found = f"{num_labels} labels for the {num_images} images of {images}"
        raise DataError(labels, found, "one label per image", "use images and labels of the same data set")


def check_image_size(where: str, height: int, width: int) -> None:
    """Raises a DataError unless images have 28 x 28 pixels."""
    if (height, width) != (IMAGE_HEIGHT, IMAGE_WIDTH):
        expected = f"{IMAGE_HEIGHT} x {IMAGE_WIDTH}"
        raise DataError(where, f"{height} x {width} pixels (height x width)", expected, f"resize to {expected}")


def numbered_records(
    origin: str, start: int, images: bytes, labels: NDArray[np.integer], where: Callable[[int], str]
) -> Iterator[Record]:
    """Checks labels and makes records whose key is their index.

    Args:
        origin: Origin of all records.
        start: Index of the first record within the origin.
        images: uint8[n,28,28] as n * 784 bytes.
        labels: Integers [n].
        where: Returns the place of the label of the record at an index within the origin.

    Yields:
        The n records.

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
    """Identifies data by the names, sizes and contents of its files, wherever they are stored.

    Returns:
        SHA-256 as 64 hexadecimal digits. Names count relative to the common folder of the files.

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
        format: Name of the format.
        files: Full URIs of all files.
        fingerprint: SHA-256 of names, sizes and contents.
        counts: The number of records of each of the ten classes, by origin.
        min_pixel: Smallest pixel value, 0 to 255.
        max_pixel: Largest pixel value, 0 to 255.
    """

    format: str
    files: tuple[str, ...]
    fingerprint: str
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
        records = list(share.read())
        for record in records:
            counts.setdefault(record.origin, [0] * NUM_CLASSES)[record.label] += 1
        pixels = np.frombuffer(b"".join(record.image for record in records), np.uint8)
        min_pixel, max_pixel = min(min_pixel, int(pixels.min())), max(max_pixel, int(pixels.max()))
    return Summary(source.format, source.files, fingerprint(source), counts, min_pixel, max_pixel)
