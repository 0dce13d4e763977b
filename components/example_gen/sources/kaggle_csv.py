"""Reads CSV files with one image per row, as Kaggle's Digit Recognizer competition and copies of MNIST on Kaggle have.

Source of the columns: https://www.kaggle.com/competitions/digit-recognizer/data (label, pixel0 to pixel783), and
https://www.kaggle.com/datasets/oddrationale/mnist-in-csv (label, 1x1 to 28x28).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.csv_parsing import LABEL_COLUMN, PIXEL_COLUMNS, parse_rows
from components.example_gen.sources.errors import DataError, quoted
from components.example_gen.sources.records import numbered_records, ranges
from components.example_gen.sources.source import ALL, RECORDS_PER_SHARE, TEST, TRAIN, Record, Share, Source
from components.example_gen.sources.streams import decompressed, read_exactly

# The longest of the headers has 8 kilobytes; a file of one endless line is not worth reading to its end.
_MAX_HEADER_SIZE = 2**16
_BLOCK_SIZE = 2**20

_EXPECTED_HEADER = "the header label,pixel0,...,pixel783 (or pixel1 to pixel784, or 1x1 to 28x28)"


@dataclass(frozen=True)
class CsvSource(Source):
    """CSV files with a label and 784 pixels in each row.

    Attributes:
        origins: Origin of the rows of each of the files.
    """

    format = "CSV"
    origins: tuple[str, ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        return [
            share
            for uri, origin in zip(self.files, self.origins, strict=True)
            for share in _file_shares(uri, origin, records_per_share)
        ]


@dataclass(frozen=True)
class CsvShare(Share):
    """Consecutive rows of a file.

    Attributes:
        uri: The file.
        origin: Origin of its rows.
        columns: The 785 names of its columns.
        first_row: Number of the first row, from 1 after the header.
        offset: Where that row starts in the (decompressed) file, in bytes.
        num_bytes: Size of the rows.
    """

    uri: str
    origin: str
    columns: tuple[str, ...]
    first_row: int
    offset: int
    num_bytes: int

    def read(self) -> Iterator[Record]:
        """See the base class."""
        with decompressed(self.uri) as stream:
            stream.seek(self.offset)
            text = read_exactly(stream, self.num_bytes, self.uri)
        table = parse_rows(text, self.columns, self.uri, self.first_row)
        yield from numbered_records(self.origin, self.first_row - 1, table[:, 1:].tobytes(), table[:, 0])


def csv_source(train: str, test: str | None = None) -> CsvSource:
    """Makes the source of one or two CSV files.

    Args:
        train: Full URI of a plain or gzipped file.
        test: Full URI of the file of a test set. That of Kaggle's competition has no labels: it is left out.

    Returns:
        The source.

    Raises:
        DataError: A file is empty, or its header is another.
    """
    if test is None or LABEL_COLUMN not in _read_columns(test):
        return CsvSource((train,), (ALL,))
    return CsvSource((train, test), (TRAIN, TEST))


def _read_columns(uri: str) -> tuple[str, ...]:
    with decompressed(uri) as stream:
        return _parse_header(stream, uri)


def _parse_header(stream: IO[bytes], uri: str) -> tuple[str, ...]:
    line = stream.readline(_MAX_HEADER_SIZE)
    if not line:
        raise DataError(uri, "an empty file", _EXPECTED_HEADER, "provide rows of a label and 784 pixels")
    columns = line.decode("utf-8-sig", "replace").rstrip("\r\n").split(",")
    if columns not in PIXEL_COLUMNS and columns not in [[LABEL_COLUMN, *pixels] for pixels in PIXEL_COLUMNS]:
        found = f"{len(columns)} columns whose names start {quoted(','.join(columns[:4]))}"
        raise DataError(uri, found, _EXPECTED_HEADER, "add or correct the header")
    return tuple(columns)


def _file_shares(uri: str, origin: str, records_per_share: int) -> Iterator[CsvShare]:
    with decompressed(uri) as stream:
        columns = _parse_header(stream, uri)
        if LABEL_COLUMN not in columns:
            raise DataError(uri, "no column label", _EXPECTED_HEADER, "provide a file that has labels")
        starts, end = _find_rows(stream)
    if not starts.size:
        raise DataError(uri, "no rows", "at least one row after the header", "provide data")
    for first, stop in ranges(starts.size, records_per_share):
        offset, limit = int(starts[first]), int(starts[stop]) if stop < starts.size else end
        yield CsvShare(uri, origin, columns, first + 1, offset, limit - offset)


def _find_rows(stream: IO[bytes]) -> tuple[NDArray[np.int64], int]:
    """Finds where the rows start, from the place of the stream on, and where the last one ends but for blank lines."""
    position = end = stream.tell()
    starts = [np.array([position])]
    while block := stream.read(_BLOCK_SIZE):
        starts.append(position + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        if content := block.rstrip(b"\r\n"):
            end = position + len(content)
        position += len(block)
    rows = np.concatenate(starts)
    return rows[rows < end], end
