"""Reads CSV files with one image per row, as in Kaggle's Digit Recognizer competition and copies of MNIST on Kaggle.

Columns: https://www.kaggle.com/competitions/digit-recognizer/data (label, pixel0 to pixel783) and
https://www.kaggle.com/datasets/oddrationale/mnist-in-csv (label, 1x1 to 28x28).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
    """CSV files with a label and 784 pixels in each row; `origins` has the origin of each file."""

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
            if len(offsets) == 1:
                raise DataError(uri, "no rows", "at least one row after the header", "provide data")
            for start, stop in ranges(len(offsets) - 1, records_per_share):
                size = offsets[stop] - offsets[start]
                shares.append(partial(_read_rows, uri, origin, header, start, offsets[start], size))
        return shares


def _read_rows(uri: str, origin: str, header: _Header, start: int, offset: int, num_bytes: int) -> Iterator[Record]:
    with decompressed(uri) as stream:
        stream.seek(offset)
        text = read_exactly(stream, num_bytes, uri)
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(column_names=header.columns, use_threads=False),
            csv.ParseOptions(delimiter=header.delimiter, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=dict.fromkeys(header.columns, pa.uint8()), null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise _wrong_cell(text, header, uri, start) or DataError(
            f"{uri}, row {start + 1} and following", f"text that cannot be parsed ({error})", "CSV"
        ) from error
    labels, *pixels = (column.to_numpy() for column in table.columns)
    images = np.stack(pixels, axis=1).tobytes()
    yield from numbered_records(origin, start, images, labels, lambda index: f"{uri}, row {index + 1}, column {_LABEL}")


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
            match = re.fullmatch('"?0*([0-9]{1,3})"?', cell.strip())
            if not match or int(match[1]) > MAX_PIXEL:
                found, expected = quoted(cell) if cell else "an empty cell", f"a whole number from 0 to {MAX_PIXEL}"
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
