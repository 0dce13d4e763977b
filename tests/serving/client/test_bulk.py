"""Many images and records through Beam into one CSV file."""

import csv
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import tensorflow as tf

from serving.client import bulk
from serving.client.answers import Result
from serving.client.bulk import Summary, predict_to_csv
from serving.client.client import Client
from serving.client.errors import ClientError
from serving.client.inputs import Inputs
from serving.client.opening import open_local, open_rest

ONE_PROCESS = ("--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")


@pytest.fixture
def open_client(tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[[], Client]:
    (tmp_path / "digits").mkdir()
    return partial(open_local, tiny_model(tmp_path / "digits", 17))


@pytest.fixture
def inputs(tmp_path: Path, png: bytes) -> Inputs:
    """Five images, of which the second is none, and two files of records, of which one record is none."""
    images = [tmp_path / f"{number}.png" for number in range(5)]
    for image in images:
        image.write_bytes(png)
    images[1].write_text("text")
    record_files = [tmp_path / "first.gz", tmp_path / "second.tfrecord"]
    pixels = tf.train.Feature(int64_list=tf.train.Int64List(value=range(28 * 28)))
    example = tf.train.Example(features=tf.train.Features(feature={"image": pixels})).SerializeToString()
    for file, records in zip(record_files, ([example] * 3, [example, b"none", example]), strict=True):
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
    assert names == [f"{number}.png" for number in range(5)] + ["first.gz"] * 3 + ["second.tfrecord"] * 3
    assert [row["index"] for row in rows] == ["0"] * 5 + ["0", "1", "2"] * 2
    failed = {row["source"]: row["error"] for row in rows if row["error"]}
    assert list(failed) == [inputs.images[1], inputs.record_files[1]]
    assert "no image" in failed[inputs.images[1]]
    assert "Could not parse example" in failed[inputs.record_files[1]]
    answered = [row for row in rows if not row["error"]]
    assert {(row["digit"], row["status"], row["p7"], row["p0"]) for row in answered} == {
        ("7", "ok", "1.000000", "0.000000")
    }
    assert summary == Summary(num_results=11, num_errors=2)
    assert progress[-1] == 11
    assert not list(tmp_path.glob(".results*"))


def test_nothing_is_written_when_the_model_cannot_be_asked(inputs: Inputs, tmp_path: Path) -> None:
    output = tmp_path / "results.csv"
    output.write_text("what was there before")
    with pytest.raises(ClientError, match=r"^http://127\.0\.0\.1:9 cannot be reached; .* at 8501\)\.$"):
        predict(inputs, output, partial(open_rest, "http://127.0.0.1:9", "digits"))
    assert output.read_text() == "what was there before"
    assert not list(tmp_path.glob(".results*"))


def test_lost_rows_are_noticed(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows = bulk.write_rows

    def write_all_but_one(results: Iterable[Result], file: Path, *, with_probabilities: bool) -> None:
        write_rows(list(results)[1:], file, with_probabilities=with_probabilities)

    monkeypatch.setattr(bulk, "write_rows", write_all_but_one)
    with pytest.raises(
        ClientError, match=r"^11 images or records were read, but 8 rows written; .*results\.csv is left"
    ):
        predict(inputs, tmp_path / "results.csv", open_client)
    assert not list(tmp_path.glob("*results*"))


def test_a_full_disk_is_said(
    inputs: Inputs, tmp_path: Path, open_client: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bulk, "write_rows", no_space)
    with pytest.raises(ClientError, match=r": No space left on device; check the disk, and try again\.$"):
        predict(inputs, tmp_path / "results.csv", open_client)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Error received from SDK harness: Traceback (most recent call last):\n  File ...\n"
            "serving.client.errors.ClientError: a.gz: damaged. Get it. [while running 'Predict']\n\n\tat org.apache",
            r"^a\.gz: damaged\. Get it\.$",
        ),
        ("Connection refused\n\tat org.apache", "^The Beam engine failed: Connection refused$"),
    ],
)
def test_what_workers_elsewhere_say_is_told_in_one_line(
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
