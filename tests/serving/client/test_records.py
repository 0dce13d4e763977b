"""TFRecords are read to their end, or refused."""

import gzip
from pathlib import Path

import pytest
import tensorflow as tf

from serving.client.errors import ClientError
from serving.client.records import read_records

RECORDS = [b"one", b"", b"three" * 100]


@pytest.fixture(params=["GZIP", ""])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "examples.tfrecord"
    with tf.io.TFRecordWriter(str(path), request.param) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_records_come_with_their_places(file: Path) -> None:
    items = list(read_records(str(file)))
    assert [item.content for item in items] == RECORDS
    assert [(item.source, item.index) for item in items] == [(str(file), index) for index in range(3)]


@pytest.mark.parametrize("num_missing", [10, 508])
def test_a_file_that_is_cut_off_is_refused(file: Path, num_missing: int) -> None:
    """In the last record, and in its header, which TensorFlow's own reader would not notice."""
    is_gzip = file.read_bytes().startswith(b"\x1f\x8b")
    content = gzip.decompress(file.read_bytes()) if is_gzip else file.read_bytes()
    cut = content[: len(content) - num_missing]
    file.write_bytes(gzip.compress(cut) if is_gzip else cut)
    with pytest.raises(
        ClientError, match=rf"^{file}: damaged after 2 record\(s\), or no TFRecord: [^']*\. Get the file"
    ):
        list(read_records(str(file)))


def test_a_gzip_stream_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "examples.gz"
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        writer.write(RECORDS[0])
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ClientError, match=r"damaged after 1 record\(s\).* ended before the end-of-stream marker was"):
        list(read_records(str(file)))


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.tfrecord"
    file.write_text("notes, and many of them")
    with pytest.raises(ClientError, match=r"damaged after 0 record\(s\), or no TFRecord: .* Mismatch of length mask\."):
        list(read_records(str(file)))
    with pytest.raises(ClientError, match=rf"^{tmp_path}: cannot be read: Is a directory\.$"):
        list(read_records(str(tmp_path)))
