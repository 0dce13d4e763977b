import re
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from components.example_gen.sources import csv_parsing
from components.example_gen.sources.csv_parsing import PIXEL_COLUMNS, parse_rows
from components.example_gen.sources.errors import DataError

COLUMNS = ("label", *PIXEL_COLUMNS[0])


@pytest.fixture
def table() -> NDArray[np.uint8]:
    """More rows than are parsed at a time, with cells of one, two and three digits in the first and last column."""
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (1100, 785), np.uint8)
    table[:, 1:200] %= 12
    table[:, 0] %= 10
    return table


def to_text(table: NDArray[np.uint8]) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in table.tolist()).encode()


def parse(text: bytes, first_row: int = 1) -> NDArray[np.uint8]:
    return parse_rows(text, COLUMNS, "a.csv", first_row)


def test_parses_all_values(table: NDArray[np.uint8]) -> None:
    assert np.array_equal(parse(to_text(table)), table)


def test_well_formed_text_is_parsed_at_once(table: NDArray[np.uint8]) -> None:
    with patch.object(csv_parsing, "_parse_row", side_effect=AssertionError("slow")):
        assert np.array_equal(parse(to_text(table)), table)


def test_cell_by_cell_gives_the_same(table: NDArray[np.uint8]) -> None:
    with patch.object(csv_parsing, "_parse_well_formed", return_value=None):
        assert np.array_equal(parse(to_text(table[:20])), table[:20])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_ends_of_lines(table: NDArray[np.uint8], end: bytes, last: bool) -> None:
    text = to_text(table[:3]).replace(b"\n", end)
    assert np.array_equal(parse(text if last else text.removesuffix(end)), table[:3])


def test_leading_zeros_are_no_mistake() -> None:
    assert parse(b"007," + b",".join([b"0012"] * 784)).tolist() == [[7] + [12] * 784]


def with_cell(table: NDArray[np.uint8], row: int, column: int, text: str) -> bytes:
    rows = [list(map(str, values)) for values in table.tolist()]
    rows[row - 1][column] = text
    return "\n".join(",".join(cells) for cells in rows).encode()


@pytest.mark.parametrize("row", [1, 2, 600, 1100])
@pytest.mark.parametrize(("column", "name"), [(0, "label"), (1, "pixel0"), (784, "pixel783")])
@pytest.mark.parametrize("cell", ["abc", "nan", "NaN", "1.5", "12\r3", " 5", '"5"', "1e2", "-", "\uff15", "9" * 5000])
def test_names_the_cell_that_is_no_whole_number(
    table: NDArray[np.uint8], row: int, column: int, name: str, cell: str
) -> None:
    rows = slice(row - 1, row)
    text = with_cell(table[rows], 1, column, cell)
    message = f"a.csv, row {row}, column {name}: found {cell!r}"[:60]
    with pytest.raises(DataError, match=re.escape(message)):
        parse(text, first_row=row)


def test_names_the_row_among_many(table: NDArray[np.uint8]) -> None:
    with pytest.raises(
        DataError, match=r"a.csv, row 1010, column pixel9: found 'x', expected a whole number from 0 to 255"
    ):
        parse(with_cell(table, 910, 10, "x"), first_row=101)


@pytest.mark.parametrize(("cell", "found"), [("", "an empty cell"), ("256", "256"), ("-1", "-1"), ("1000", "1000")])
@pytest.mark.parametrize(("column", "name"), [(0, "label"), (1, "pixel0"), (784, "pixel783")])
def test_names_the_cell_out_of_range(table: NDArray[np.uint8], column: int, name: str, cell: str, found: str) -> None:
    with pytest.raises(
        DataError, match=rf"a.csv, row 2, column {name}: found {found}, expected a whole number from 0 to 255"
    ):
        parse(with_cell(table[:3], 2, column, cell))


@pytest.mark.parametrize("label", [10, 255])
def test_names_the_label_out_of_range(table: NDArray[np.uint8], label: int) -> None:
    with pytest.raises(
        DataError, match=rf"a.csv, row 13, column label: found label {label}, expected a class from 0 to 9"
    ):
        parse(with_cell(table[:3], 3, 0, str(label)), first_row=11)


@pytest.mark.parametrize("num_columns", [1, 784, 786])
def test_names_the_ragged_row(table: NDArray[np.uint8], num_columns: int) -> None:
    lines = to_text(table[:4]).splitlines()
    lines[2] = b",".join([b"1"] * num_columns)
    with pytest.raises(DataError, match=rf"a.csv, row 3: found {num_columns} columns, expected 785 columns"):
        parse(b"\n".join(lines))


def test_refuses_other_separators(table: NDArray[np.uint8]) -> None:
    lines = to_text(table[:4]).splitlines()
    lines[2] = lines[2].replace(b",", b";", 1)
    with pytest.raises(DataError, match=r"a\.csv, row 3: found 784 columns, expected 785 columns"):
        parse(b"\n".join(lines))


def test_ragged_rows_that_make_up_for_each_other(table: NDArray[np.uint8]) -> None:
    lines = to_text(table[:2]).splitlines()
    lines = [lines[0] + b",1", lines[1].rpartition(b",")[0]]
    with pytest.raises(DataError, match=r"a.csv, row 1: found 786 columns, expected 785 columns"):
        parse(b"\n".join(lines))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_names_the_blank_row(table: NDArray[np.uint8], end: bytes) -> None:
    lines = to_text(table[:3]).splitlines()
    with pytest.raises(DataError, match=r"a.csv, row 2: found a blank line, expected 785 columns"):
        parse(end.join([lines[0], b"", *lines[1:]]))
