"""The interface of all formats and the checks that they share, so that the pipeline reads any of them the same way."""

import hashlib
import math
import posixpath
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, listed
from components.example_gen.sources.storage import Entry, decompressed, in_parallel, opened, plain_path, relative_path
from registry.signatures import MAX_PIXELS

# Origins of records: the sets of a source that has several, and the only set of any other source.
TRAIN = "train"
EVAL = "eval"
TEST = "test"
ALL = "all"

ORIGINS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), EVAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""Origins by the names that folders and files have for them."""

RECORDS_PER_SHARE = 8192

# Small against a worker's memory, large against the cost of opening a file.
_PIXELS_PER_SHARE = 64 * 2**20

_MIN_SIDE = 2

_BATCH_SIZE = 256
_MAX_WAITING_BYTES = 32 * 2**20

_BLOCK_SIZE = 2**20


class Record(NamedTuple):
    """What identifies a labeled image.

    Attributes:
        origin: `TRAIN`, `EVAL` or `TEST` if the source has several sets, else `ALL`.
        key: Identifies the record in its source: origin and index ("train/000123"), or the relative path of its file.
        label: Name of the class.
    """

    origin: str
    key: str
    label: str

    @property
    def stratum(self) -> tuple[str, str]:
        """Origin and label."""
        return self.origin, self.label


class Image(NamedTuple):
    """The image of a record.

    Attributes:
        encoded: The file, PNG or JPEG without alpha that TensorFlow decodes to `pixels`; None if there is none.
        pixels: uint8[h,w,c]: gray, gray and alpha, RGB, or RGB and alpha.
    """

    encoded: bytes | None
    pixels: NDArray[np.uint8]


class Share(ABC):
    """The records that one worker reads; small and picklable."""

    @abstractmethod
    def records(self) -> Sequence[Record]:
        """Returns all records in a fixed order, without reading their images.

        Raises:
            DataError: A label is missing or not valid.
        """

    @abstractmethod
    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        """Reads the images of the records with these indices, which ascend.

        Raises:
            DataError: An image is missing, damaged or not supported.
        """


@dataclass(frozen=True)
class Source(ABC):
    """Labeled images in files of one format.

    Attributes:
        format: Human-readable name of the format.
        files: Full URIs of all files, in a fixed order.
        assumptions: What the files do not say, one line each.
    """

    format: str
    files: tuple[str, ...]
    assumptions: tuple[str, ...] = field(default=(), kw_only=True)

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
    def shape(self) -> tuple[int, ...]:
        """Validates header and size, and returns the shape: images [n,h,w,c] or labels [n]."""

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """Returns a range of records: images uint8[n,h,w,c] or labels [n]."""


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
            (num_images, *image_shape), (num_labels,) = images.shape(), labels.shape()
            if num_images < 1:
                raise DataError(str(images), "no images", "at least one", "provide data")
            if num_images != num_labels:
                found = f"{num_labels} labels for the {num_images} images of {images}"
                fix = "use images and labels of the same data set"
                raise DataError(str(labels), found, "one label per image", fix)
            num_records = max(1, min(records_per_share, _PIXELS_PER_SHARE // math.prod(image_shape)))
            for start, stop in ranges(num_images, num_records):
                shares.append(_ArrayShare(origin, images, labels, start, stop))
        return shares


@dataclass(frozen=True)
class _ArrayShare(Share):
    origin: str
    array: Array
    labels: Array
    start: int
    stop: int

    def records(self) -> Sequence[Record]:
        return numbered_records(self.origin, self.start, self.labels.read(self.start, self.stop))

    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        pixels = self.array.read(self.start, self.stop).astype(np.uint8, copy=False)
        return (Image(None, pixels[number]) for number in numbers)


def ranges(num_records: int, records_per_share: int) -> list[tuple[int, int]]:
    """Divides records into consecutive ranges of (start, stop)."""
    starts = range(0, num_records, records_per_share)
    return [(start, min(start + records_per_share, num_records)) for start in starts]


def batch_by_shape(images: Iterable[tuple[int, Image]]) -> Iterator[list[tuple[int, Image]]]:
    """Groups numbered images by shape, and limits the memory that waiting groups take."""
    waiting: dict[tuple[int, ...], list[tuple[int, Image]]] = defaultdict(list)
    num_bytes = 0
    for number, image in images:
        pixels = image.pixels
        batch = waiting[pixels.shape]
        batch.append((number, image))
        num_bytes += pixels.nbytes
        if len(batch) == _BATCH_SIZE:
            yield waiting.pop(pixels.shape)
            num_bytes -= _BATCH_SIZE * pixels.nbytes
        elif num_bytes > _MAX_WAITING_BYTES:
            yield from waiting.values()
            waiting.clear()
            num_bytes = 0
    yield from waiting.values()


def check_image_size(where: str, height: int, width: int) -> None:
    """Raises a DataError if an image is too small or too large to be used."""
    if min(height, width) < _MIN_SIDE or height * width > MAX_PIXELS:
        expected = f"{_MIN_SIDE} x {_MIN_SIDE} pixels to {MAX_PIXELS // 10**6} megapixels"
        raise DataError(where, f"{height} x {width} pixels (height x width)", expected, "resize or remove it")


def check_classes(where: str, strata: Iterable[tuple[str, str]]) -> None:
    """Checks the names of the classes in all pairs of an origin and a label.

    Raises:
        DataError: Names differ only by case, training has fewer than two classes, or another set has more.
    """
    by_lower_case: dict[str, str] = {}
    pairs = sorted(set(strata), key=lambda stratum: stratum[::-1])
    for _, name in pairs:
        other = by_lower_case.setdefault(name.casefold(), name)
        if other != name:
            found = f"classes that differ only by case ({other!r} and {name!r})"
            raise DataError(where, found, "different names", "rename one, or merge them")
    trained = {name for origin, name in pairs if origin in (TRAIN, ALL)}
    for origin in (EVAL, TEST):
        if unknown := [name for of, name in pairs if of == origin and name not in trained]:
            found = f"class {listed(unknown)} in {origin} only"
            raise DataError(where, found, f"a class of {TRAIN}", f"add images to {TRAIN}, or remove the class")
    if len(trained) < 2:
        fix = "add images of another class; in a folder of images, each subfolder is a class"
        raise DataError(where, f"only the class {listed(sorted(trained))}", "at least two classes", fix)


def is_transposed(uri: str) -> bool:
    """Returns whether a file stores images column by column.

    EMNIST (Cohen et al. 2017, arXiv:1702.05373) does; its files have this prefix
    (https://www.nist.gov/itl/products-and-services/emnist-dataset).
    """
    return posixpath.basename(plain_path(uri)).startswith("emnist-")


def numbered_records(origin: str, start: int, labels: NDArray[np.integer]) -> list[Record]:
    """Makes records with consecutive indices as keys, and integers [n] as labels."""
    return [Record(origin, f"{origin}/{index:06d}", str(label)) for index, label in enumerate(labels.tolist(), start)]


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
    for path, (size, content) in zip(paths, in_parallel(partial(_digest, opened), source.files), strict=True):
        digest.update(f"{posixpath.relpath(path, folder)}\0{size}\0{content}\n".encode())
    return digest.hexdigest()


def only_copy(folder: str, files: Sequence[Entry]) -> str:
    """Returns the URI of the first of several files that must have the same content, plain or gzipped.

    Raises:
        DataError: They differ.
    """
    uris = [file.uri for file in files]
    if len(files) > 1 and len(set(in_parallel(partial(_digest, decompressed), uris))) > 1:
        names = " and ".join(relative_path(uri, folder) for uri in uris)
        raise DataError(folder, f"both {names}, which differ", "only one of them", "remove the other")
    return uris[0]


def _digest(open_file: Callable[[str], AbstractContextManager[IO[bytes]]], uri: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open_file(uri) as file:
        while block := file.read(_BLOCK_SIZE):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
