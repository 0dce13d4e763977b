"""Reads IDX files, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST.

Format and file names: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE".
"""

import gzip
import math
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, corrupt
from components.example_gen.sources.source import TEST, TRAIN, Array, ArraySource, check_image_size, is_transposed
from components.example_gen.sources.storage import Entry, decompressed, read_exactly

# Type and number of dimensions, the first four bytes: images and labels are of type uint8.
_MAGICS = {"images": 0x00000803, "labels": 0x00000801}
MAGICS = tuple(magic.to_bytes(4, "big") for magic in _MAGICS.values())

_NAME = re.compile(r"(?P<prefix>.*?)(?P<set>train|t10k|test)-(?P<what>images|labels)(?P<mark>[-.])idx[13]-ubyte(\.gz)?")
PARTS = tuple((origin, content) for origin in (TRAIN, TEST) for content in _MAGICS)

Parts = Mapping[tuple[str, str], list[Entry]]
"""Files of a data set by origin and content ("images" or "labels")."""


@dataclass(frozen=True)
class IdxArray(Array):
    """A plain or gzipped IDX file of "images" or "labels"; `is_transposed` means images stored column by column."""

    uri: str
    content: str
    is_transposed: bool

    def __str__(self) -> str:
        return self.uri

    def shape(self) -> tuple[int, ...]:
        """See the base class."""
        with self._opened() as (stream, shape):
            # The size of gzipped content is unknown until a share reads it to the end.
            if not isinstance(stream, gzip.GzipFile):
                expected = stream.tell() + math.prod(shape)
                size = stream.seek(0, os.SEEK_END)
                if size != expected:
                    raise corrupt(self.uri, f"{size} bytes", f"{expected}, as its header says")
        return shape

    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """See the base class."""
        with self._opened() as (stream, (count, *record_shape)):
            record_size = math.prod(record_shape)
            stream.seek(start * record_size, os.SEEK_CUR)
            records = np.frombuffer(read_exactly(stream, (stop - start) * record_size, self.uri), np.uint8)
            # Reading to the end also makes gzip verify the checksum.
            if stop == count and stream.read(1):
                raise corrupt(self.uri, "bytes after the last record", f"{count} records, as its header says")
        if self.is_transposed:
            height, width, channels = record_shape
            return records.reshape(-1, width, height, channels).swapaxes(1, 2)
        return records.reshape(-1, *record_shape)

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
        with decompressed(self.uri) as stream:
            expected = _MAGICS[self.content]
            num_dimensions = expected & 0xFF
            header = read_exactly(stream, 4 + 4 * num_dimensions, self.uri)
            magic, *shape = struct.unpack(f">{1 + num_dimensions}I", header)
            if magic != expected:
                wanted = f"0x{expected:08x}, IDX {self.content} of type uint8"
                raise corrupt(self.uri, f"magic number 0x{magic:08x}", wanted)
            if self.content == "images":
                check_image_size(self.uri, *shape[1:])
                shape.append(1)
            yield stream, tuple(shape)


def idx_data_sets(entries: Iterable[Entry]) -> dict[str, Parts]:
    """Finds IDX data sets among files, by the prefix of their names: "" for MNIST, "emnist-digits-" for EMNIST."""
    data_sets: dict[str, dict[tuple[str, str], list[Entry]]] = {}
    for entry in entries:
        if match := _NAME.fullmatch(entry.name):
            part = (TRAIN if match["set"] == TRAIN else TEST, match["what"])
            data_sets.setdefault(match["prefix"], {}).setdefault(part, []).append(entry)
    return dict(data_sets)


def sibling_names(name: str) -> list[str]:
    """Returns all possible file names of the data set of a file, because some web servers cannot list folders."""
    match = _NAME.fullmatch(name)
    if not match:
        return []
    contents = [f"{content}{match['mark']}idx{digit}-ubyte" for content, digit in (("images", 3), ("labels", 1))]
    names = [f"{match['prefix']}{part}-{content}" for part in ("train", "t10k", "test") for content in contents]
    return [f"{name}{suffix}" for name in names for suffix in ("", ".gz")]


def idx_source(folder: str, prefix: str, parts: Parts) -> ArraySource:
    """Makes the source of the IDX data set with a prefix in a folder.

    Raises:
        DataError: A file is missing, or exists twice.
    """
    for origin, content in PARTS:
        found = parts.get((origin, content), [])
        if not found:
            # The test set of MNIST is t10k; that of data sets with a prefix is test.
            origin_name = origin if origin == TRAIN or prefix else "t10k"
            name = f"{prefix}{origin_name}-{content}-idx{_MAGICS[content] & 0xFF}-ubyte[.gz]"
            raise DataError(folder, "an incomplete IDX data set", name, "add it")
        if len(found) > 1:
            names = " and ".join(entry.name for entry in found)
            raise DataError(folder, f"both {names}", "only one of them", "remove the other")
    files = [parts[part][0].uri for part in PARTS]
    images = [IdxArray(uri, "images", is_transposed(uri)) for uri in files[::2]]
    labels = [IdxArray(uri, "labels", is_transposed=False) for uri in files[1::2]]
    return ArraySource("IDX", tuple(files), tuple(zip((TRAIN, TEST), images, labels, strict=True)))
