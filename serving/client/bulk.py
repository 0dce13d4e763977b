"""Predicts any number of images or records through Beam, into one CSV file; imports Beam.

Own code and not TFX's BulkInferrer or the RunInference of tfx_bsl under it: that fails on an output of texts, one per
example, such as `status` ("'bytes' object has no attribute 'dtype'", tfx_bsl 1.21.0), and one wrong record ends it.

Each part of the inputs is read, predicted and written within one step, in batches: nothing but the names
of files is kept between steps, so memory hardly grows with the number of inputs, and the parts put together are in the
order of the inputs.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from serving.client.answers import Input, Result
from serving.client.batches import answer_inputs, read_inputs
from serving.client.client import Client
from serving.client.csv_rows import PART_PATTERN, count_results, header, watched, write_rows
from serving.client.errors import ClientError
from serving.client.inputs import Inputs
from serving.client.records import read_records

IMAGES_PER_PART = 1024
IMAGES_PER_BATCH = 32
RECORDS_PER_BATCH = 256

_NUM_READ = "num_read"
_NAMESPACE = "digits_predict"
_STEP = "Predict"


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        num_results: Rows, one for each image or record.
        num_errors: How many of them say why there is no answer.
    """

    num_results: int
    num_errors: int


@dataclass(frozen=True)
class _Part:
    """Some of the images, or one file of records.

    Attributes:
        number: Its place in the order of all.
        images: Paths; empty for records.
        record_file: Path; empty for images.
    """

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
    """Predicts all inputs into one file, which is there when it is complete, and not before.

    Args:
        inputs: What to predict; images come first.
        output: CSV file to write; one that is there is replaced. Columns: source, index, digit, confidence, status,
            error, and, if wanted, p0 to p9.
        open_client: Makes a client; each worker of Beam calls it once, so it has to be picklable.
        with_probabilities: Whether all ten probabilities are written.
        beam_arguments: Options of the Beam pipeline.
        on_progress: Called now and then with the number of rows written so far, from another thread.

    Raises:
        ClientError: The model cannot be asked, a file of records is damaged, or the answers cannot be written.
        OSError: No file can be made there.
    """
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as folder:
        with watched(Path(folder), on_progress):
            num_read = _run(_parts(inputs), folder, open_client, with_probabilities, beam_arguments)
        merged = Path(folder, output.name)
        _merge(sorted(Path(folder).glob(PART_PATTERN)), merged, with_probabilities)
        num_results, num_errors = count_results(merged)
        if num_results != num_read:
            raise ClientError(
                f"{num_read} images or records were read, but {num_results} rows written; {output} is left as it was. "
                "Look for a full disk or a second command that writes there, and try again."
            )
        merged.replace(output)
    on_progress(num_results)
    return Summary(num_results, num_errors)


class _PredictPart(beam.DoFn):
    """Reads, predicts and writes one part; Beam calls it."""

    def __init__(self, folder: str, open_client: Callable[[], Client], with_probabilities: bool) -> None:
        self._folder = folder
        self._open_client = open_client
        self._with_probabilities = with_probabilities
        self._num_read = Metrics.counter(_NAMESPACE, _NUM_READ)

    def setup(self) -> None:
        self._client = self._open_client()

    def process(self, part: _Part) -> None:
        file = Path(self._folder, PART_PATTERN.replace("*", f"{part.number:08}"))
        try:
            write_rows(self._results(part), file, with_probabilities=self._with_probabilities)
        except OSError as error:
            raise ClientError(f"{self._folder}: {error.strerror}; check the disk, and try again.") from error

    def teardown(self) -> None:
        self._client.close()

    def _results(self, part: _Part) -> Iterator[Result]:
        if part.record_file:
            records = self._counted(read_records(part.record_file))
            return answer_inputs(records, self._client.predict_examples, RECORDS_PER_BATCH)
        return answer_inputs(self._counted(read_inputs(part.images)), self._client.predict, IMAGES_PER_BATCH)

    def _counted(self, inputs: Iterator[Input]) -> Iterator[Input]:
        for item in inputs:
            self._num_read.inc()
            yield item


def _parts(inputs: Inputs) -> list[_Part]:
    starts = range(0, len(inputs.images), IMAGES_PER_PART)
    images = [_Part(number, inputs.images[start : start + IMAGES_PER_PART]) for number, start in enumerate(starts)]
    records = [_Part(number, (), file) for number, file in enumerate(inputs.record_files, start=len(images))]
    return images + records


def _run(
    parts: Sequence[_Part],
    folder: str,
    open_client: Callable[[], Client],
    with_probabilities: bool,
    beam_arguments: Sequence[str],
) -> int:
    """Returns how many images and records were read."""
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_arguments)))
    predict = _PredictPart(folder, open_client, with_probabilities)
    _ = pipeline | "Parts" >> beam.Create(parts) | _STEP >> beam.ParDo(predict)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except ClientError as error:
        raise ClientError(_without_step(str(error))) from error
    except RuntimeError as error:
        # From engines with workers elsewhere comes the text of a traceback.
        told = re.search(rf"{ClientError.__name__}: (.+)", str(error))
        reason = told[1] if told else f"The Beam engine failed: {str(error).partition(os.linesep)[0]}"
        raise ClientError(_without_step(reason)) from error
    counters = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE).with_name(_NUM_READ))["counters"]
    return sum(counter.committed for counter in counters)


def _without_step(message: str) -> str:
    # Beam says which of its steps it was, which is of no use to the person who reads it.
    return message.removesuffix(f" [while running '{_STEP}']")


def _merge(parts: Sequence[Path], merged: Path, with_probabilities: bool) -> None:
    with merged.open("wb") as target:
        target.write(header(with_probabilities).encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
            part.unlink()
        target.flush()
        os.fsync(target.fileno())
