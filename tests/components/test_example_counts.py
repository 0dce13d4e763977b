import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from components.example_counts import LostExamplesError, check_count, count_records, damage_named, write_counts


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A split of three records in two files, with the recorded counts, and another one."""
    folder = tmp_path / "Split-test"
    folder.mkdir()
    for name, records in {"a.gz": [b"1" * 100, b"2" * 100], "b.gz": [b"3" * 100]}.items():
        with tf.io.TFRecordWriter(str(folder / name), "GZIP") as writer:
            for record in records:
                writer.write(record)
    write_counts({"Split-test/b.gz": 1, "Split-test/a.gz": 2, "Split-train/a.gz": 9}, str(tmp_path))
    return folder


def unlink(file: Path) -> None:
    file.unlink()


def truncate(size: int) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes()[:size])


def overwrite(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:15] + b"damage" + content[21:])


def replace(file: Path) -> None:
    with tf.io.TFRecordWriter(str(file), "GZIP"):
        pass


def test_all_examples_were_read(split: Path) -> None:
    assert count_records(str(split / "a.gz")) == 2
    check_count([str(split)], 3)
    with damage_named([str(split)]):
        pass


DAMAGES = [
    pytest.param(unlink, "missing or damaged (.*No such file.*)", id="missing"),
    pytest.param(truncate(0), "0 instead of 2", id="empty"),
    pytest.param(truncate(5), "missing or damaged (Compressed file ended.*)", id="header only"),
    pytest.param(truncate(25), "missing or damaged (Compressed file ended.*)", id="cut in the middle"),
    pytest.param(truncate(-1), "missing or damaged (Compressed file ended.*)", id="last byte missing"),
    pytest.param(overwrite, "missing or damaged (.*)", id="changed"),
    pytest.param(lambda file: file.write_bytes(b"no records"), "missing or damaged (Not a gzipped.*)", id="replaced"),
    pytest.param(replace, "0 instead of 2", id="written again without records"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_damaged_file_is_named(split: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(split / "a.gz")
    reason = reason.replace("(", r"\(").replace(")", r"\)")
    folder = re.escape(str(split))
    counts = "1 examples were read, but 3 were written"
    with pytest.raises(
        LostExamplesError,
        match=f"^{folder}: {counts}; {folder}/a.gz: {reason}; run again, with enable_cache=false if the step",
    ):
        check_count([str(split)], 1)


@pytest.mark.parametrize("has_counts", [True, False])
def test_a_reader_that_fails_names_the_damaged_file(split: Path, has_counts: bool) -> None:
    if not has_counts:
        (split.parent / "num_examples.json").unlink()
    damage = ValueError("Error -3 while decompressing data: incorrect data check")
    with pytest.raises(ValueError, match="decompressing"), damage_named([str(split)]):
        raise damage
    truncate(25)(split / "b.gz")
    with pytest.raises(LostExamplesError, match=r"Split-test/b\.gz: missing or damaged"), damage_named([str(split)]):
        raise damage
    with pytest.raises(ValueError, match="another reason"), damage_named([str(split)]):
        raise ValueError("another reason")


@pytest.mark.parametrize("num_read", [2, 4])
def test_records_that_an_engine_loses_or_repeats_are_noticed(split: Path, num_read: int) -> None:
    message = f"Split-test: {num_read} examples were read, but 3 were written, and these files are complete: a file was"
    with pytest.raises(LostExamplesError, match=message):
        check_count([str(split)], num_read)


def test_examples_of_other_components_have_no_counts(tmp_path: Path) -> None:
    check_count([str(tmp_path / "Split-test")], 5)
