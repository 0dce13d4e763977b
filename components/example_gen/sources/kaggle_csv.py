"""Reads CSV files with one image per row, as in Kaggle's Digit Recognizer competition and copies of MNIST on Kaggle.

Columns: https://www.kaggle.com/competitions/digit-recognizer/data (label, pixel0 to pixel783) and
https://www.kaggle.com/datasets/oddrationale/mnist-in-csv (label, 1x1 to 28x28).
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from components.example_gen.sources.errors import DataError, quoted
from components.example_gen.sources.source import (
    ALL,
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Image,
    Record,
    Share,
    Source,
    check_image_size,
    numbered_records,
    ranges,
)
from components.example_gen.sources.storage import decompressed, read_exactly
from components.features import MAX_PIXEL

_LABEL = "label"
_EXPECTED_HEADER = (
    "the header label,pixel0,... (or pixel1,..., or 1x1,...) with a column for each pixel of a square image, "
    "such as pixel0 to pixel783 for 28 x 28"
)

# A file of one endless line is not worth reading to its end; this is enough for 256 x 256 pixels.
_MAX_HEADER_SIZE = 2**20

# Pyarrow takes 8 bytes for a label and 1 for a pixel; the text of a cell has up to 4.
_CELLS_PER_SHARE = 16 * 2**20

HEAD = re.compile(rb'(\xef\xbb\xbf)?"?label"?[,;\t]')
"""The first bytes of a file with labels."""


class _Header(NamedTuple):
    columns: tuple[str, ...]
    delimiter: str


@dataclass(frozen=True)
class CsvSource(Source):
    """CSV files with a label and the pixels of a square image in each row; `origins` has the origin of each file."""

    origins: tuple[str, ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        shares: list[Share] = []
        for uri, origin in zip(self.files, self.origins, strict=True):
            with decompressed(uri) as stream:
                header = _read_header(stream, uri)
                if _LABEL not in header.columns:
                    raise DataError(uri, "no column label", _EXPECTED_HEADER, "provide a file that has labels")
                offsets = _row_offsets(stream)
            side = math.isqrt(len(header.columns))
            check_image_size(uri, side, side)
            if len(offsets) == 1:
                raise DataError(uri, "no rows", "at least one row after the header", "provide data")
            num_records = max(1, min(records_per_share, _CELLS_PER_SHARE // len(header.columns)))
            for start, stop in ranges(len(offsets) - 1, num_records):
                size = offsets[stop] - offsets[start]
                shares.append(_RowShare(uri, origin, header, start, offsets[start], size))
        return shares


@dataclass(frozen=True)
class _RowShare(Share):
    uri: str
    origin: str
    header: _Header
    start: int
    offset: int
    num_bytes: int

    def records(self) -> Sequence[Record]:
        (labels,) = self._read([_LABEL])
        return numbered_records(self.origin, self.start, labels)

    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        pixels = self._read(self.header.columns[1:])
        side = math.isqrt(len(pixels))
        images = np.stack(pixels, axis=1).reshape(-1, side, side, 1)
        return (Image(None, images[number]) for number in numbers)

    def _read(self, columns: Sequence[str]) -> list[NDArray[Any]]:
        with decompressed(self.uri) as stream:
            stream.seek(self.offset)
            text = read_exactly(stream, self.num_bytes, self.uri)
        types = {**dict.fromkeys(self.header.columns, pa.uint8()), _LABEL: pa.int64()}
        try:
            table = csv.read_csv(
                pa.BufferReader(text),
                csv.ReadOptions(column_names=self.header.columns, use_threads=False),
                csv.ParseOptions(delimiter=self.header.delimiter, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=types, null_values=[], include_columns=columns),
            )
        except pa.ArrowInvalid as error:
            raise _wrong_cell(text, self.header, self.uri, self.start) or DataError(
                f"{self.uri}, row {self.start + 1} and following", f"text that cannot be parsed ({error})", "CSV"
            ) from error
        return [column.to_numpy() for column in table.columns]


def _wrong_cell(text: bytes, header: _Header, uri: str, start: int) -> DataError | None:
    """Finds the first wrong cell, because pyarrow counts rows from the start of the text and columns without names."""
    for row, line in enumerate(text.decode("utf-8", "replace").removesuffix("\n").split("\n"), start + 1):
        where = f"{uri}, row {row}"
        cells = line.removesuffix("\r").split(header.delimiter)
        if len(cells) != len(header.columns):
            found = f"{len(cells)} columns" if line.strip() else "a blank line"
            expected = f"{len(header.columns)} columns as in the header"
            return DataError(where, found, expected, "complete or remove the row")
        for column, cell in zip(header.columns, cells, strict=True):
            is_label = column == _LABEL
            match = re.fullmatch('"?(-?)0*([0-9]{1,18})"?', cell.strip())
            if not match or (not is_label and (match[1] or int(match[2]) > MAX_PIXEL)):
                expected = "a whole number" if is_label else f"a whole number from 0 to {MAX_PIXEL}"
                found = quoted(cell) if cell else "an empty cell"
                return DataError(f"{where}, column {column}", found, expected, "correct the cell or remove the row")
    return None


def csv_source(train: str, test: str | None = None) -> CsvSource:
    """Makes the source of one or two CSV files.

    Args:
        train: Full URI of a plain or gzipped file.
        test: Full URI of the file of a test set; ignored if it has no labels, as in Kaggle's competition.

    Raises:
        DataError: A header is missing or wrong.
    """
    if test:
        with decompressed(test) as stream:
            if _LABEL in _read_header(stream, test).columns:
                return CsvSource("CSV", (train, test), (TRAIN, TEST))
    return CsvSource("CSV", (train,), (ALL,))


def _read_header(stream: IO[bytes], uri: str) -> _Header:
    header = stream.readline(_MAX_HEADER_SIZE)
    if not header:
        raise DataError(uri, "an empty file", _EXPECTED_HEADER, "provide rows of a label and pixels")
    line = header.decode("utf-8-sig", "replace").rstrip("\r\n")
    delimiter = next((delimiter for delimiter in ",;\t" if delimiter in line), ",")
    columns = [column.removeprefix('"').removesuffix('"') for column in line.split(delimiter)]
    if columns[columns[0] == _LABEL :] not in _pixel_columns(math.isqrt(len(columns))):
        found = f"{len(columns)} columns whose names start {quoted(','.join(columns[:4]))}"
        raise DataError(uri, found, _EXPECTED_HEADER, "add or correct the header")
    return _Header(tuple(columns), delimiter)


def _pixel_columns(side: int) -> list[list[str]]:
    """Returns the possible names of the pixels of a square image."""
    num_pixels, numbers = side**2, range(1, side + 1)
    return [
        [f"pixel{index}" for index in range(num_pixels)],
        [f"pixel{index}" for index in range(1, num_pixels + 1)],
        [f"{row}x{column}" for row in numbers for column in numbers],
    ]


def _row_offsets(stream: IO[bytes]) -> list[int]:
    """Returns the offset of each following row, and the end of the last one that is not blank."""
    offsets, end = [stream.tell()], 0
    for line in stream:
        offsets.append(offsets[-1] + len(line))
        if line.strip():
            end = len(offsets)
    return offsets[: end or 1]
