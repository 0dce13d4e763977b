import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, RECORDS, csv_text, read_all, read_images, refuse, write_csv

GRID = ",".join(["label"] + [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)])


# The training records as those of a source without a test set.
ALL_RECORDS = [
    record._replace(origin="all", key=record.key.replace("train", "all"))
    for record in RECORDS
    if record.origin == "train"
]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def quoted(text: str) -> str:
    return "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines())


def as_text(change: Callable[[str], str]) -> Callable[[str], bytes]:
    return lambda text: change(text).encode()


def without_header(text: str) -> str:
    return text.partition("\n")[2]


def as_fractions(text: str) -> str:
    return re.sub(",([0-9]+)", lambda match: f",{int(match[1]) / 255:.4g}", text)


def label_last(text: str, name: str) -> str:
    rows = [line.partition(",") for line in text.splitlines()]
    return "\n".join(f"{pixels},{name if label == 'label' else label}" for label, _, pixels in rows)


def with_index(text: str, name: str) -> str:
    header, *rows = text.splitlines()
    return "\n".join([f"{name},{header}", *(f"{number},{row}" for number, row in enumerate(rows))])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(as_text(str), id="as Kaggle writes it"),
        pytest.param(as_text(lambda text: re.sub("(?<=pixel)[0-9]+", lambda m: f"{int(m[0]) + 1}", text)), id="from 1"),
        pytest.param(as_text(lambda text: GRID + "\n" + text.partition("\n")[2]), id="row and column"),
        pytest.param(as_text(lambda text: text.rstrip("\n")), id="last line without newline"),
        pytest.param(as_text(lambda text: text.replace("\n", "\r\n")), id="CRLF"),
        pytest.param(as_text(lambda text: text.replace("\n", "\r\n").rstrip()), id="CRLF, last line without"),
        pytest.param(as_text(lambda text: text + "\n\r\n" * 7), id="blank lines at the end"),
        pytest.param(as_text(lambda text: text.replace(",1", ",001")), id="leading zeros"),
        pytest.param(as_text(quoted), id="quotes"),
        pytest.param(as_text(lambda text: text.replace(",", ";")), id="semicolons"),
        pytest.param(as_text(lambda text: text.replace(",", "\t")), id="tabs"),
        pytest.param(lambda text: text.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(lambda text: gzip.compress(text.encode()), id="gzip"),
        pytest.param(lambda text: text.encode("utf-16"), id="UTF-16"),
        pytest.param(lambda text: gzip.compress(b"\xfe\xff" + text.encode("utf-16-be")), id="UTF-16, big-endian"),
        pytest.param(as_text(without_header), id="no header"),
        pytest.param(lambda text: without_header(text.replace("\n", "\r\n")).encode("utf-16"), id="UTF-16, no header"),
        pytest.param(as_text(lambda text: quoted(text).replace(",", ";")), id="quotes and semicolons"),
        pytest.param(as_text(lambda text: without_header(text).replace(",", "|")), id="bars"),
        pytest.param(as_text(lambda text: re.sub("(?m)^([0-9]+)", r"\1.0", text)), id="labels with a decimal point"),
        pytest.param(as_text(lambda text: re.sub(",([0-9]+)", r",\1.0", text)), id="decimal pixels"),
        pytest.param(as_text(lambda text: as_fractions(text)), id="pixels from 0 to 1"),
        pytest.param(as_text(lambda text: as_fractions(without_header(text))), id="pixels from 0 to 1, no header"),
        pytest.param(as_text(lambda text: label_last(text, "class")), id="label last, as OpenML writes it"),
        pytest.param(as_text(lambda text: label_last(text, "Target")), id="label last, another name"),
        pytest.param(as_text(lambda text: with_index(label_last(text, "label"), "id")), id="index and label last"),
        pytest.param(as_text(lambda text: with_index(text, "")), id="index of pandas"),
        pytest.param(as_text(lambda text: without_header(with_index(text, ""))), id="index, no header"),
        pytest.param(as_text(lambda text: f"{','.join(map(str, range(785)))}\n{without_header(text)}"), id="numbers"),
    ],
)
@pytest.mark.parametrize("name", ["digits.csv", "digits"])
def test_reads_every_style(tmp_path: Path, change: Callable[[str], bytes], name: str) -> None:
    path = write(tmp_path / name, change(csv_text()))
    assert read_all(path) == read_all(path, 5) == read_all(path, 1) == ALL_RECORDS


def test_reads_any_square_and_any_number_of_classes(tmp_path: Path) -> None:
    header = ",".join(["label", *(f"{row}x{column}" for row in (1, 2, 3) for column in (1, 2, 3))])
    rows = [f"{label},{','.join(str(label % 100 + pixel) for pixel in range(9))}" for label in (7, -1, 499)]
    read = read_images(write(tmp_path / "small.csv", "\n".join([header, *rows])))
    assert [record.label for record, _ in read] == ["7", "-1", "499"]
    np.testing.assert_array_equal(read[2][1].pixels, np.arange(99, 108).reshape(3, 3, 1))


def test_reads_more_text_than_pyarrow_parses_at_a_time(tmp_path: Path) -> None:
    header, rows = csv_text().split("\n", 1)
    records = read_all(write(tmp_path / "digits.csv", f"{header}\n{rows * 100}"), 1100)
    assert [record[2:] for record in records] == [record[2:] for record in ALL_RECORDS] * 100
    assert records[-1].key == "all/001199"


def test_ignores_a_test_set_without_labels(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv")
    write(folder / "test.csv", "\n".join(line.partition(",")[2] for line in csv_text("test").splitlines()))
    assert open_source(str(folder)).files == (f"file://{folder}/train.csv",)
    assert read_all(folder) == ALL_RECORDS
    (folder / "test.csv").unlink()
    assert read_all(folder) == ALL_RECORDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: re.sub("(?m)^[a-z0-9]*,", "", text), "no column label, expected the header label,pixel0"),
        (lambda _: "", "an empty file, expected the header label,pixel0"),
        (lambda _: gzip.compress(b""), "an empty file, expected the header label,pixel0"),
        *(
            (lambda text, end=end: text.partition("\n")[0] + end, "no rows, expected at least one row of data")
            for end in ("", "\n", "\n\n\r\n")
        ),
        (
            lambda text: re.sub(",[0-9]+\n", "\n", without_header(text)),
            "no column label, expected the header label,pix",
        ),
        (
            lambda text: re.sub(",([0-9]+),([0-9]+)\n", "\n", without_header(text)),
            r"783 columns whose names start with '0,\d",
        ),
        (
            lambda text: text.replace("pixel9,pixel10,", "pixel10,pixel9,"),
            "column pixel9 after column pixel10, expected the",
        ),
        (lambda _: "label,pixel0\n1,2", "1 x 1 pixels .*, expected 2 x 2 pixels to"),
        (
            lambda text: text.replace("\n", ",pixel784\n", 1),
            "786 columns whose names start with 'label,pixel0,pixel1",
        ),
        (lambda text: gzip.compress(text.encode())[:-3000], "gzip data that ends too early, expected a complete file"),
        (lambda text: gzip.compress(text.encode())[:-6] + bytes(6), "corrupt gzip data .CRC check failed"),
    ],
)
def test_refuses_unusable_files(tmp_path: Path, change: Callable[[str], Any], message: str) -> None:
    refuse(write(tmp_path / "a.csv", change(csv_text())), f"a.csv: found {message}")


@pytest.mark.parametrize("row", [1, 6, 12])
@pytest.mark.parametrize("column", [0, 1, 784])
@pytest.mark.parametrize(
    ("cell", "found"),
    [
        *((cell, repr(cell)) for cell in ("abc", "nan", "NaN", "1.5", "12\r3", "1e2", "-", "\uff15")),
        ("9" * 5000, "'99999"),
        ("", "an empty cell"),
    ],
)
def test_names_the_wrong_cell(tmp_path: Path, row: int, column: int, cell: str, found: str) -> None:
    refuse_cell(tmp_path, row, column, cell, f"{re.escape(found)}.*, expected a whole number{' from' * bool(column)}")


def test_letters_beside_digits_need_folders(tmp_path: Path) -> None:
    advice = "correct the cell or remove the row; if the classes have names, use a folder of images for each"
    refuse_cell(tmp_path, 6, 0, "B", f"'B', expected a whole number; {advice}")


@pytest.mark.parametrize("column", [1, 784])
@pytest.mark.parametrize("cell", ["256", "-1", "1000"])
def test_refuses_a_pixel_out_of_range(tmp_path: Path, column: int, cell: str) -> None:
    refuse_cell(tmp_path, 6, column, cell, f"'{cell}', expected a whole number from 0 to 255; correct the cell")


def refuse_cell(folder: Path, row: int, column: int, cell: str, message: str) -> None:
    header, *rows = (line.split(",") for line in csv_text(first=1).splitlines())
    rows[row - 1][column] = cell
    text = "\n".join(",".join(cells) for cells in [header, *rows])
    refuse(write(folder / "a.csv", text), f"a.csv, row {row}, column {header[column]}: found {message}")


@pytest.mark.parametrize("row", [1, 5, 6, 12])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: f"\n{line}", ": found a blank line, expected 785 columns, as in the first row"),
        (lambda line: f"\r\n{line}", ": found a blank line, expected 785 columns, as in the first row"),
        (lambda line: line + ",1", ": found 786 columns, expected 785 columns"),
        (lambda line: line.rpartition(",")[0], ": found 784 columns, expected 785 columns"),
        (lambda line: line.replace(",", ";", 1), ": found 784 columns, expected 785 columns"),
    ],
)
def test_names_the_wrong_row(tmp_path: Path, row: int, change: Callable[[str], str], message: str) -> None:
    lines = csv_text().splitlines()
    lines[row] = change(lines[row])
    refuse(write(tmp_path / "a.csv", "\n".join(lines)), f"a.csv, row {row}{message}")


def test_names_the_wrong_cell_in_other_styles(tmp_path: Path) -> None:
    header, *rows = as_fractions(csv_text()).splitlines()
    for cell in ("1.5", "-0.1", "nan", ""):
        text = "\n".join([header, *rows[:4], re.sub(",[0-9.]+,", f",{cell},", rows[4], count=1), *rows[5:]])
        found = repr(cell) if cell else "an empty cell"
        refuse(write(tmp_path / "a.csv", text), f"row 5, column pixel0: found {found}, expected a number from 0 to 1;")
    rows = without_header(csv_text()).splitlines()
    text = "\n".join([*rows[:4], f"1.5,{rows[4].partition(',')[2]}", *rows[5:]])
    refuse(write(tmp_path / "a.csv", text.encode("utf-16")), "row 5, column 1: found '1.5', expected a whole number;")


def test_the_label_is_last_if_the_first_column_is_a_blank_border(tmp_path: Path) -> None:
    rows = "0,0,200,0,7\n0,10,0,0,3\n"
    path = write(tmp_path / "a.csv", rows)
    assert [record[2:] for record in read_all(path)] == [("7", bytes([0, 0, 200, 0])), ("3", bytes([0, 10, 0, 0]))]
    assert open_source(str(path)).assumptions == ("a.csv: no header: column 5 of 5 is the label",)


@pytest.mark.parametrize(
    ("change", "assumptions"),
    [
        (str, ()),
        (without_header, ("no header: column 1 of 785 is the label",)),
        (lambda text: with_index(label_last(text, "class"), ""), ("column class of 786 is the label", "the index col")),
        (as_fractions, ("the pixels are decimals from 0 to 1",)),
    ],
)
def test_says_what_it_assumes(tmp_path: Path, change: Callable[[str], str], assumptions: tuple[str, ...]) -> None:
    found = open_source(str(write(tmp_path / "a.csv", change(csv_text())))).assumptions
    assert len(found) == len(assumptions)
    assert all(one.startswith(f"a.csv: {text}") for one, text in zip(found, assumptions, strict=True))


def test_transposes_emnist(tmp_path: Path) -> None:
    path = write(tmp_path / "emnist-digits-train.csv", without_header(csv_text()))
    pixels = np.array([np.frombuffer(record.pixels, np.uint8) for record in read_all(path)]).reshape(-1, 28, 28)
    np.testing.assert_array_equal(pixels.swapaxes(1, 2), ARRAYS["x_train"])
    assert "emnist-digits-train.csv: images stored column by column" in open_source(str(path)).assumptions


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("mnist_train.csv", "mnist_test.csv"),
        ("fashion-mnist_train.csv.gz", "fashion-mnist_test.csv"),
        ("Training.CSV", "Testing.CSV"),
        ("train.tsv", "test.tsv"),
    ],
)
def test_finds_the_files_of_a_data_set_by_their_names(tmp_path: Path, train: str, test: str) -> None:
    for name, part in ((train, "train"), (test, "test")):
        text = without_header(csv_text(part)).encode()
        write(tmp_path / name, gzip.compress(text) if name.endswith(".gz") else text)
    write(tmp_path / "sample_submission.csv", "ImageId,Label")
    assert read_all(tmp_path) == RECORDS


def test_the_only_file_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path / "mnist_784.csv", label_last(csv_text(), "class"))
    assert read_all(tmp_path) == ALL_RECORDS


def test_a_copy_may_be_gzipped_but_not_differ(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv")
    write(folder / "train.csv.gz", gzip.compress(csv_text().encode()))
    assert read_all(folder) == RECORDS
    write(folder / "train.csv.gz", gzip.compress(csv_text("test").encode()))
    refuse(
        folder, "csv: found both train.csv and train.csv.gz, which differ, expected only one of them; remove the oth"
    )


def test_refuses_two_data_sets_in_one_folder(tmp_path: Path) -> None:
    for name in ("emnist-digits-train.csv", "emnist-digits-test.csv", "emnist-letters-train.csv"):
        write(tmp_path / name, csv_text())
    refuse(tmp_path, "found emnist-digits-train.csv and emnist-letters-train.csv, expected one data set; keep each")
