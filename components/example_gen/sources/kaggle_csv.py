"""Reads CSV files with one image per row, as in Kaggle's Digit Recognizer competition and copies of MNIST on Kaggle.

Columns: https://www.kaggle.com/competitions/digit-recognizer/data (label, pixel0 to pixel783) and
https://www.kaggle.com/datasets/oddrationale/mnist-in-csv (label, 1x1 to 28x28).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from components.example_gen.sources.errors import DataError, quoted
from components.example_gen.sources.source import (
    ALL,
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Record,
    Share,
    Source,
    numbered_records,
    ranges,
)
from components.example_gen.sources.storage import decompressed, read_exactly
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, MAX_PIXEL

_LABEL = "label"
_PIXELS = (
    [f"pixel{index}" for index in range(IMAGE_SIZE)],
    [f"pixel{index}" for index in range(1, IMAGE_SIZE + 1)],
    [f"{row}x{column}" for row in range(1, IMAGE_HEIGHT + 1) for column in range(1, IMAGE_WIDTH + 1)],
)
_EXPECTED_HEADER = "the header label,pixel0,...,pixel783 (or pixel1 to pixel784, or 1x1 to 28x28)"

# The longest header has 10 kilobytes; a file of one endless line is not worth reading to its end.
_MAX_HEADER_SIZE = 2**16

HEAD = re.compile(rb'(\xef\xbb\xbf)?"?label"?[,;\t]')
"""The first bytes of a file with labels."""


class _Header(NamedTuple):
    columns: tuple[str, ...]
    delimiter: str


@dataclass(frozen=True)
class CsvSource(Source):
    """CSV files with a label and 784 pixels in each row.

    Attributes:
        origins: Origin of the rows of each file.
    """

    format = "CSV"
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
            num_rows = len(offsets) - 1
            if not num_rows:
                raise DataError(uri, "no rows", "at least one row after the header", "provide data")
            for start, stop in ranges(num_rows, records_per_share):
                offset = offsets[start]
                shares.append(CsvShare(uri, origin, header, start, offset, offsets[stop] - offset))
        return shares


@dataclass(frozen=True)
class CsvShare(Share):
    """Consecutive rows of a file.

    Attributes:
        uri: The file.
        origin: Origin of its rows.
        header: Its header.
        start: Index of the first row.
        offset: Position of that row in the decompressed file, in bytes.
        num_bytes: Size of the rows.
    """

    uri: str
    origin: str
    header: _Header
    start: int
    offset: int
    num_bytes: int

    def read(self) -> Iterator[Record]:
        """See the base class."""
        with decompressed(self.uri) as stream:
            stream.seek(self.offset)
            text = read_exactly(stream, self.num_bytes, self.uri)
        columns, delimiter = self.header
        try:
            table = csv.read_csv(
                pa.BufferReader(text),
                csv.ReadOptions(column_names=columns, use_threads=False),
                csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.uint8()), null_values=[]),
            )
        except pa.ArrowInvalid as error:
            raise self._explain(error, text) from error
        labels, *pixels = (column.to_numpy() for column in table.columns)
        images = np.stack(pixels, axis=1).tobytes()
        yield from numbered_records(
            self.origin, self.start, images, labels, lambda index: f"{self._row(index)}, column {_LABEL}"
        )

    def _row(self, index: int) -> str:
        return f"{self.uri}, row {index + 1}"

    def _explain(self, error: pa.ArrowInvalid, text: bytes) -> DataError:
        """Finds the first wrong cell, because pyarrow names its row only within a block, and no column names."""
        columns, delimiter = self.header
        for index, line in enumerate(text.decode("utf-8", "replace").split("\n"), self.start):
            cells = line.removesuffix("\r").split(delimiter)
            if len(cells) != len(columns):
                found = f"{len(cells)} columns" if line.strip() else "a blank line"
                expected = f"{len(columns)} columns as in the header"
                return DataError(self._row(index), found, expected, "complete or remove the row")
            for column, cell in zip(columns, cells, strict=True):
                match = re.fullmatch('"?0*([0-9]{1,3})"?', cell.strip())
                if not match or int(match[1]) > MAX_PIXEL:
                    where, found = f"{self._row(index)}, column {column}", quoted(cell) if cell else "an empty cell"
                    expected = f"a whole number from 0 to {MAX_PIXEL}"
                    return DataError(where, found, expected, "correct the cell or remove the row")
        where = f"{self._row(self.start)} and following"
        return DataError(where, f"text that cannot be parsed ({error})", "rows of whole numbers", "correct the file")


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
                return CsvSource((train, test), (TRAIN, TEST))
    return CsvSource((train,), (ALL,))


def _read_header(stream: IO[bytes], uri: str) -> _Header:
    header = stream.readline(_MAX_HEADER_SIZE)
    if not header:
        raise DataError(uri, "an empty file", _EXPECTED_HEADER, "provide rows of a label and 784 pixels")
    line = header.decode("utf-8-sig", "replace").rstrip("\r\n")
    delimiter = next((delimiter for delimiter in ",;\t" if delimiter in line), ",")
    columns = [column.removeprefix('"').removesuffix('"') for column in line.split(delimiter)]
    if columns not in _PIXELS and columns not in [[_LABEL, *pixels] for pixels in _PIXELS]:
        found = f"{len(columns)} columns whose names start {quoted(','.join(columns[:4]))}"
        raise DataError(uri, found, _EXPECTED_HEADER, "add or correct the header")
    return _Header(tuple(columns), delimiter)


def _row_offsets(stream: IO[bytes]) -> list[int]:
    """Returns the offset of each following row, and the end of the last one that is not blank."""
    offsets, end = [stream.tell()], 0
    for line in stream:
        offsets.append(offsets[-1] + len(line))
        if line.strip():
            end = len(offsets)
    return offsets[: end or 1]
