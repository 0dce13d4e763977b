"""Reads CSV files with one image per row, as MNIST, EMNIST and Sign Language MNIST are published on Kaggle and OpenML.

Columns: https://www.kaggle.com/competitions/digit-recognizer/data (label, pixel0 to pixel783),
https://www.kaggle.com/datasets/oddrationale/mnist-in-csv (label, 1x1 to 28x28), https://www.openml.org/d/554 (pixel1 to
pixel784, class), and https://pjreddie.com/projects/mnist-in-csv/ (no header). Quotes: RFC 4180.
"""

import codecs
import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from components.example_gen.sources.errors import DataError, quoted
from components.example_gen.sources.source import (
    ALL,
    EVAL,
    ORIGINS,
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Image,
    Record,
    Share,
    Source,
    check_image_size,
    is_transposed,
    numbered_records,
    ranges,
)
from components.example_gen.sources.storage import Entry, decompressed, plain_path, read_exactly
from components.features import MAX_PIXEL

_NAME = re.compile(r"(?P<stem>.+)\.[ct]sv(\.gz)?", re.IGNORECASE)
_ORIGIN = re.compile("|".join(sorted(ORIGINS, reverse=True)))

_LABELS = {"label", "labels", "class", "target", "digit", "y"}
_INDICES = {"", "index", "id", "unnamed: 0"}
_EXPECTED = (
    "the header label,pixel0,... with a column for each pixel of a square image, such as pixel0 to pixel783 for "
    "28 x 28, or rows of a label and these pixels"
)

_DELIMITERS = ",;\t| "
_ENCODINGS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

# A file of one endless line is not worth reading to its end; this is enough for 256 x 256 pixels.
_MAX_LINE_SIZE = 2**20

# Rows that show what the columns are.
_SAMPLE_ROWS = 100

# Pyarrow takes 8 bytes for a label and 1 for a pixel, 4 if it is a fraction; the text of a whole number has up to 4.
_CELLS_PER_SHARE = 16 * 2**20

HEAD = re.compile(rb'\xff\xfe|\xfe\xff|(\xef\xbb\xbf)?(["\w. -]*[,;\t|]){4}')
"""The first bytes of a file with columns."""


@dataclass(frozen=True)
class _Layout:
    """What the rows of a file are.

    Attributes:
        columns: Names of the columns; numbers from 1 if there is no header.
        label: Index of the column of the label; None if there is none.
        pixels: Indices of the columns of the pixels, which are consecutive.
        delimiter: Separator of the cells.
        encoding: UTF-8, or UTF-16 in one of its byte orders.
        start: Offset of the first row in bytes.
        max_pixel: What white is, if the pixels are fractions; None if they are whole numbers from 0 to 255.
        assumptions: What the file does not say.
    """

    columns: tuple[str, ...]
    label: int | None
    pixels: range
    delimiter: str
    encoding: str
    start: int
    max_pixel: int | None
    assumptions: tuple[str, ...]

    @cached_property
    def side(self) -> int:
        """Height and width of the images."""
        return math.isqrt(len(self.pixels))

    def cells(self, line: str) -> list[str]:
        """Splits a row."""
        return _cells(line, self.delimiter)

    def wrong(self, column: int, cell: str) -> str:
        """Returns what is expected of a cell, or an empty text if it is just that."""
        if column == self.label:
            return "" if re.fullmatch(r"-?0*[0-9]{1,18}(\.0*)?", cell.strip()) else "a whole number"
        if column not in self.pixels:
            return ""
        if self.max_pixel:
            return "" if 0 <= _number(cell) <= self.max_pixel else f"a number from 0 to {self.max_pixel}"
        is_whole = re.fullmatch("0*[0-9]{1,18}", cell.strip()) and int(cell) <= MAX_PIXEL
        return "" if is_whole else f"a whole number from 0 to {MAX_PIXEL}"


@dataclass(frozen=True)
class CsvSource(Source):
    """CSV files with a label and the pixels of a square image in each row, with the origin and layout of each file."""

    origins: tuple[str, ...]
    layouts: tuple[_Layout, ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        shares: list[Share] = []
        for uri, origin, layout in zip(self.files, self.origins, self.layouts, strict=True):
            check_image_size(uri, layout.side, layout.side)
            with decompressed(uri) as stream:
                offsets = _row_offsets(stream, layout)
            if len(offsets) == 1:
                raise DataError(uri, "no rows", "at least one row of data", "provide data")
            num_records = max(1, min(records_per_share, _CELLS_PER_SHARE // len(layout.columns)))
            for start, stop in ranges(len(offsets) - 1, num_records):
                size = offsets[stop] - offsets[start]
                shares.append(_RowShare(uri, origin, layout, start, offsets[start], size))
        return shares


@dataclass(frozen=True)
class _RowShare(Share):
    uri: str
    origin: str
    layout: _Layout
    start: int
    offset: int
    num_bytes: int

    def records(self) -> Sequence[Record]:
        column = self.layout.label or 0
        # As text, because whole numbers may have a decimal point.
        (labels,) = self._read([column], pa.string())
        if any(self.layout.wrong(column, cell) for cell in labels):
            raise self._wrong_cell()
        values = np.array([int(cell.partition(".")[0]) for cell in labels])
        return numbered_records(self.origin, self.start, values)

    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        layout = self.layout
        columns = self._read(layout.pixels, pa.float32() if layout.max_pixel else pa.uint8())
        pixels = np.stack(columns, axis=1).reshape(-1, layout.side, layout.side, 1)
        if layout.max_pixel:
            if not (pixels >= 0).all() or not (pixels <= layout.max_pixel).all():
                raise self._wrong_cell()
            pixels = np.rint(pixels * (MAX_PIXEL / layout.max_pixel)).astype(np.uint8)
        if is_transposed(self.uri):
            pixels = pixels.swapaxes(1, 2)
        return (Image(None, pixels[number]) for number in numbers)

    def _read(self, columns: Sequence[int], kind: pa.DataType) -> list[NDArray[Any]]:
        # Names may be empty or repeated.
        names = [str(column) for column in range(len(self.layout.columns))]
        wanted = [names[column] for column in columns]
        try:
            table = csv.read_csv(
                pa.BufferReader(self._text()),
                csv.ReadOptions(column_names=names, use_threads=False),
                csv.ParseOptions(delimiter=self.layout.delimiter, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=dict.fromkeys(wanted, kind), null_values=[], include_columns=wanted),
            )
        except pa.ArrowInvalid as error:
            raise self._wrong_cell() from error
        return [column.to_numpy() for column in table.columns]

    def _text(self) -> bytes:
        with decompressed(self.uri) as stream:
            stream.seek(self.offset)
            text = read_exactly(stream, self.num_bytes, self.uri)
        is_utf_8 = self.layout.encoding == "utf-8"
        return text if is_utf_8 else text.decode(self.layout.encoding, "replace").encode()

    def _wrong_cell(self) -> DataError:
        """Finds the first wrong cell, because pyarrow counts rows from the start of the text, columns without names."""
        layout = self.layout
        lines = self._text().decode("utf-8", "replace").removesuffix("\n").split("\n")
        for row, line in enumerate(lines, self.start + 1):
            where = f"{self.uri}, row {row}"
            cells = layout.cells(line)
            if len(cells) != len(layout.columns):
                found = f"{len(cells)} columns" if line.strip() else "a blank line"
                expected = f"{len(layout.columns)} columns, as in the first row"
                return DataError(where, found, expected, "complete or remove the row")
            for column, cell in enumerate(cells):
                if expected := layout.wrong(column, cell):
                    found = quoted(cell) if cell else "an empty cell"
                    where = f"{where}, column {layout.columns[column]}"
                    action = "correct the cell or remove the row"
                    if column == layout.label:
                        action += "; if the classes have names, use a folder of images for each"
                    return DataError(where, found, expected, action)
        return DataError(f"{self.uri}, row {self.start + 1} and following", "text that cannot be parsed", "CSV")


def is_csv(name: str) -> bool:
    """Returns whether a file has the name of a CSV file."""
    return bool(_NAME.fullmatch(name))


def csv_data_sets(files: Sequence[Entry], *, alone: bool) -> dict[str, dict[str, list[Entry]]]:
    """Finds CSV data sets among files: those for training, and for validation and testing whose names match theirs.

    Args:
        files: Files of one folder.
        alone: Whether there is no other data in the folder; if so, the only CSV file may have any name.

    Returns:
        By name of the file for training, the files by origin.
    """
    data_sets: dict[str, dict[str, list[Entry]]] = {}
    tables = [(entry, match["stem"].lower()) for entry in files if (match := _NAME.fullmatch(entry.name))]
    for entry, stem in tables:
        words = _ORIGIN.findall(stem)
        if len(words) == 1:
            by_origin = data_sets.setdefault(_ORIGIN.sub("*", stem), {})
            by_origin.setdefault(ORIGINS[words[0]], []).append(entry)
    ordered = [
        {origin: by_origin[origin] for origin in (TRAIN, EVAL, TEST) if origin in by_origin}
        for by_origin in data_sets.values()
        if TRAIN in by_origin
    ]
    if not ordered and alone and len(tables) == 1:
        return {tables[0][0].name: {ALL: [tables[0][0]]}}
    return {by_origin[TRAIN][0].name: by_origin for by_origin in ordered}


def csv_source(files: Mapping[str, str]) -> CsvSource:
    """Makes the source of CSV files.

    Args:
        files: By origin, the full URI of a plain or gzipped file. Sets for validation and testing without labels are
            ignored, as in Kaggle's competition.

    Raises:
        DataError: A file has no rows of images, or that for training no labels.
    """
    layouts = {origin: _read_layout(uri) for origin, uri in files.items()}
    labeled = {origin: layout for origin, layout in layouts.items() if layout.label is not None}
    assumptions = [
        f"{posixpath.basename(plain_path(files[origin]))}: {assumption}"
        for origin, layout in layouts.items()
        for assumption in (layout.assumptions if origin in labeled else ("no labels, so it is not used",))
    ]
    first = next(iter(files))
    if first not in labeled:
        raise DataError(files[first], "no column label", _EXPECTED, "provide a file that has labels")
    if len(labeled) == 1:
        labeled = {ALL: labeled[first]}
        files = {ALL: files[first]}
    uris = tuple(files[origin] for origin in labeled)
    return CsvSource("CSV", uris, tuple(labeled), tuple(labeled.values()), assumptions=tuple(assumptions))


def _read_layout(uri: str) -> _Layout:
    with decompressed(uri) as stream:
        head = stream.read(3)
        mark = next((mark for mark in _ENCODINGS if head.startswith(mark)), b"")
        encoding = _ENCODINGS.get(mark, "utf-8")
        stream.seek(len(mark))
        offsets = [len(mark)]
        lines: list[str] = []
        while len(lines) <= _SAMPLE_ROWS and offsets[-1] < _MAX_LINE_SIZE:
            line = _read_line(stream, encoding, _MAX_LINE_SIZE)
            if not line:
                break
            offsets.append(offsets[-1] + len(line))
            lines.append(line.decode(encoding, "replace").rstrip("\r\n"))
    if not lines:
        raise DataError(uri, "an empty file", _EXPECTED, "provide rows of a label and pixels")
    delimiter = max(_DELIMITERS, key=lambda delimiter: len(lines[0].split(delimiter)))
    first, *rows = (_cells(line, delimiter) for line in lines)
    has_header = _is_header(first)
    if not has_header:
        rows.insert(0, first)
    complete = [row for row in rows if len(row) == len(first)]
    numbers = np.array([[_number(cell) for cell in row] for row in complete]).reshape(-1, len(first))
    names = tuple(first) if has_header else tuple(str(number) for number in range(1, len(first) + 1))
    label, pixels = _columns(names, numbers, has_header=has_header)
    places = range(pixels[0], pixels[-1] + 1) if pixels else range(0)
    if len(first) == 1 or list(places) != pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        found = f"{len(first)} columns whose names start with {quoted(','.join(first[:4]))}"
        raise DataError(uri, found, _EXPECTED, "add or correct the header")
    _check_order(uri, [names[pixel] for pixel in pixels])
    assumptions: list[str] = []
    if label is not None and names[label].lower() != "label":
        prefix = "" if has_header else "no header: "
        assumptions.append(f"{prefix}column {names[label]} of {len(first)} is the label")
    if len(first) > len(pixels) + (label is not None):
        assumptions.append("the index column is not used")
    max_pixel = _max_pixel(numbers[:, pixels], [row[pixel] for row in complete for pixel in pixels])
    if max_pixel:
        assumptions.append(f"the pixels are decimals from 0 to {max_pixel}")
    if is_transposed(uri):
        assumptions.append("images stored column by column")
    return _Layout(names, label, places, delimiter, encoding, offsets[has_header], max_pixel, tuple(assumptions))


def _cells(line: str, delimiter: str) -> list[str]:
    cells = line.removesuffix("\r").split(delimiter)
    return [cell.strip().removeprefix('"').removesuffix('"') if '"' in cell else cell for cell in cells]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_header(cells: Sequence[str]) -> bool:
    """Returns whether the first row has names, which may be numbers that count the columns."""
    numbers = np.array([_number(cell) for cell in cells])
    has_label = any(cell.strip().lower() in _LABELS for cell in cells)
    return has_label or bool(np.isnan(numbers).mean() > 0.5 or (np.diff(numbers[1:]) == 1).all())


def _columns(names: Sequence[str], numbers: NDArray[np.float64], *, has_header: bool) -> tuple[int | None, list[int]]:
    """Returns the columns of the label and the pixels, by their names, else by their numbers in a sample of rows."""
    rest = list(range(len(names)))
    if has_header:
        rest = [column for column in rest if names[column].strip().lower() not in _INDICES]
    elif math.isqrt(len(names) - 2) ** 2 == len(names) - 2 and _counts(numbers[:, 0]):
        rest = rest[1:]
    named = [column for column in rest if has_header and names[column].strip().lower() in _LABELS]
    label = None
    if len(named) == 1:
        (label,) = named
    elif math.isqrt(len(rest) - 1) ** 2 == len(rest) - 1 and len(numbers):
        # A pixel in the corner is background in all images.
        first, last = numbers[:, rest[0]], numbers[:, rest[-1]]
        label = rest[-1] if (first == first[0]).all() and not (last == last[0]).all() else rest[0]
    return label, [column for column in rest if column != label]


def _counts(numbers: NDArray[np.float64]) -> bool:
    return len(numbers) > 1 and bool((np.diff(numbers) == 1).all())


def _check_order(uri: str, names: Sequence[str]) -> None:
    """Refuses columns that were sorted as text (pixel1, pixel10, pixel100), or that go down the image."""
    places = [[int(number) for number in re.findall("[0-9]{1,9}", name)] for name in names]
    for (before, after), (name, following) in zip(pairwise(places), pairwise(names), strict=True):
        if before and after and before >= after:
            found = f"column {following} after column {name}"
            raise DataError(uri, found, "the pixels in the order of the rows of the image", "sort the columns")


def _max_pixel(numbers: NDArray[np.float64], cells: Sequence[str]) -> int | None:
    """Returns what white is if a sample of the pixels has fractions, or None."""
    if not cells:
        return None
    are_decimal = sum("." in cell for cell in cells) > len(cells) / 2
    num_fractions, num_above = ((numbers > 0) & (numbers < 1)).sum(), (numbers > 1).sum()
    if num_fractions > num_above or (are_decimal and not num_above):
        return 1
    return MAX_PIXEL if are_decimal else None


def _read_line(stream: IO[bytes], encoding: str, size: int = -1) -> bytes:
    line = stream.readline(size)
    return line + stream.read(1) if encoding == "utf-16-le" and line.endswith(b"\n") else line


def _row_offsets(stream: IO[bytes], layout: _Layout) -> list[int]:
    """Returns the offset of each row, and the end of the last one that is not blank."""
    stream.seek(layout.start)
    offsets, end = [layout.start], 0
    while line := _read_line(stream, layout.encoding):
        offsets.append(offsets[-1] + len(line))
        if line.strip(b"\0\r\n\t "):
            end = len(offsets)
    return offsets[: end or 1]
