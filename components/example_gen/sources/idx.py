"""Reads IDX files, the format in which MNIST, Fashion-MNIST, KMNIST and EMNIST are published.

Source of the format and of the names of the four files: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST
DATABASE". EMNIST (Cohen et al. 2017, arXiv:1702.05373) keeps the format, but stores images as Matlab does, column by
column (the data set's own readme: https://www.nist.gov/itl/products-and-services/emnist-dataset): its images are
transposed back here, by its file names.
"""

import gzip
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np

from components.example_gen.sources.errors import DataError, corrupt, truncated
from components.example_gen.sources.records import (
    check_counts,
    check_image_size,
    check_numbered_labels,
    numbered_records,
    ranges,
)
from components.example_gen.sources.source import RECORDS_PER_SHARE, TEST, TRAIN, Record, Share, Source
from components.example_gen.sources.storage import Entry
from components.example_gen.sources.streams import decompressed, read_exactly
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH

IMAGES_MAGIC = 0x00000803
LABELS_MAGIC = 0x00000801

_NUM_DIMENSIONS = {IMAGES_MAGIC: 3, LABELS_MAGIC: 1}
_IMAGES_HEADER_SIZE = 16
_LABELS_HEADER_SIZE = 8
_TRANSPOSED_PREFIX = "emnist-"
_NAME = re.compile(r"(?P<prefix>.*?)(?P<set>train|t10k|test)-(?P<what>images|labels)(?P<mark>[-.])idx[13]-ubyte(\.gz)?")
_ROLES = ((TRAIN, "images"), (TRAIN, "labels"), (TEST, "images"), (TEST, "labels"))


class _Role(NamedTuple):
    prefix: str
    origin: str
    content: str


@dataclass(frozen=True)
class IdxSource(Source):
    """Images and labels for training and images and labels for testing, four files in this order."""

    format = "IDX"
    is_transposed: bool

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        shares: list[Share] = []
        for origin, (images, labels) in {TRAIN: self.files[:2], TEST: self.files[2:]}.items():
            count = _validated_count(images, labels)
            for start, stop in ranges(count, records_per_share):
                shares.append(IdxShare(images, labels, origin, start, stop, count, self.is_transposed))
        return shares


@dataclass(frozen=True)
class IdxShare(Share):
    """The records `start` to `stop` (exclusive) of the `count` records of a pair of files."""

    images: str
    labels: str
    origin: str
    start: int
    stop: int
    count: int
    is_transposed: bool

    def read(self) -> Iterator[Record]:
        """See the base class."""
        images = self._read_range(self.images, _IMAGES_HEADER_SIZE, IMAGE_SIZE)
        labels = np.frombuffer(self._read_range(self.labels, _LABELS_HEADER_SIZE, 1), np.uint8)
        check_numbered_labels(labels, self.labels, self.start)
        if self.is_transposed:
            columns_first = np.frombuffer(images, np.uint8).reshape(-1, IMAGE_WIDTH, IMAGE_HEIGHT)
            images = columns_first.transpose(0, 2, 1).tobytes()
        yield from numbered_records(self.origin, self.start, images, labels)

    def _read_range(self, uri: str, header_size: int, record_size: int) -> bytes:
        with decompressed(uri) as stream:
            stream.seek(header_size + self.start * record_size)
            data = read_exactly(stream, (self.stop - self.start) * record_size, uri)
            # Reading on at the end also makes gzip compare the checksum.
            if self.stop == self.count and stream.read(1):
                raise corrupt(uri, "bytes after the last record", f"{self.count} records, as its header says")
        return data


def prefixes(names: Iterable[str]) -> set[str]:
    """Finds the IDX data sets in a folder.

    Args:
        names: Names of files.

    Returns:
        What stands before "train-images" and the like in the names: "" for MNIST, "emnist-digits-" for EMNIST's digits.
    """
    return {role.prefix for name in names if (role := _role(name))}


def sibling_names(name: str) -> list[str]:
    """Gives the names that all files of a data set may have, as a web server need not list its folders.

    Args:
        name: Name of one of its files.

    Returns:
        Names in the style of this one, plain and gzipped; none if `name` is not that of an IDX file.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return []
    contents = [f"{content}{match['mark']}idx{digit}-ubyte" for content, digit in (("images", 3), ("labels", 1))]
    names = [f"{match['prefix']}{part}-{content}" for part in ("train", "t10k", "test") for content in contents]
    return [f"{name}{suffix}" for name in names for suffix in ("", ".gz")]


def is_complete(entries: Iterable[Entry], prefix: str) -> bool:
    """Tells whether all four files of a data set are there."""
    return {(role.origin, role.content) for role in _roles(entries, prefix)} == set(_ROLES)


def idx_source(folder: str, entries: Iterable[Entry], prefix: str) -> IdxSource:
    """Makes the source of four IDX files.

    Args:
        folder: Path or URI of their folder, for messages.
        entries: Files of the folder.
        prefix: What the names of the four start with, see `prefixes`.

    Returns:
        The source.

    Raises:
        DataError: One of the four is missing, or there twice.
    """
    roles = _roles(entries, prefix)
    for origin, content in _ROLES:
        found = roles.get(_Role(prefix, origin, content), [])
        if not found:
            raise DataError(folder, "an incomplete IDX data set", _standard_name(prefix, origin, content), "add it")
        if len(found) > 1:
            names = " and ".join(entry.name for entry in found)
            raise DataError(folder, f"both {names}", "only one of them", "remove the other")
    files = [roles[_Role(prefix, *role)][0].uri for role in _ROLES]
    return IdxSource(tuple(files), is_transposed=prefix.startswith(_TRANSPOSED_PREFIX))


def _role(name: str) -> _Role | None:
    match = _NAME.fullmatch(name)
    return _Role(match["prefix"], TRAIN if match["set"] == TRAIN else TEST, match["what"]) if match else None


def _roles(entries: Iterable[Entry], prefix: str) -> dict[_Role, list[Entry]]:
    roles: dict[_Role, list[Entry]] = {}
    for entry in entries:
        if (role := _role(entry.name)) and role.prefix == prefix:
            roles.setdefault(role, []).append(entry)
    return roles


def _standard_name(prefix: str, origin: str, content: str) -> str:
    # MNIST calls its test set t10k; the data sets that have a prefix call theirs test.
    test = "test" if prefix else "t10k"
    return f"{prefix}{origin if origin == TRAIN else test}-{content}-idx{3 if content == 'images' else 1}-ubyte[.gz]"


def _validated_count(images: str, labels: str) -> int:
    with decompressed(images) as stream:
        num_images, height, width = _read_header(stream, IMAGES_MAGIC, images)
        check_image_size(images, height, width)
        _check_size(stream, _IMAGES_HEADER_SIZE + num_images * IMAGE_SIZE, images)
    with decompressed(labels) as stream:
        (num_labels,) = _read_header(stream, LABELS_MAGIC, labels)
        _check_size(stream, _LABELS_HEADER_SIZE + num_labels, labels)
    check_counts(images, num_images, labels, num_labels)
    return num_images


def _read_header(stream: IO[bytes], magic: int, uri: str) -> tuple[int, ...]:
    (found,) = struct.unpack(">I", read_exactly(stream, 4, uri))
    if found != magic:
        content = "images" if magic == IMAGES_MAGIC else "labels"
        raise corrupt(uri, f"magic number 0x{found:08x}", f"0x{magic:08x}, IDX {content} of type uint8")
    num_dimensions = _NUM_DIMENSIONS[magic]
    return struct.unpack(f">{num_dimensions}I", read_exactly(stream, 4 * num_dimensions, uri))


def _check_size(stream: IO[bytes], expected: int, uri: str) -> None:
    # How much is in a gzipped file shows only when all of it is read, which the shares do.
    if isinstance(stream, gzip.GzipFile):
        return
    size = stream.seek(0, os.SEEK_END)
    if size < expected:
        raise truncated(uri, f"{size} bytes where its header asks for {expected}")
    if size > expected:
        raise corrupt(uri, f"{size} bytes", f"{expected}, as its header says")
