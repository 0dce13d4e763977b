"""Reads the npz file in which Keras distributes MNIST, without ever unpickling what is in it.

An npz file is a zip archive with one npy file per array. Source of the npy format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; of the names and shapes of the arrays:
https://keras.io/api/datasets/mnist/.
"""

import errno
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, corrupt, numbered_record, place, truncated
from components.example_gen.sources.records import (
    check_counts,
    check_image_size,
    check_numbered_labels,
    numbered_records,
    ranges,
)
from components.example_gen.sources.source import RECORDS_PER_SHARE, TEST, TRAIN, Record, Share, Source
from components.example_gen.sources.storage import lacks_ranges, opened
from components.example_gen.sources.streams import read_exactly

_BLOCK_SIZE = 2**20

# Records of a float array searched for NaN at a time.
_NUM_SEARCHED = 1024


_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


# What zipfile raises for damage: RuntimeError for encryption and unknown compression, ValueError for wrong offsets.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, ValueError)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    num_bytes: int  # Those that follow the header.


@dataclass(frozen=True)
class NpzSource(Source):
    """An npz file with uint8[n,28,28] in `x_train` and `x_test` and integers [n] in `y_train` and `y_test`."""

    format = "npz"

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        (uri,) = self.files
        shares: list[Share] = []
        for origin in (TRAIN, TEST):
            count = _validated_count(uri, origin)
            shares += [NpzShare(uri, origin, *bounds) for bounds in ranges(count, records_per_share)]
        return shares


@dataclass(frozen=True)
class NpzShare(Share):
    """The records `start` to `stop` (exclusive) of an origin."""

    uri: str
    origin: str
    start: int
    stop: int

    def read(self) -> Iterator[Record]:
        """See the base class."""
        labels_key = f"y_{self.origin}"
        images = self._read_range(f"x_{self.origin}").tobytes()
        labels = self._read_range(labels_key)
        check_numbered_labels(labels, self.uri, self.start, labels_key)
        yield from numbered_records(self.origin, self.start, images, labels)

    def _read_range(self, key: str) -> NDArray[Any]:
        with _opened_array(self.uri, key) as (stream, header):
            record_size = _record_size(header)
            _skip(stream, self.start * record_size)
            # With the last byte of an array, zipfile compares its checksum.
            data = read_exactly(stream, (self.stop - self.start) * record_size, place(self.uri, key))
        return np.frombuffer(data, header.dtype)


def _validated_count(uri: str, origin: str) -> int:
    images_key, labels_key = f"x_{origin}", f"y_{origin}"
    images, labels = place(uri, images_key), place(uri, labels_key)
    with _opened_array(uri, images_key) as (stream, header):
        if len(header.shape) != 3:
            raise _unusable(images, f"shape {header.shape}", "[n,28,28]")
        check_image_size(images, *header.shape[1:])
        _check_type(stream, header, images, header.dtype == np.uint8, "uint8 from 0 to 255")
        _check_size(header, images)
        num_images = header.shape[0]
    with _opened_array(uri, labels_key) as (stream, header):
        if len(header.shape) != 1:
            raise _unusable(labels, f"shape {header.shape}", "[n]")
        _check_type(stream, header, labels, header.dtype.kind in "iu", "an integer dtype")
        _check_size(header, labels)
        check_counts(images, num_images, labels, header.shape[0])
    return num_images


def _check_type(stream: IO[bytes], header: _Header, where: str, is_right: bool, expected: str) -> None:
    if header.dtype.kind == "f":
        _check_nan(stream, header, where, expected)
    if not is_right:
        raise _unusable(where, f"dtype {header.dtype}", expected)


def _check_nan(stream: IO[bytes], header: _Header, where: str, expected: str) -> None:
    for start, stop in ranges(header.shape[0], _NUM_SEARCHED):
        data = read_exactly(stream, (stop - start) * _record_size(header), where)
        is_nan = np.isnan(np.frombuffer(data, header.dtype)).reshape(stop - start, -1)
        if is_nan.any():
            record = numbered_record(start + int(is_nan.any(axis=1).argmax()))
            raise DataError(place(where, record), "NaN", expected, "correct that record, then convert the array")


def _record_size(header: _Header) -> int:
    return math.prod(header.shape[1:]) * header.dtype.itemsize


def _unusable(where: str, found: str, expected: str) -> DataError:
    return DataError(where, found, expected, "convert the array and write it again with numpy.savez_compressed")


@contextmanager
def _opened_array(uri: str, key: str) -> Iterator[tuple[IO[bytes], _Header]]:
    """Opens an array and reads its header; the stream stands at the first record then."""
    with opened(uri) as file, _damage_reported(uri), zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if f"{key}.npy" not in names:
            found = f"{', '.join(names) or 'nothing'}, but no array {key!r}"
            raise DataError(uri, found, "x_train, y_train, x_test, y_test", "write them with numpy.savez_compressed")
        with archive.open(f"{key}.npy") as stream:
            yield stream, _read_header(stream, archive.getinfo(f"{key}.npy").file_size, place(uri, key))


@contextmanager
def _damage_reported(uri: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except EOFError as error:
        raise truncated(uri, "zip data that end too early") from error
    except _DAMAGE as error:
        if lacks_ranges(error):
            raise
        raise corrupt(uri, f"a damaged zip archive ({error})", "an intact npz file") from error
    except OSError as error:
        # A damaged directory of the archive makes zipfile seek to places that no file has.
        if error.errno != errno.EINVAL:
            raise
        raise corrupt(uri, "a damaged zip archive (wrong offsets)", "an intact npz file") from error


def _read_header(stream: IO[bytes], member_size: int, where: str) -> _Header:
    try:
        read = _HEADER_READERS[npy.read_magic(stream)]
        header = _Header(*read(stream), num_bytes=member_size - stream.tell())
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise corrupt(where, f"a header that is not npy ({error})", "an npy header of version 1.0 or 2.0") from error
    if header.fortran_order:
        raise _unusable(where, "columns first (fortran order)", "rows first (C order)")
    return header


def _check_size(header: _Header, where: str) -> None:
    num_bytes = math.prod(header.shape) * header.dtype.itemsize
    if header.num_bytes != num_bytes:
        raise corrupt(where, f"{header.num_bytes} bytes after the header", f"{num_bytes} by its shape {header.shape}")


def _skip(stream: IO[bytes], num_bytes: int) -> None:
    # Seeking in an uncompressed member would make zipfile give up on its checksum.
    while num_bytes > 0 and (block := stream.read(min(num_bytes, _BLOCK_SIZE))):
        num_bytes -= len(block)
