"""The checks, with executors that lose examples in place of TFX's; tests/e2e runs these steps."""

import logging
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatistics, DatasetFeatureStatisticsList
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, ExampleStatistics

from components import checked_steps
from components.checked_steps import StatisticsGenExecutor, TransformExecutor
from components.example_counts import LostExamplesError, write_counts
from components.progress import NUM_RECORDS_FIELD


def write(folder: Path, split: str, num_examples: int) -> None:
    (folder / f"Split-{split}").mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "a.gz"), "GZIP") as writer:
        for _ in range(num_examples):
            writer.write(b"example")


def artifact(kind: type[Artifact], folder: Path) -> Any:
    result = kind()
    result.uri, result.split_names = str(folder), '["train", "test"]'
    return result


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    for split, size in {"train": 3, "test": 2}.items():
        write(tmp_path / "examples", split, size)
    write_counts({"Split-train/a.gz": 3, "Split-test/a.gz": 2}, str(tmp_path / "examples"))
    return artifact(Examples, tmp_path / "examples")


LOST = "Split-test: 1 examples were read, but 2 were written"


def test_statistics_cover_all_examples(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="components")
    num_examples = {"train": 3, "test": 2}

    def count(self: object, inputs: Any, outputs: Any, properties: Any) -> None:
        for split, size in num_examples.items():
            file = tmp_path / "statistics" / f"Split-{split}" / "FeatureStats.pb"
            file.parent.mkdir(parents=True, exist_ok=True)
            dataset = DatasetFeatureStatistics(num_examples=size)
            file.write_bytes(DatasetFeatureStatisticsList(datasets=[dataset]).SerializeToString())

    monkeypatch.setattr(checked_steps.TfxStatisticsGenExecutor, "Do", count)
    outputs = {"statistics": [artifact(ExampleStatistics, tmp_path / "statistics")]}
    StatisticsGenExecutor().Do({"examples": [examples]}, outputs, {})
    assert [getattr(record, NUM_RECORDS_FIELD) for record in caplog.records] == [3, 2]
    num_examples["test"] = 1
    with pytest.raises(LostExamplesError, match=LOST):
        StatisticsGenExecutor().Do({"examples": [examples]}, outputs, {})


def test_transform_logs_the_examples_that_it_analyzes(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="components")
    monkeypatch.setattr(checked_steps.TfxTransformExecutor, "Do", lambda *_: None)
    TransformExecutor().Do({"examples": [examples]}, {}, {})
    assert [getattr(record, NUM_RECORDS_FIELD) for record in caplog.records] == [3]


@pytest.mark.parametrize("kind", [StatisticsGenExecutor, TransformExecutor])
def test_a_damaged_input_is_named(examples: Examples, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Not a valid TFRecord")

    monkeypatch.setattr(kind.__mro__[1], "Do", fail)
    Path(examples.uri, "Split-test", "a.gz").unlink()
    with pytest.raises(LostExamplesError, match=r"examples/Split-test/a\.gz: missing or damaged"):
        kind().Do({"examples": [examples]}, {}, {})
