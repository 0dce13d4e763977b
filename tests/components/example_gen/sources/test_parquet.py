from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, encode_image, parquet_table, read_images, refuse, write_parquet

TRAIN = "train-00000-of-00001.parquet"


def write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=4)
    return path


def contents(path: Path, records_per_share: int = 1000) -> list[tuple[str, str, str, bytes]]:
    return [(*record, image.pixels.tobytes()) for record, image in read_images(path, records_per_share)]


def expected(part: str, file: str, origin: str = "") -> list[tuple[str, str, str, bytes]]:
    images, labels = ARRAYS[f"x_{part}"], ARRAYS[f"y_{part}"]
    return [
        (origin or part, f"{file}/{row:06d}", str(label), image.tobytes())
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


@pytest.mark.parametrize("records_per_share", [1, 4, 5, 9, 1000])
def test_reads_what_hugging_face_writes(tmp_path: Path, records_per_share: int) -> None:
    folder = write_parquet(tmp_path / "data")
    (tmp_path / "README.md").write_text("Digits")
    records = [*expected("train", TRAIN), *expected("test", "test-00000-of-00001.parquet")]
    for place in (folder, tmp_path):
        assert sorted(contents(place, records_per_share)) == sorted(records)
    assert open_source(str(tmp_path)).format == "Parquet"


def test_reads_one_file_as_one_set(tmp_path: Path) -> None:
    file = write_parquet(tmp_path) / TRAIN
    assert contents(file) == expected("train", TRAIN, "all")
    file.rename(tmp_path / "renamed")
    assert contents(tmp_path / "renamed") == expected("train", "renamed", "all")


@pytest.mark.parametrize(
    ("names", "origins"),
    [
        (("train-0.parquet", "train-1.parquet", "test-0.parquet"), ("test", "train", "train")),
        (("train.parquet", "validation.parquet"), ("train", "eval")),
        (("train_a.parquet", "valid_a.parquet", "testing_a.parquet"), ("test", "train", "eval")),
        (("0000.parquet", "0001.parquet"), ("all", "all")),
    ],
)
def test_the_names_of_the_files_are_the_sets(tmp_path: Path, names: tuple[str, ...], origins: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / name, parquet_table("test"))
    assert [record.origin for record, _ in read_images(tmp_path)[::7]] == list(origins)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["zéro", "one", "2", "3", "four 4", "5", "six"], ["six", "5", "four 4", "3", "2", "one", "zéro"]),
        ([], ["6", "5", "4", "3", "2", "1", "0"]),
        (None, ["6", "5", "4", "3", "2", "1", "0"]),
    ],
)
def test_classes_have_the_names_in_the_metadata(tmp_path: Path, names: list[str] | None, labels: list[str]) -> None:
    path = write(tmp_path / "data.parquet", parquet_table("test", names=names, image="img"))
    assert [record.label for record, _ in read_images(path, 4)] == labels


def test_reads_the_wanted_images_only(tmp_path: Path) -> None:
    images = parquet_table().column("image").to_pylist()
    images[0]["bytes"] = b"damaged"
    (share,) = open_source(
        str(write(tmp_path / "data.parquet", with_column("image", images)(parquet_table())))
    ).shares()
    read = list(share.images([5, 11]))
    assert [image.encoded for image in read] == [encode_image(ARRAYS["x_train"][index]) for index in (5, 11)]
    assert [record.label for record in share.records()] == [str(label) for label in ARRAYS["y_train"]]


def with_column(name: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(name)
        kept = kind or table.schema.field(name).type
        return table.set_column(index, pa.field(name, kept), pa.array(values, kept))

    return change


FILES = [{"bytes": encode_image(np.zeros((9, 9), np.uint8)), "path": None}] * 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("label"), ": found the columns 'image', expected a column image"),
        (
            lambda table: table.rename_columns(["photo", "label"]),
            ": found the columns 'photo', 'label', expected a column",
        ),
        (
            with_column("image", [b""] * 12, pa.binary()),
            ", column image: found type binary, expected a struct of bytes",
        ),
        (
            with_column("image", [{"bytes": True}] * 12, pa.struct([("bytes", pa.bool_())])),
            ", column image: found type struct<bytes: bool>, expected a struct of bytes",
        ),
        (
            lambda table: table.set_column(1, "label", pa.array([b"caf\xe9"] * 12).view(pa.string())),
            ": found a damaged Parquet file .'utf-8' codec can't decode byte 0xe9",
        ),
        (
            with_column("label", [0.5] * 12, pa.float32()),
            ", column label: found type float, expected integers or names",
        ),
        (lambda table: table.slice(0, 0), ": found no rows, expected at least one"),
        (
            lambda table: table.replace_schema_metadata({"huggingface": "{"}),
            ": found Hugging Face metadata that cannot be read",
        ),
        *(
            (
                with_column("label", [0] * 9 + [label] * 3),
                rf", record 9 \(counted from 0\): found {found}, expected a label from 0 to 9; correct or remove",
            )
            for label, found in ((10, "label 10"), (-1, "no label"), (None, "no label"))
        ),
        *(
            (
                with_column("image", [*FILES[:9], {"bytes": content, "path": "elsewhere/a.png"}, *FILES[10:]]),
                rf", record 9 \(counted from 0\): found {found}",
            )
            for content, found in (
                (None, "no image, expected the bytes of an image file"),
                (b"damaged", "no readable image .b'damaged'"),
                (encode_image(ARRAYS["x_train"][0])[:-20], "a damaged or truncated PNG file"),
            )
        ),
    ],
)
def test_refuses_unusable_files(tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str) -> None:
    refuse(write(tmp_path / "a.parquet", change(parquet_table())), f"a.parquet{message}")


@pytest.mark.parametrize("labels", [["a", "", "b"] * 4, ["a", None, "b"] * 4])
def test_refuses_an_empty_label(tmp_path: Path, labels: list[object]) -> None:
    table = with_column("label", labels)(parquet_table(names=None))
    refuse(
        write(tmp_path / "a.parquet", table),
        r"a.parquet, record 1 \(counted from 0\): found no label, expected a label",
    )


@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_refuses_a_truncated_file(tmp_path: Path, kept: float) -> None:
    path = write_parquet(tmp_path) / TRAIN
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    refuse(tmp_path, f"{TRAIN}: found a damaged Parquet file .*, expected an intact one; download or copy it again")


def test_refuses_damaged_pages(tmp_path: Path) -> None:
    path = write_parquet(tmp_path) / TRAIN
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    refuse(tmp_path, f"{TRAIN}: found a damaged Parquet file")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("a/train-0.parquet", "b/train-0.parquet"),
            "digits: found Parquet files in .*/a', .*/b', expected one data set",
        ),
        (
            ("train-0.parquet", "extra-0.parquet"),
            "digits: found the files 'extra-0.parquet', 'train-0.parquet', expected nam",
        ),
        (
            ("test-0.parquet", "validation-0.parquet"),
            "digits: found the files .*, expected names that start with train-",
        ),
    ],
)
def test_refuses_other_layouts(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        write(tmp_path / "digits" / name, parquet_table())
    refuse(tmp_path / "digits", message)
