"""Reads the npz file in which Keras distributes MNIST, range by range and without unpickling.

An npz file is a zip archive of npy files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
`numpy.load` would read whole arrays, which is too much for the memory of parallel workers. Names and shapes of the
arrays: https://keras.io/api/datasets/mnist/.
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

from components.example_gen.sources.errors import DataError, corrupt, listed
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
from components.example_gen.sources.storage import lacks_ranges, opened, read_exactly

# Records read at a time when all of them are not needed at once.
_RECORDS_PER_BLOCK = 1024

_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

# For damage, zipfile also raises RuntimeError (encryption, compression) and ValueError and OSError (wrong offsets).
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)


@dataclass(frozen=True)
class NpzSource(Source):
    """An npz file with uint8[n,28,28] in `x_train` and `x_test` and integers [n] in `y_train` and `y_test`."""

    format = "npz"

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        (uri,) = self.files
        shares: list[Share] = []
        for origin in (TRAIN, TEST):
            images, labels = f"x_{origin}", f"y_{origin}"
            count = _validated_count(uri, images)
            check_counts(f"{uri}, {images}", count, f"{uri}, {labels}", _validated_count(uri, labels))
            shares += [NpzShare(uri, origin, start, stop) for start, stop in ranges(count, records_per_share)]
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
        key = f"y_{self.origin}"
        images, labels = self._read_range(f"x_{self.origin}").tobytes(), self._read_range(key)
        yield from numbered_records(
            self.origin, self.start, images, labels, lambda index: f"{self.uri}, {numbered(index)}, {key}"
        )

    def _read_range(self, key: str) -> NDArray[Any]:
        with _opened_array(self.uri, key) as array:
            # zipfile verifies the checksum of an array only if all of it is read, without seeking.
            for start, stop in ranges(self.start, _RECORDS_PER_BLOCK):
                array.read(stop - start)
            return array.read(self.stop - self.start)


class _Array(NamedTuple):
    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    num_bytes: int
    where: str

    def read(self, num_records: int) -> NDArray[Any]:
        size = num_records * math.prod(self.shape[1:]) * self.dtype.itemsize
        return np.frombuffer(read_exactly(self.stream, size, self.where), self.dtype)


def _validated_count(uri: str, key: str) -> int:
    is_images = key.startswith("x_")
    with _opened_array(uri, key) as array:
        if len(array.shape) != (3 if is_images else 1):
            raise _unusable(array, f"shape {array.shape}", "[n,28,28]" if is_images else "[n]")
        if is_images:
            check_image_size(array.where, *array.shape[1:])
        expected = "uint8 from 0 to 255" if is_images else "an integer dtype"
        if array.dtype.kind == "f":
            _check_nan(array, expected)
        if not (array.dtype == np.uint8 if is_images else array.dtype.kind in "iu"):
            raise _unusable(array, f"dtype {array.dtype}", expected)
        size = math.prod(array.shape) * array.dtype.itemsize
        if array.num_bytes != size:
            expected = f"{size} by its shape {array.shape}"
            raise corrupt(array.where, f"{array.num_bytes} bytes after the header", expected)
    return array.shape[0]


def _check_nan(array: _Array, expected: str) -> None:
    for start, stop in ranges(array.shape[0], _RECORDS_PER_BLOCK):
        is_nan = np.isnan(array.read(stop - start)).reshape(stop - start, -1).any(axis=1)
        if is_nan.any():
            where = f"{array.where}, {numbered(start + int(is_nan.argmax()))}"
            raise DataError(where, "NaN", expected, "correct that record, then convert the array")


def _unusable(array: _Array, found: str, expected: str) -> DataError:
    return DataError(array.where, found, expected, "convert the array and write it again with numpy.savez_compressed")


@contextmanager
def _opened_array(uri: str, key: str) -> Iterator[_Array]:
    """Opens an array and reads its header; the stream is then at the first record."""
    with opened(uri) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if f"{key}.npy" not in names:
                    found = f"{listed(names)}, but no array {key!r}"
                    fix = "write them with numpy.savez_compressed, or extract the archive and pass what is in it"
                    raise DataError(uri, found, "x_train, y_train, x_test, y_test", fix)
                with archive.open(f"{key}.npy") as stream:
                    yield _read_header(stream, archive.getinfo(f"{key}.npy").file_size, f"{uri}, {key}")
        except DataError:
            raise
        except _DAMAGE as error:
            # A damaged directory makes zipfile seek to impossible places; other OSErrors are those of the storage.
            if lacks_ranges(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
                raise
            raise corrupt(uri, f"a damaged zip archive ({error})", "an intact npz file") from error


def _read_header(stream: IO[bytes], member_size: int, where: str) -> _Array:
    try:
        shape, is_fortran_order, dtype = _HEADER_READERS[npy.read_magic(stream)](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise corrupt(where, f"a header that is not npy ({error})", "an npy header of version 1.0 or 2.0") from error
    array = _Array(stream, shape, dtype, member_size - stream.tell(), where)
    if is_fortran_order:
        raise _unusable(array, "columns first (Fortran order)", "rows first (C order)")
    return array
