"""Reads npz files, in which Keras distributes MNIST, range by range and without unpickling.

An npz file is a zip archive of npy files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
`numpy.load` would read whole arrays, which is too much for the memory of parallel workers. Names and shapes of the
arrays: https://keras.io/api/datasets/mnist/; MedMNIST (https://medmnist.com) has `train_images` and so on.
"""

import errno
import lzma
import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, corrupt, listed, quoted
from components.example_gen.sources.source import (
    ALL,
    EVAL,
    ORIGINS,
    TEST,
    TRAIN,
    Array,
    ArraySource,
    check_image_size,
    numbered,
    ranges,
)
from components.example_gen.sources.storage import lacks_ranges, opened, read_exactly

# Records read at a time when all of them are not needed at once.
_RECORDS_PER_BLOCK = 1024

_SUFFIX = ".npy"
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

# For damage, zipfile also raises RuntimeError (encryption, compression) and ValueError and OSError (wrong offsets).
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)


# Words in the keys of the arrays.
_IMAGES = {"x", "image", "images", "img", "imgs", "data", "features", "pixels"}
_LABELS = {"y", "label", "labels", "class", "classes", "target", "targets"}


@dataclass(frozen=True)
class NpzArray(Array):
    """One array of images or labels.

    Attributes:
        uri: URI of the file.
        key: Name of the array.
        has_images: Whether it has images, uint8 [n,h,w], [n,h,w,c] or [n,h*h]; else labels, integers [n] or [n,1], or
            one-hot numbers [n,k].
    """

    uri: str
    key: str
    has_images: bool

    def __str__(self) -> str:
        return f"{self.uri}, {self.key}"

    def shape(self) -> tuple[int, ...]:
        """See the base class."""
        with self._opened() as member:
            if member.is_fortran_order:
                raise self._unusable("columns first (Fortran order)", "rows first (C order)")
            shape = _image_shape(member.shape) if self.has_images else member.shape
            if len(shape) not in ((4,) if self.has_images else (1, 2)):
                images = "[n,height,width] or [n,height,width,3]"
                expected = images if self.has_images else "[n], or [n,classes] with a 1 for the class"
                raise self._unusable(f"shape {member.shape}", expected)
            if self.has_images:
                check_image_size(str(self), *shape[1:3])
            expected = "uint8 from 0 to 255" if self.has_images else "an integer dtype"
            is_one_hot = not self.has_images and shape[1:] > (1,)
            if member.dtype.kind == "f" and not is_one_hot:
                self._check_nan(member, expected)
            kinds = "iufb" if is_one_hot else "iu"
            if not (member.dtype == np.uint8 if self.has_images else member.dtype.kind in kinds):
                raise self._unusable(f"dtype {member.dtype}", expected)
            size = math.prod(member.shape) * member.dtype.itemsize
            if member.size != size:
                found = f"{member.size} bytes after the header"
                raise corrupt(str(self), found, f"{size} by its shape {member.shape}")
        return shape if self.has_images else shape[:1]

    def read(self, start: int, stop: int) -> NDArray[np.integer]:
        """See the base class."""
        with self._opened() as member:
            # zipfile verifies the checksum of an array only if all of it is read, without seeking.
            for first, end in ranges(start, _RECORDS_PER_BLOCK):
                self._read_next(member, end - first)
            records = self._read_next(member, stop - start)
        if self.has_images:
            return records.reshape(len(records), *_image_shape(records.shape)[1:])
        return self._classes(records, start) if records.shape[1:] > (1,) else records.reshape(-1)

    def _classes(self, one_hot: NDArray[Any], start: int) -> NDArray[np.integer]:
        is_wrong = (np.count_nonzero(one_hot, axis=1) != 1) | (one_hot.max(axis=1) != 1)
        if is_wrong.any():
            number = int(is_wrong.argmax())
            found = quoted(str(one_hot[number].tolist()))
            raise DataError(
                f"{self}, {numbered(start + number)}",
                found,
                "exactly one 1, and zeros elsewhere",
                "correct that record",
            )
        return one_hot.argmax(axis=1)

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
        with _opened_archive(self.uri) as archive, _opened_member(archive, self.key, str(self)) as member:
            yield member


class _Member(NamedTuple):
    """A member of an archive at its first record: its header, and its size in bytes without the header."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    is_fortran_order: bool
    dtype: np.dtype[Any]
    size: int


@contextmanager
def _opened_archive(uri: str) -> Iterator[zipfile.ZipFile]:
    with opened(uri) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except DataError:
            raise
        except _DAMAGE as error:
            # A damaged directory makes zipfile seek to impossible places; other OSErrors are those of the storage.
            if lacks_ranges(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
                raise
            raise corrupt(uri, f"a damaged zip archive ({error})", "an intact npz file") from error


@contextmanager
def _opened_member(archive: zipfile.ZipFile, key: str, where: str) -> Iterator[_Member]:
    name = f"{key}{_SUFFIX}"
    with archive.open(name) as stream:
        try:
            header = _HEADER_READERS[npy.read_magic(stream)](stream)
        except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
            expected = "an npy header of version 1.0 or 2.0"
            raise corrupt(where, f"a header that is not npy ({error})", expected) from error
        yield _Member(stream, *header, archive.getinfo(name).file_size - stream.tell())


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape [n,h,w,c] of images; an empty one if there is none."""
    if len(shape) == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        return (shape[0], math.isqrt(shape[1]), math.isqrt(shape[1]), 1)
    if len(shape) == 3:
        return (*shape, 1)
    return shape if len(shape) == 4 and shape[3] in (1, 3) else ()


def _read_shapes(uri: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    with _opened_archive(uri) as archive:
        for key in [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]:
            with _opened_member(archive, key, f"{uri}, {key}") as member:
                shapes[key] = member.shape
    return shapes


def npz_source(uri: str) -> ArraySource:
    """Makes the source of an npz file, whose arrays are found by the words in their keys, else by their shapes.

    Raises:
        DataError: The file is damaged, or it is not clear which arrays have the images and the labels.
    """
    shapes = _read_shapes(uri)
    found: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for key in shapes:
        words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]", key)]
        has_labels = bool(_LABELS.intersection(words))
        if has_labels or _IMAGES.intersection(words):
            origin = next((ORIGINS[word] for word in words if word in ORIGINS), ALL)
            found[origin, not has_labels].append(key)
    assumptions: list[str] = []
    if not found and len(shapes) == 2:
        labels, images = sorted(shapes, key=lambda key: math.prod(shapes[key]))
        found = {(ALL, True): [images], (ALL, False): [labels]}
        assumptions.append(f"array {images} has the images, {labels} the labels")
    origins = [origin for origin in (TRAIN, EVAL, TEST, ALL) if (origin, True) in found or (origin, False) in found]
    is_clear = (TRAIN in origins and ALL not in origins) or origins == [ALL]
    if not is_clear or any(len(found.get((origin, which), ())) != 1 for origin in origins for which in (True, False)):
        listed_arrays = listed([f"{key} {list(shape)}" for key, shape in shapes.items()])
        fix = "write them with numpy.savez_compressed under these names"
        raise DataError(uri, f"the arrays {listed_arrays}", "x_train, y_train, x_test, y_test", fix)
    arrays = []
    for origin in origins:
        (images,), (labels,) = found[origin, True], found[origin, False]
        arrays.append((origin, NpzArray(uri, images, has_images=True), NpzArray(uri, labels, has_images=False)))
        if len(shapes[images]) == 2 and (shape := _image_shape(shapes[images])):
            assumptions.append(f"{images}: the {shapes[images][1]} pixels are those of {shape[1]} x {shape[2]} images")
        if shapes[labels][1:] > (1,):
            assumptions.append(f"{labels}: a 1 marks the class, counted from 0")
    return ArraySource("npz", (uri,), tuple(arrays), assumptions=tuple(assumptions))
