"""Predicts any number of images or records through Beam, into one CSV file; imports Beam.

TFX's BulkInferrer and the RunInference of tfx_bsl 1.21.0 under it fail on a string output with one value per example,
such as `status` ("'bytes' object has no attribute 'dtype'"), and on a single invalid record.

One step reads, predicts and writes a part of the inputs in batches. Only file names pass between steps, so memory
hardly grows with the number of inputs, and the merged parts are in the order of the inputs.
"""

import csv
import gzip
import json
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO, Literal, TextIO

import apache_beam as beam

# Private, but TensorFlow's own reader accepts a file that ends between two records or is not a TFRecord.
from apache_beam.io.tfrecordio import _TFRecordUtil
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from serving.client.client import Client, ClientError, Input, Result, predict_inputs
from serving.client.inputs import Inputs, read_images

IMAGES_PER_PART = 1024
IMAGES_PER_BATCH = 32
RECORDS_PER_BATCH = 256

_COLUMNS = ("source", "index", "label", "confidence", "status", "error")
_ERROR_COLUMN = _COLUMNS.index("error")
_PART_PATTERN = "part-*.csv"
_CLASSES_PATTERN = "classes-*.json"

_NUM_READ = "num_read"
_STEP = "Predict"
_GZIP_MAGIC = b"\x1f\x8b"
_WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Summary:
    """Number of rows, one per image or record, and of those with an error instead of an answer."""

    num_results: int
    num_errors: int


@dataclass(frozen=True)
class _Part:
    """Some of the images, or one file of records."""

    number: int
    images: tuple[str, ...] = ()
    record_file: str = ""


def predict_to_csv(
    inputs: Inputs,
    output: Path,
    open_client: Callable[[], Client],
    *,
    with_probabilities: bool,
    beam_arguments: Sequence[str],
    on_progress: Callable[[int], None],
) -> Summary:
    """Predicts all inputs into one file, which appears only when it is complete.

    Args:
        inputs: Images and records; images come first.
        output: CSV file to write or replace. Columns: source, index, label, confidence, status, error, and optionally
            `p_` with its name for each class of the model.
        open_client: Makes a client; picklable, because each worker of Beam calls it.
        with_probabilities: Whether to write the probabilities of all classes; if no input has an answer, there are
            none.
        beam_arguments: Options of the Beam pipeline.
        on_progress: Called from another thread with the number of rows written so far.

    Raises:
        ClientError: The model cannot be reached or changes its classes, a file of records is damaged, or the results
            cannot be written.
        OSError: The folder of the output is not writable.
    """
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as name:
        folder = Path(name)
        with _watched(folder, on_progress):
            num_read = _run(_parts(inputs), _PredictPart(folder, open_client, with_probabilities), beam_arguments)
        columns = _probability_columns(folder) if with_probabilities else ()
        summary = _merge(folder, folder / output.name, columns)
        if summary.num_results != num_read:
            raise ClientError(
                f"{num_read} images or records were read, but {summary.num_results} rows written; {output} is "
                "unchanged. Check for a full disk or a second command that writes there, and try again."
            )
        (folder / output.name).replace(output)
    on_progress(summary.num_results)
    return summary


def read_records(file: str) -> Iterator[Input]:
    """Reads the records of a TFRecord file, plain or gzipped.

    Raises:
        ClientError: The file cannot be read, is damaged or is not a TFRecord, so that records would be lost.
    """
    index = 0
    try:
        with _open_records(file) as stream:
            while (record := _TFRecordUtil.read_record(stream)) is not None:
                yield Input(file, index, record)
                index += 1
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        # Beam ends its sentences with the record itself.
        reason = str(error).partition(": b'")[0]
        raise ClientError(
            f"{file}: damaged after {index} record(s), or not a TFRecord: {reason}. Get the file again, or leave it "
            "out."
        ) from error
    except OSError as error:
        raise ClientError(f"{file}: cannot be read: {error.strerror}.") from error


class _PredictPart(beam.DoFn):
    """Reads, predicts and writes one part; Beam calls it."""

    def __init__(self, folder: Path, open_client: Callable[[], Client], with_probabilities: bool) -> None:
        self._folder = folder
        self._open_client = open_client
        self._with_probabilities = with_probabilities
        self._num_read = Metrics.counter(_STEP, _NUM_READ)

    def setup(self) -> None:
        self._client = self._open_client()

    def process(self, part: _Part) -> None:
        rows, names = (
            self._folder / each.replace("*", f"{part.number:08}") for each in (_PART_PATTERN, _CLASSES_PATTERN)
        )
        classes = set()
        try:
            with _open_csv(rows, "w") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                for result in self._results(part):
                    writer.writerow(_row(result, self._with_probabilities))
                    if result.answer:
                        classes.add(result.answer.classes)
            names.write_text(json.dumps(sorted(classes)))
        except OSError as error:
            raise ClientError(f"{self._folder}: {error.strerror}; check the disk, and try again.") from error

    def teardown(self) -> None:
        self._client.close()

    def _results(self, part: _Part) -> Iterator[Result]:
        if part.record_file:
            records = self._counted(read_records(part.record_file))
            return predict_inputs(records, self._client.predict_examples, RECORDS_PER_BATCH)
        return predict_inputs(self._counted(read_images(part.images)), self._client.predict, IMAGES_PER_BATCH)

    def _counted(self, inputs: Iterator[Input]) -> Iterator[Input]:
        for item in inputs:
            self._num_read.inc()
            yield item


def _parts(inputs: Inputs) -> list[_Part]:
    starts = range(0, len(inputs.images), IMAGES_PER_PART)
    images = [_Part(number, inputs.images[start : start + IMAGES_PER_PART]) for number, start in enumerate(starts)]
    records = [_Part(number, (), file) for number, file in enumerate(inputs.record_files, start=len(images))]
    return images + records


def _run(parts: Sequence[_Part], predict: _PredictPart, beam_arguments: Sequence[str]) -> int:
    """Returns how many images and records were read."""
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_arguments)))
    _ = pipeline | "Parts" >> beam.Create(parts) | _STEP >> beam.ParDo(predict)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except RuntimeError as error:
        # Engines with remote workers raise the text of a traceback.
        found = re.search(rf"{ClientError.__name__}: (.+)", str(error))
        reason = found[1] if found else f"The Beam engine failed: {str(error).partition(os.linesep)[0]}"
        message = str(error) if isinstance(error, ClientError) else reason
        # The user does not know the steps of Beam.
        raise ClientError(message.removesuffix(f" [while running '{_STEP}']")) from error
    counters = result.metrics().query(MetricsFilter().with_namespace(_STEP).with_name(_NUM_READ))["counters"]
    return sum(counter.committed for counter in counters)


def _open_records(file: str) -> gzip.GzipFile | BinaryIO:
    with Path(file).open("rb") as stream:
        is_gzip = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return gzip.open(file) if is_gzip else Path(file).open("rb")


def _open_csv(file: Path, mode: Literal["r", "w"]) -> TextIO:
    # File names may not be UTF-8.
    return file.open(mode, newline="", encoding="utf-8", errors="surrogateescape")


def _row(result: Result, with_probabilities: bool) -> list[object]:
    answer, source = result.answer, _inert(result.item.source)
    if answer is None:
        return [source, result.item.index, "", "", "", _inert(result.error)]
    row = [source, result.item.index, _inert(answer.label), f"{answer.confidence:.6f}", answer.status, ""]
    return row + [f"{value:.6f}" for value in answer.probabilities] if with_probabilities else row


def _inert(text: str) -> str:
    """Returns text that no spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _probability_columns(folder: Path) -> tuple[str, ...]:
    """Returns the names of the columns of the probabilities, which the answers determine."""
    answered = {tuple(classes) for file in folder.glob(_CLASSES_PATTERN) for classes in json.loads(file.read_text())}
    if len(answered) > 1:
        raise ClientError(
            "The classes of the model changed between two requests, so the columns would not match; choose one version "
            "with --model-version, and try again."
        )
    return tuple(f"p_{name}" for classes in answered for name in classes)


def _merge(folder: Path, merged: Path, probability_columns: Sequence[str]) -> Summary:
    num_results = num_errors = 0
    with _open_csv(merged, "w") as target:
        writer = csv.writer(target, lineterminator="\n")
        columns = (*_COLUMNS, *probability_columns)
        writer.writerow(columns)
        for part in sorted(folder.glob(_PART_PATTERN)):
            with _open_csv(part, "r") as source:
                for row in csv.reader(source):
                    # A row with an error has no probabilities.
                    writer.writerow(row + [""] * (len(columns) - len(row)))
                    num_results += 1
                    num_errors += bool(row[_ERROR_COLUMN])
            part.unlink()
        target.flush()
        os.fsync(target.fileno())
    return Summary(num_results, num_errors)


@contextmanager
def _watched(folder: Path, on_progress: Callable[[int], None]) -> Iterator[None]:
    """Reports the number of rows in the parts, from another thread; any process may write them."""
    done = Event()
    thread = Thread(target=_watch, args=(folder, on_progress, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(folder: Path, on_progress: Callable[[int], None], done: Event) -> None:
    read_to: dict[Path, int] = {}
    num_rows = 0
    while not done.wait(_WATCH_SECONDS):
        for part in folder.glob(_PART_PATTERN):
            with part.open("rb") as stream:
                stream.seek(read_to.get(part, 0))
                for block in iter(lambda: stream.read(1 << 20), b""):
                    num_rows += block.count(b"\n")
                read_to[part] = stream.tell()
        on_progress(num_rows)
