"""Reads IDX files, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST.

Format and file names: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE". EMNIST (Cohen et al.
2017, arXiv:1702.05373) stores images column by column
(https://www.nist.gov/itl/products-and-services/emnist-dataset); files of its name are transposed.
"""

import gzip
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from components.example_gen.sources.errors import DataError, corrupt
from components.example_gen.sources.source import (
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Record,
    Share,
    Source,
    check_counts,
    check_image_size,
    numbered,
    numbered_records,
    ranges,
)
from components.example_gen.sources.storage import Entry, decompressed, read_exactly
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH

_TRANSPOSED_PREFIX = "emnist-"
_NAME = re.compile(r"(?P<prefix>.*?)(?P<set>train|t10k|test)-(?P<what>images|labels)(?P<mark>[-.])idx[13]-ubyte(\.gz)?")

Parts = Mapping[tuple[str, str], list[Entry]]
"""Files of a data set by origin and content ("images" or "labels")."""

_PARTS = ((TRAIN, "images"), (TRAIN, "labels"), (TEST, "images"), (TEST, "labels"))


class _Layout(NamedTuple):
    content: str
    magic: int
    header: struct.Struct
    record_size: int


_IMAGES = _Layout("images", 0x00000803, struct.Struct(">4I"), IMAGE_SIZE)
_LABELS = _Layout("labels", 0x00000801, struct.Struct(">2I"), 1)

MAGICS = tuple(layout.magic.to_bytes(4, "big") for layout in (_IMAGES, _LABELS))
"""First bytes of the files."""


@dataclass(frozen=True)
class IdxSource(Source):
    """Training images, training labels, test images and test labels, four files in this order."""

    format = "IDX"
    is_transposed: bool

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        shares: list[Share] = []
        for origin, (images, labels) in {TRAIN: self.files[:2], TEST: self.files[2:]}.items():
            count = _validated_count(images, _IMAGES)
            check_counts(images, count, labels, _validated_count(labels, _LABELS))
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
        images = self._read_range(self.images, _IMAGES)
        labels = np.frombuffer(self._read_range(self.labels, _LABELS), np.uint8)
        if self.is_transposed:
            columns_first = np.frombuffer(images, np.uint8).reshape(-1, IMAGE_WIDTH, IMAGE_HEIGHT)
            images = columns_first.transpose(0, 2, 1).tobytes()
        yield from numbered_records(
            self.origin, self.start, images, labels, lambda index: f"{self.labels}, {numbered(index)}"
        )

    def _read_range(self, uri: str, layout: _Layout) -> bytes:
        with decompressed(uri) as stream:
            stream.seek(layout.header.size + self.start * layout.record_size)
            data = read_exactly(stream, (self.stop - self.start) * layout.record_size, uri)
            # Reading to the end also makes gzip verify the checksum.
            if self.stop == self.count and stream.read(1):
                raise corrupt(uri, "bytes after the last record", f"{self.count} records, as its header says")
        return data


def idx_data_sets(entries: Iterable[Entry]) -> dict[str, Parts]:
    """Finds the IDX data sets among files.

    Returns:
        The files by the prefix of their names: "" for MNIST, "emnist-digits-" for the digits of EMNIST.
    """
    data_sets: dict[str, dict[tuple[str, str], list[Entry]]] = {}
    for entry in entries:
        if match := _NAME.fullmatch(entry.name):
            part = (TRAIN if match["set"] == TRAIN else TEST, match["what"])
            data_sets.setdefault(match["prefix"], {}).setdefault(part, []).append(entry)
    return dict(data_sets)


def is_complete(parts: Parts) -> bool:
    """Returns whether a data set has all four files."""
    return set(parts) == set(_PARTS)


def sibling_names(name: str) -> list[str]:
    """Returns all possible file names of the data set of a file, because some web servers cannot list folders."""
    match = _NAME.fullmatch(name)
    if not match:
        return []
    contents = [f"{content}{match['mark']}idx{digit}-ubyte" for content, digit in (("images", 3), ("labels", 1))]
    names = [f"{match['prefix']}{part}-{content}" for part in ("train", "t10k", "test") for content in contents]
    return [f"{name}{suffix}" for name in names for suffix in ("", ".gz")]


def idx_source(folder: str, prefix: str, parts: Parts) -> IdxSource:
    """Makes the source of an IDX data set.

    Args:
        folder: URI of its folder.
        prefix: Prefix of its file names.
        parts: Its files.

    Raises:
        DataError: A file is missing, or exists twice.
    """
    for origin, content in _PARTS:
        found = parts.get((origin, content), [])
        if not found:
            # The test set of MNIST is t10k; that of data sets with a prefix is test.
            origin_name = origin if origin == TRAIN or prefix else "t10k"
            name = f"{prefix}{origin_name}-{content}-idx{3 if content == 'images' else 1}-ubyte[.gz]"
            raise DataError(folder, "an incomplete IDX data set", name, "add it")
        if len(found) > 1:
            names = " and ".join(entry.name for entry in found)
            raise DataError(folder, f"both {names}", "only one of them", "remove the other")
    return IdxSource(tuple(parts[part][0].uri for part in _PARTS), prefix.startswith(_TRANSPOSED_PREFIX))


def _validated_count(uri: str, layout: _Layout) -> int:
    with decompressed(uri) as stream:
        magic, count, *size = layout.header.unpack(read_exactly(stream, layout.header.size, uri))
        if magic != layout.magic:
            expected = f"0x{layout.magic:08x}, IDX {layout.content} of type uint8"
            raise corrupt(uri, f"magic number 0x{magic:08x}", expected)
        if size:
            check_image_size(uri, *size)
        # The size of gzipped content is unknown until a share reads it to the end.
        if not isinstance(stream, gzip.GzipFile):
            num_bytes, expected_bytes = stream.seek(0, os.SEEK_END), layout.header.size + count * layout.record_size
            if num_bytes != expected_bytes:
                raise corrupt(uri, f"{num_bytes} bytes", f"{expected_bytes}, as its header says")
    return int(count)
