"""Reads IDX files, the format of MNIST, Fashion-MNIST, KMNIST, EMNIST and QMNIST.

Format and file names: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE". The labels of QMNIST
(Yadav & Bottou 2019, arXiv:1905.10498; https://github.com/facebookresearch/qmnist) have 8 columns of type int32, of
which the first is the class.
"""

import gzip
import math
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, corrupt
from components.example_gen.sources.source import (
    TEST,
    TRAIN,
    Array,
    ArraySource,
    check_image_size,
    is_transposed,
    only_copy,
)
from components.example_gen.sources.storage import Entry, decompressed, read_exactly

# The first four bytes have the type of the numbers and the number of dimensions.
_DTYPES = {"images": {0x00000803: "u1"}, "labels": {0x00000801: "u1", 0x00000C02: ">i4"}}
MAGICS = tuple(magic.to_bytes(4, "big") for dtypes in _DTYPES.values() for magic in dtypes)

_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<set>train|t10k|test)-(?P<what>images|labels)(?P<mark>[-.])(idx[13]-ubyte|idx2-int)(\.gz)?"
)
_LABELS = ("idx1-ubyte", "idx2-int")
PARTS = tuple((origin, content) for origin in (TRAIN, TEST) for content in _DTYPES)

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
        with self._opened() as (stream, dtype, shape):
            # The size of gzipped content is unknown until a share reads it to the end.
            if not isinstance(stream, gzip.GzipFile):
                expected = stream.tell() + math.prod(shape) * dtype.itemsize
                size = stream.seek(0, os.SEEK_END)
                if size != expected:
                    raise corrupt(self.uri, f"{size} bytes", f"{expected}, as its header says")
        return shape if self.content == "images" else shape[:1]

    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """See the base class."""
        with self._opened() as (stream, dtype, (count, *record_shape)):
            record_size = math.prod(record_shape) * dtype.itemsize
            stream.seek(start * record_size, os.SEEK_CUR)
            records = np.frombuffer(read_exactly(stream, (stop - start) * record_size, self.uri), dtype)
            # Reading to the end also makes gzip verify the checksum.
            if stop == count and stream.read(1):
                raise corrupt(self.uri, "bytes after the last record", f"{count} records, as its header says")
        if self.is_transposed:
            height, width, channels = record_shape
            return records.reshape(-1, width, height, channels).swapaxes(1, 2)
        if self.content == "labels":
            return records.reshape(stop - start, -1)[:, 0]
        return records.reshape(-1, *record_shape)

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], np.dtype[Any], tuple[int, ...]]]:
        with decompressed(self.uri) as stream:
            dtypes = _DTYPES[self.content]
            magic = int.from_bytes(read_exactly(stream, 4, self.uri), "big")
            if magic not in dtypes:
                wanted = " or ".join(f"0x{each:08x}" for each in dtypes)
                raise corrupt(self.uri, f"magic number 0x{magic:08x}", f"{wanted}, IDX {self.content} of a known type")
            num_dimensions = magic & 0xFF
            shape = struct.unpack(f">{num_dimensions}I", read_exactly(stream, 4 * num_dimensions, self.uri))
            if self.content == "images":
                check_image_size(self.uri, *shape[1:])
                shape = (*shape, 1)
            yield stream, np.dtype(dtypes[magic]), shape


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
    contents = [f"images{match['mark']}idx3-ubyte", *(f"labels{match['mark']}{kind}" for kind in _LABELS)]
    names = [f"{match['prefix']}{part}-{content}" for part in ("train", "t10k", "test") for content in contents]
    return [f"{name}{suffix}" for name in names for suffix in ("", ".gz")]


def idx_source(folder: str, prefix: str, parts: Parts) -> ArraySource:
    """Makes the source of the IDX data set with a prefix in a folder.

    Raises:
        DataError: A file is missing, or has a copy that differs.
    """
    for origin, content in PARTS:
        if (origin, content) not in parts:
            # The test set of MNIST is t10k; that of data sets with a prefix is test.
            origin_name = origin if origin == TRAIN or prefix else "t10k"
            name = f"{prefix}{origin_name}-{content}-{'idx3' if content == 'images' else 'idx1'}-ubyte[.gz]"
            raise DataError(folder, "an incomplete IDX data set", name, "add it")
    files = [only_copy(folder, parts[part]) for part in PARTS]
    images = [IdxArray(uri, "images", is_transposed(uri)) for uri in files[::2]]
    labels = [IdxArray(uri, "labels", is_transposed=False) for uri in files[1::2]]
    return ArraySource("IDX", tuple(files), tuple(zip((TRAIN, TEST), images, labels, strict=True)))
