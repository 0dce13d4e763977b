import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.example_gen.sources import DataError, Record, open_source

ReadAll = Callable[..., list[Record]]
Text = Callable[..., str]


@pytest.fixture
def expected_all(expected: list[Record]) -> list[Record]:
    """The training records as those of a source that has no test set."""
    train = [record for record in expected if record.origin == "train"]
    return [record._replace(origin="all", key=record.key.replace("train", "all")) for record in train]


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(("columns", "first"), [("pixel{}", 0), ("pixel{}", 1)])
def test_gives_what_was_written(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record], columns: str, first: int
) -> None:
    source = open_source(str(write(tmp_path / "digits.csv", csv_text(columns=columns, first=first))))
    assert source.format == "CSV"
    assert read_all(source) == read_all(source, 5) == expected_all


def test_columns_named_by_row_and_column(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record]
) -> None:
    header = ",".join(["label"] + [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)])
    path = write(tmp_path / "digits.csv", header + "\n" + csv_text().partition("\n")[2])
    assert read_all(open_source(str(path))) == expected_all


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.rstrip("\n").encode(), id="last line without newline"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(lambda text: text.replace("\n", "\r\n").rstrip().encode(), id="CRLF, last line without"),
        pytest.param(lambda text: (text + "\n\r\n" * 7).encode(), id="blank lines at the end"),
        pytest.param(lambda text: text.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(lambda text: gzip.compress(text.encode()), id="gzip"),
    ],
)
def test_harmless_differences(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record], change: Callable[[str], bytes]
) -> None:
    source = open_source(str(write(tmp_path / "digits.csv", change(csv_text()))))
    assert read_all(source) == read_all(source, 5) == read_all(source, 1) == expected_all


def test_rows_found_across_blocks(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.example_gen.sources.kaggle_csv._BLOCK_SIZE", 7)
    path = write(tmp_path / "digits.csv", csv_text(end="\r\n") + "\r\n\r\n")
    assert read_all(open_source(str(path)), 5) == expected_all


def test_shares_survive_pickling(tmp_path: Path, csv_text: Text, expected_all: list[Record]) -> None:
    shares = pickle.loads(pickle.dumps(open_source(str(write(tmp_path / "digits.csv", csv_text()))).shares(5)))
    assert [len(list(share.read())) for share in shares] == [5, 5, 2]
    assert list(shares[1].read()) == expected_all[5:10]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder_with_test_set(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected: list[Record], suffix: str
) -> None:
    pack = gzip.compress if suffix else bytes
    for part in ("train", "test"):
        write(tmp_path / "kaggle" / f"{part}.csv{suffix}", pack(csv_text(part, columns="pixel{}").encode()))
    assert read_all(open_source(str(tmp_path / "kaggle")), 5) == expected


def test_folder_without_test_set(tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record]) -> None:
    path = write(tmp_path / "kaggle" / "train.csv", csv_text())
    assert read_all(open_source(str(path.parent))) == expected_all


def test_test_set_without_labels_is_left_out(
    tmp_path: Path, csv_text: Text, read_all: ReadAll, expected_all: list[Record]
) -> None:
    path = write(tmp_path / "kaggle" / "train.csv", csv_text())
    unlabelled = "\n".join(line.partition(",")[2] for line in csv_text("test").splitlines())
    write(tmp_path / "kaggle" / "test.csv", unlabelled)
    source = open_source(str(path.parent))
    assert source.files == (f"file://{path}",)
    assert read_all(source) == expected_all


def refuse(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        for share in open_source(str(path)).shares(5):
            for _ in share.read():
                pass


def test_refuses_rows_without_labels(tmp_path: Path, csv_text: Text) -> None:
    unlabelled = "\n".join(line.partition(",")[2] for line in csv_text().splitlines())
    refuse(
        write(tmp_path / "test.csv", unlabelled), "test.csv: found no column label, expected the header label,pixel0"
    )


@pytest.mark.parametrize("text", ["", gzip.compress(b"")])
def test_refuses_an_empty_file(tmp_path: Path, text: Any) -> None:
    refuse(write(tmp_path / "a.csv", text), "a.csv: found an empty file, expected the header label,pixel0")


@pytest.mark.parametrize("end", ["", "\n", "\n\n\r\n"])
def test_refuses_a_header_alone(tmp_path: Path, csv_text: Text, end: str) -> None:
    text = csv_text().partition("\n")[0] + end
    refuse(write(tmp_path / "a.csv", text), "a.csv: found no rows, expected at least one row after the header")


def test_refuses_a_missing_header(tmp_path: Path, csv_text: Text) -> None:
    text = csv_text().partition("\n")[2]
    refuse(
        write(tmp_path / "a.csv", text),
        r"a.csv: found 785 columns whose names start '0,\d+,\d+,\d+', expected the header",
    )


@pytest.mark.parametrize("end", [784, 786])
def test_refuses_a_header_of_another_length(tmp_path: Path, end: int) -> None:
    header = ",".join(["label"] + [f"pixel{index}" for index in range(end - 1)])
    refuse(
        write(tmp_path / "a.csv", header), f"a.csv: found {end} columns whose names start 'label,pixel0,pixel1,pixel2'"
    )


def test_refuses_other_encodings(tmp_path: Path, csv_text: Text) -> None:
    refuse(write(tmp_path / "a.csv", csv_text().encode("utf-16")), "a.csv: found .* columns whose names start")


@pytest.mark.parametrize("row", [1, 6, 12])
def test_counts_rows_across_shares(tmp_path: Path, csv_text: Text, row: int) -> None:
    lines = csv_text(columns="pixel{}", first=1).splitlines()
    lines[row] = f"{lines[row].rpartition(',')[0]},nan"
    message = f"a.csv, row {row}, column pixel784: found 'nan', expected a whole number from 0 to 255"
    refuse(write(tmp_path / "a.csv", "\n".join(lines)), message)


@pytest.mark.parametrize("row", [5, 6])
def test_refuses_a_blank_line_between_rows(tmp_path: Path, csv_text: Text, row: int) -> None:
    lines = csv_text().splitlines()
    text = "\n".join([*lines[:row], "", *lines[row:]])
    refuse(write(tmp_path / "a.csv", text), f"a.csv, row {row}: found a blank line, expected 785 columns")


def test_refuses_a_ragged_row(tmp_path: Path, csv_text: Text) -> None:
    lines = csv_text().splitlines()
    lines[7] += ",1"
    refuse(write(tmp_path / "a.csv", "\n".join(lines)), "a.csv, row 7: found 786 columns, expected 785 columns")


def test_refuses_a_label_out_of_range(tmp_path: Path, csv_text: Text) -> None:
    lines = csv_text().splitlines()
    lines[9] = f"11,{lines[9].partition(',')[2]}"
    refuse(write(tmp_path / "a.csv", "\n".join(lines)), "a.csv, row 9, column label: found label 11, expected a class")


def test_refuses_truncated_gzip(tmp_path: Path, csv_text: Text) -> None:
    data = gzip.compress(csv_text().encode())[:-3000]
    refuse(write(tmp_path / "a.csv.gz", data), "a.csv.gz: found gzip data that end too early, expected a complete file")


def test_refuses_corrupt_gzip(tmp_path: Path, csv_text: Text) -> None:
    data = bytearray(gzip.compress(csv_text().encode()))
    data[-6] ^= 1
    refuse(write(tmp_path / "a.csv.gz", bytes(data)), "a.csv.gz: found corrupt gzip data .CRC check failed")


def test_refuses_two_files_of_training_data(tmp_path: Path, csv_text: Text) -> None:
    write(tmp_path / "kaggle" / "train.csv", csv_text())
    write(tmp_path / "kaggle" / "train.csv.gz", gzip.compress(csv_text().encode()))
    refuse(tmp_path / "kaggle", "kaggle: found both train.csv and train.csv.gz, expected only one of them")
