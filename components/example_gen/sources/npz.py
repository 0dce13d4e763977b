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
from components.example_gen.sources.source import TEST, TRAIN, Array, ArraySource, check_image_size, numbered, ranges
from components.example_gen.sources.storage import lacks_ranges, opened, read_exactly

# Records read at a time when all of them are not needed at once.
_RECORDS_PER_BLOCK = 1024

_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

# For damage, zipfile also raises RuntimeError (encryption, compression) and ValueError and OSError (wrong offsets).
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)


@dataclass(frozen=True)
class NpzArray(Array):
    """One array: images uint8[n,h,w] or [n,h,w,c] if its key is `x_train` or `x_test`, else labels, integers [n]."""

    uri: str
    key: str

    def __str__(self) -> str:
        return f"{self.uri}, {self.key}"

    def shape(self) -> tuple[int, ...]:
        """See the base class."""
        with self._opened() as member:
            shape = (*member.shape, 1) if self._has_images and len(member.shape) == 3 else member.shape
            if len(shape) != (4 if self._has_images else 1) or (self._has_images and shape[3] not in (1, 3)):
                expected = "[n,height,width] or [n,height,width,3]" if self._has_images else "[n]"
                raise self._unusable(f"shape {member.shape}", expected)
            if self._has_images:
                check_image_size(str(self), *shape[1:3])
            expected = "uint8 from 0 to 255" if self._has_images else "an integer dtype"
            if member.dtype.kind == "f":
                self._check_nan(member, expected)
            if not (member.dtype == np.uint8 if self._has_images else member.dtype.kind in "iu"):
                raise self._unusable(f"dtype {member.dtype}", expected)
            size = math.prod(member.shape) * member.dtype.itemsize
            if member.size != size:
                found = f"{member.size} bytes after the header"
                raise corrupt(str(self), found, f"{size} by its shape {member.shape}")
        return shape

    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """See the base class."""
        with self._opened() as member:
            # zipfile verifies the checksum of an array only if all of it is read, without seeking.
            for first, end in ranges(start, _RECORDS_PER_BLOCK):
                self._read_next(member, end - first)
            records = self._read_next(member, stop - start)
            return records.reshape(*records.shape[:3], -1) if self._has_images else records

    @property
    def _has_images(self) -> bool:
        return self.key.startswith("x_")

    def _read_next(self, member: "_Member", num_records: int) -> NDArray[Any]:
        size = num_records * math.prod(member.shape[1:]) * member.dtype.itemsize
        records = np.frombuffer(read_exactly(member.stream, size, str(self)), member.dtype)
        return records.reshape(num_records, *member.shape[1:])

    def _check_nan(self, member: "_Member", expected: str) -> None:
        for start, stop in ranges(member.shape[0], _RECORDS_PER_BLOCK):
            is_nan = np.isnan(self._read_next(member, stop - start)).reshape(stop - start, -1).any(axis=1)
            if is_nan.any():
                where = f"{self}, {numbered(start + int(is_nan.argmax()))}"
                raise DataError(where, "NaN", expected, "correct that record, then convert the array")

    def _unusable(self, found: str, expected: str) -> DataError:
        return DataError(str(self), found, expected, "convert the array and write it again with numpy.savez_compressed")

    @contextmanager
    def _opened(self) -> Iterator["_Member"]:
        name = f"{self.key}.npy"
        with opened(self.uri) as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    names = archive.namelist()
                    if name not in names:
                        found = f"{listed(names)}, but no array {self.key!r}"
                        fix = "write them with numpy.savez_compressed, or extract the archive and pass what is in it"
                        raise DataError(self.uri, found, "x_train, y_train, x_test, y_test", fix)
                    with archive.open(name) as stream:
                        yield self._read_header(stream, archive.getinfo(name).file_size)
            except DataError:
                raise
            except _DAMAGE as error:
                # A damaged directory makes zipfile seek to impossible places; other OSErrors are those of the storage.
                if lacks_ranges(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
                    raise
                raise corrupt(self.uri, f"a damaged zip archive ({error})", "an intact npz file") from error

    def _read_header(self, stream: IO[bytes], size: int) -> "_Member":
        try:
            shape, is_fortran_order, dtype = _HEADER_READERS[npy.read_magic(stream)](stream)
        except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
            expected = "an npy header of version 1.0 or 2.0"
            raise corrupt(str(self), f"a header that is not npy ({error})", expected) from error
        if is_fortran_order:
            raise self._unusable("columns first (Fortran order)", "rows first (C order)")
        return _Member(stream, shape, dtype, size - stream.tell())


class _Member(NamedTuple):
    """A member of an archive at its first record: its header, and its size in bytes without the header."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int


def npz_source(uri: str) -> ArraySource:
    """Makes the source of an npz file; see `NpzArray`."""
    arrays = [(origin, NpzArray(uri, f"x_{origin}"), NpzArray(uri, f"y_{origin}")) for origin in (TRAIN, TEST)]
    return ArraySource("npz", (uri,), tuple(arrays))
