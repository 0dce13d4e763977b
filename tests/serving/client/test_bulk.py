import csv
import gzip
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import tensorflow as tf

from serving.client import bulk
from serving.client.bulk import Summary, predict_to_csv, read_records
from serving.client.client import Client, ClientError, Result
from serving.client.inputs import Inputs
from serving.client.local_client import LocalClient
from serving.client.rest_client import RestClient

ONE_PROCESS = ("--runner=FnApiRunner",)


@pytest.fixture
def open_client(tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[[], Client]:
    (tmp_path / "digits").mkdir()
    return partial(LocalClient, tiny_model(tmp_path / "digits", 17))


@pytest.fixture
def inputs(tmp_path: Path, png: bytes) -> Inputs:
    """Five images, the second damaged, and two files of records, two records damaged."""
    images = [tmp_path / f"{number}.png" for number in range(5)]
    for image in images:
        image.write_bytes(png)
    images[1].write_text("text")
    record_files = [tmp_path / "first.gz", tmp_path / "second.tfrecord"]
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
    example = tf.train.Example(features=tf.train.Features(feature={"image": image})).SerializeToString()
    for file, records in zip(record_files, ([example] * 3, [example, b"none", b"\xff\xfe", example]), strict=True):
        with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
            for record in records:
                writer.write(record)
    return Inputs(tuple(map(str, images)), tuple(map(str, record_files)))


def predict(inputs: Inputs, output: Path, open_client: Callable[[], Client], **options: object) -> Summary:
    arguments = {"with_probabilities": False, "beam_arguments": ONE_PROCESS, "on_progress": lambda rows: None}
    return predict_to_csv(inputs, output, open_client, **{**arguments, **options})  # type: ignore[arg-type]


def test_every_image_and_record_gets_its_row_in_order(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "IMAGES_PER_PART", 2)
    monkeypatch.setattr(bulk, "RECORDS_PER_BATCH", 2)
    output = tmp_path / "results.csv"
    progress: list[int] = []
    output.write_text("what was there before")
    summary = predict(inputs, output, open_client, with_probabilities=True, on_progress=progress.append)
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [Path(row["source"]).name for row in rows]
    assert names == [f"{number}.png" for number in range(5)] + ["first.gz"] * 3 + ["second.tfrecord"] * 4
    assert [row["index"] for row in rows] == ["0"] * 5 + ["0", "1", "2"] + ["0", "1", "2", "3"]
    failed = {(row["source"], row["index"]): row["error"] for row in rows if row["error"]}
    assert list(failed) == [(inputs.images[1], "0"), (inputs.record_files[1], "1"), (inputs.record_files[1], "2")]
    assert "not an image" in failed[inputs.images[1], "0"]
    assert "Could not parse example" in failed[inputs.record_files[1], "1"]
    assert r"\xff\xfe" in failed[inputs.record_files[1], "2"]
    answered = [row for row in rows if not row["error"]]
    assert {(row["label"], row["status"], row["p_7"], row["p_0"]) for row in answered} == {
        ("7", "ok", "1.000000", "0.000000")
    }
    assert summary == Summary(num_results=12, num_errors=3)
    assert progress[-1] == 12
    assert not list(tmp_path.glob(".results*"))


def test_nothing_is_written_if_the_model_is_unreachable(inputs: Inputs, tmp_path: Path) -> None:
    output = tmp_path / "results.csv"
    output.write_text("what was there before")
    with pytest.raises(ClientError, match=r"^http://127\.0\.0\.1:9 cannot be reached; .* at 8501\)\.$"):
        predict(inputs, output, partial(RestClient, "http://127.0.0.1:9", "digits"))
    assert output.read_text() == "what was there before"
    assert not list(tmp_path.glob(".results*"))


def test_lost_rows_are_noticed(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_inputs = bulk.predict_inputs

    def lose_one(*arguments: Any) -> Iterable[Result]:
        return list(predict_inputs(*arguments))[1:]

    monkeypatch.setattr(bulk, "predict_inputs", lose_one)
    with pytest.raises(
        ClientError, match=r"^12 images or records were read, but 9 rows written; .*results\.csv is unchanged"
    ):
        predict(inputs, tmp_path / "results.csv", open_client)
    assert not list(tmp_path.glob("*results*"))


def test_a_full_disk_is_reported(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bulk, "_open_csv", no_space)
    with pytest.raises(ClientError, match=r": No space left on device; check the disk, and try again\.$"):
        predict(inputs, tmp_path / "results.csv", open_client)


def test_rows_keep_special_characters(
    tmp_path: Path, png: bytes, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = 'a, "b"\n\udcff.png'
    Path(name).write_bytes(png)
    predict(Inputs((name,), ()), tmp_path / "results.csv", open_client)
    expected = 'source,index,label,confidence,status,error\n"a, ""b""\n\udcff.png",0,7,17.000000,ok,\n'
    assert (tmp_path / "results.csv").read_text("utf-8", "surrogateescape") == expected


@pytest.mark.parametrize("num_answered", [0, 2])
def test_each_class_of_the_model_has_a_column(
    tmp_path: Path, png: bytes, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, num_answered: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bulk, "IMAGES_PER_PART", 1)
    # The first part has no answer.
    names = ("0.png", "1.png", "2.png")
    for index, name in enumerate(names):
        Path(name).write_bytes(png if index > len(names) - 1 - num_answered else b"text")
    classes = (*"ABCDEFGHIJKLMNOPQRSTUVWXY", "Ž, =1+1")
    open_client = partial(LocalClient, tiny_model(tmp_path, 51, classes))
    summary = predict(Inputs(names, ()), tmp_path / "results.csv", open_client, with_probabilities=True)
    assert summary == Summary(3, 3 - num_answered)
    header, *rows = csv.reader((tmp_path / "results.csv").read_text("utf-8").splitlines())
    columns = ["source", "index", "label", "confidence", "status", "error"]
    assert header == columns + [f"p_{name}" for name in classes if num_answered]
    assert {len(row) for row in rows} == {len(header)}
    assert [row[2] for row in rows] == [""] * (3 - num_answered) + ["Ž, =1+1"] * num_answered
    assert all(row[-1] == ("" if row[5] else "1.000000") for row in rows if num_answered)


def test_a_model_that_changes_its_classes_in_the_meantime(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_inputs = bulk.predict_inputs

    def change(*arguments: Any) -> Iterable[Result]:
        for index, result in enumerate(predict_inputs(*arguments)):
            yield result if index or not result.answer else replace(result, answer=replace(result.answer, classes=()))

    monkeypatch.setattr(bulk, "predict_inputs", change)
    with pytest.raises(ClientError, match=r"^The classes of the model changed .* choose one version with --model-ver"):
        predict(inputs, tmp_path / "results.csv", open_client, with_probabilities=True)
    assert not list(tmp_path.glob("*results*"))


@pytest.mark.parametrize("name", ["=1+1.png", "@a.png", "-a.png", "+a.png", "\ta.png"])
def test_a_spreadsheet_runs_no_cell(
    tmp_path: Path, png: bytes, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(png)
    classes = (f"{name[0]}1", name)
    open_client = partial(LocalClient, tiny_model(tmp_path, 1, classes))
    predict(Inputs((name,), ()), tmp_path / "results.csv", open_client, with_probabilities=True)
    header, row = (tmp_path / "results.csv").read_text().splitlines()
    assert header.endswith(f",p_{classes[0]},p_{name}")
    assert row.startswith(f"'{name},0,'{name},")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Error received from SDK harness: Traceback (most recent call last):\n  File ...\n"
            "serving.client.client.ClientError: a.gz: damaged. Get it. [while running 'Predict']\n\n\tat org.apache",
            r"^a\.gz: damaged\. Get it\.$",
        ),
        ("Connection refused\n\tat org.apache", "^The Beam engine failed: Connection refused$"),
    ],
)
def test_errors_of_remote_workers_become_one_line(
    text: str,
    message: str,
    inputs: Inputs,
    tmp_path: Path,
    open_client: Callable[[], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr("apache_beam.Pipeline.run", fail)
    with pytest.raises(ClientError, match=message):
        predict(inputs, tmp_path / "results.csv", open_client)


def test_progress_counts_the_rows_of_all_parts(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    reported = {2: Event(), 5: Event()}

    def on_progress(num_rows: int) -> None:
        seen.append(num_rows)
        reported.get(num_rows, Event()).set()

    def write_by_hand(parts: object, predict_part: Any, beam_arguments: object) -> int:
        folder = predict_part._folder
        (folder / "other.csv").write_text("one\n")
        (folder / "part-0.csv").write_text("a.png,0,7,1,ok,\n" * 2)
        assert reported[2].wait(10)
        with (folder / "part-0.csv").open("a") as part:
            part.write("a.png,0,7,1,ok,\n")
        (folder / "part-1.csv").write_text("a.png,0,7,1,ok,\n" * 2)
        assert reported[5].wait(10)
        return 5

    monkeypatch.setattr(bulk, "_run", write_by_hand)
    assert predict(inputs, tmp_path / "results.csv", open_client, on_progress=on_progress).num_results == 5
    assert seen == sorted(seen)


RECORDS = [b"one", b"", b"three" * 100]


@pytest.fixture(params=["GZIP", ""])
def record_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "examples.tfrecord"
    with tf.io.TFRecordWriter(str(path), request.param) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_records_have_their_index(record_file: Path) -> None:
    items = list(read_records(str(record_file)))
    assert [item.content for item in items] == RECORDS
    assert [(item.source, item.index) for item in items] == [(str(record_file), index) for index in range(3)]


@pytest.mark.parametrize("num_missing", [10, 508])
def test_a_truncated_record_file_is_refused(record_file: Path, num_missing: int) -> None:
    """In the last record, and in its header, which TensorFlow's own reader would not notice."""
    is_gzip = record_file.read_bytes().startswith(b"\x1f\x8b")
    content = gzip.decompress(record_file.read_bytes()) if is_gzip else record_file.read_bytes()
    cut = content[: len(content) - num_missing]
    record_file.write_bytes(gzip.compress(cut) if is_gzip else cut)
    with pytest.raises(ClientError, match=r"damaged after 2 record\(s\), or not a TFRecord: [^']*\. Get the file"):
        list(read_records(str(record_file)))


def test_files_that_are_not_tfrecords(tmp_path: Path) -> None:
    file = tmp_path / "examples.gz"
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        writer.write(RECORDS[0])
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ClientError, match=r"damaged after 1 record\(s\).* ended before the end-of-stream marker was"):
        list(read_records(str(file)))
    file.write_text("notes, and many of them")
    with pytest.raises(ClientError, match=r"after 0 record\(s\), or not a TFRecord: .* Mismatch of length mask\."):
        list(read_records(str(file)))
    with pytest.raises(ClientError, match=rf"^{tmp_path}: cannot be read: Is a directory\.$"):
        list(read_records(str(tmp_path)))
