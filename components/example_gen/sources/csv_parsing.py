"""Parses rows of text: fast where all is well, cell by cell where a message must name the cell."""

import re

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.errors import DataError, place, quoted
from components.example_gen.sources.records import check_labels
from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, MAX_PIXEL

LABEL_COLUMN = "label"
PIXEL_COLUMNS = (
    [f"pixel{index}" for index in range(IMAGE_SIZE)],
    [f"pixel{index}" for index in range(1, IMAGE_SIZE + 1)],
    [f"{row}x{column}" for row in range(1, IMAGE_HEIGHT + 1) for column in range(1, IMAGE_WIDTH + 1)],
)
NUM_COLUMNS = 1 + IMAGE_SIZE

_COMMA, _ZERO, _NINE = ord(","), ord("0"), ord("9")
_MAX_DIGITS = len(str(MAX_PIXEL))

# A megabyte or two of text: what is worked on stays in the processor's cache, and memory stays small.
_ROWS_AT_A_TIME = 512


def parse_rows(text: bytes, columns: tuple[str, ...], uri: str, first_row: int) -> NDArray[np.uint8]:
    """Parses rows of a label and 784 pixels.

    Args:
        text: Whole lines, separated by LF or CRLF.
        columns: The 785 names of the columns, for messages.
        uri: The file, for messages.
        first_row: Number of the first row in the file, from 1 after the header.

    Returns:
        uint8[n,785], labels first.

    Raises:
        DataError: A row has another number of columns, a cell is not a whole number from 0 to 255, or a label not
            from 0 to 9.
    """
    lines = text.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    blocks = []
    for start in range(0, len(lines), _ROWS_AT_A_TIME):
        block = lines[start : start + _ROWS_AT_A_TIME]
        values = _parse_well_formed(b"\n".join(block) + b"\n", len(block))
        if values is None:
            rows = enumerate(block, first_row + start)
            values = np.array([_parse_row(line, columns, place(uri, f"row {row}")) for row, line in rows], np.uint8)
        blocks.append(values)
    table = np.concatenate(blocks)
    check_labels(table[:, 0], lambda index: place(uri, f"row {first_row + index}", f"column {columns[0]}"))
    return table


def _parse_well_formed(text: bytes, num_rows: int) -> NDArray[np.uint8] | None:
    """Parses text that has nothing but 1 to 3 digits in each cell, and gives up on any other.

    Works on all cells at once: a cell ends before each separator, and its value is the sum of the digits that stand
    one, two and three places before that, as far as the cell reaches.
    """
    characters = np.frombuffer(text, np.uint8)
    is_digit = (characters >= _ZERO) & (characters <= _NINE)
    ends = np.flatnonzero(~is_digit)
    if ends.size != num_rows * NUM_COLUMNS:
        return None
    separators = characters[ends].reshape(num_rows, NUM_COLUMNS)
    # There are as many newlines as rows: with commas everywhere else they are where they belong.
    if (separators[:, :-1] != _COMMA).any():
        return None
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > _MAX_DIGITS:
        return None
    values = np.zeros(ends.size, np.uint16)
    for place_value in range(_MAX_DIGITS):
        # A cell too short for this place would read its neighbour, or, in the first cell, before the text.
        digits = characters[np.maximum(ends - 1 - place_value, 0)].astype(np.uint16) - _ZERO
        values += np.where(lengths > place_value, digits * 10**place_value, 0).astype(np.uint16)
    return values.astype(np.uint8).reshape(num_rows, NUM_COLUMNS) if values.max() <= MAX_PIXEL else None


def _parse_row(line: bytes, columns: tuple[str, ...], where: str) -> list[int]:
    cells = line.decode("utf-8", "replace").split(",")
    if len(cells) != NUM_COLUMNS:
        found = f"{len(cells)} columns" if line else "a blank line"
        raise DataError(where, found, f"{NUM_COLUMNS} columns as in the header", "complete or remove the row")
    return [_parse_cell(cell, place(where, f"column {column}")) for cell, column in zip(cells, columns, strict=True)]


def _parse_cell(cell: str, where: str) -> int:
    if not cell:
        raise _unusable(where, "an empty cell")
    if not re.fullmatch("-?[0-9]{1,18}", cell):
        raise _unusable(where, quoted(cell))
    if not 0 <= int(cell) <= MAX_PIXEL:
        raise _unusable(where, cell)
    return int(cell)


def _unusable(where: str, found: str) -> DataError:
    return DataError(where, found, f"a whole number from 0 to {MAX_PIXEL}", "correct the cell or remove the row")
