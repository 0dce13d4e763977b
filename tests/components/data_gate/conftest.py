"""Outputs of StatisticsGen and ExampleValidator for a few real images."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from tfx.components.example_validator.executor import Executor as ExampleValidator
from tfx.types import Artifact
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

# isort: split
import pyarrow as pa
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList as Statistics
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from components.example_gen.summaries import summarize
from components.raw_examples import encode_png, serialize_examples

PROJECT_ROOT = Path(__file__).parents[3]
SIZES = {"train": 1500, "eval": 300, "test": 600}

Images = np.ndarray
Labels = np.ndarray
Splits = Mapping[str, tuple[Images, Labels]]
Describe = Callable[[Images, Labels], Statistics]
Columns = dict[str, pa.Array]
MakeInputs = Callable[[Mapping[str, Statistics]], dict[str, list[Artifact]]]


@pytest.fixture(scope="session")
def schema_text() -> str:
    return (PROJECT_ROOT / "data" / "schema.pbtxt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def schema(schema_text: str) -> schema_pb2.Schema:
    return text_format.Parse(schema_text, schema_pb2.Schema())


@pytest.fixture(scope="session")
def good_splits() -> Splits:
    """uint8[n,28,28] images and uint8[n] labels of each split, with the same number of each digit."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz", allow_pickle=False) as arrays:
        images, labels = arrays["x_train"], arrays["y_train"]
    of_digit = [np.flatnonzero(labels == digit) for digit in range(10)]
    splits, start = {}, 0
    for split, size in SIZES.items():
        chosen = np.concatenate([indices[start : start + size // 10] for indices in of_digit])
        splits[split], start = (images[chosen], labels[chosen]), start + size // 10
    return splits


def make_columns(images: Images, labels: Labels) -> Columns:
    """Returns the features of raw examples: images, labels, and summaries."""
    files = encode_png(images[..., np.newaxis])
    return {
        "image": pa.array(files),
        "label": pa.array([str(label).encode() for label in labels]),
        "encoded_size": pa.array([len(file) for file in files]),
        **summarize(images[..., np.newaxis], with_ink=True),
    }


@pytest.fixture(scope="session")
def describe_columns(schema: schema_pb2.Schema) -> Callable[[Columns], Statistics]:
    """Computes statistics like StatisticsGen."""

    def describe(columns: Columns) -> Statistics:
        frame = ExamplesToRecordBatchDecoder().DecodeBatch(serialize_examples(columns)).to_pandas()
        options = tfdv.StatsOptions(schema=schema, num_rank_histogram_buckets=1000)
        return tfdv.generate_statistics_from_dataframe(frame, options, n_jobs=1)

    return describe


@pytest.fixture(scope="session")
def describe(describe_columns: Callable[[Columns], Statistics]) -> Describe:
    """Computes statistics of valid images and labels."""
    return lambda images, labels: describe_columns(make_columns(images, labels))


@pytest.fixture(scope="session")
def good_statistics(good_splits: Splits, describe: Describe) -> dict[str, Statistics]:
    return {split: describe(*images_and_labels) for split, images_and_labels in good_splits.items()}


@pytest.fixture(scope="session")
def good_columns(good_splits: Splits) -> Columns:
    """The features of the raw examples of eval."""
    return make_columns(*good_splits["eval"])


@pytest.fixture
def make_inputs(tmp_path: Path, schema_text: str) -> MakeInputs:
    """Writes the inputs of DataGate, with the anomalies that ExampleValidator finds."""

    def make(statistics: Mapping[str, Statistics]) -> dict[str, list[Artifact]]:
        inputs: dict[str, Artifact] = {
            "statistics": ExampleStatistics(),
            "schema": Schema(),
            "anomalies": ExampleAnomalies(),
        }
        for key, artifact in inputs.items():
            artifact.uri = str(tmp_path / key)
        inputs["statistics"].split_names = '["train", "eval", "test"]'
        for split, of_split in statistics.items():
            file = tmp_path / "statistics" / f"Split-{split}" / "FeatureStats.pb"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(of_split.SerializeToString(deterministic=True))
        (tmp_path / "schema").mkdir(exist_ok=True)
        (tmp_path / "schema" / "schema.pbtxt").write_text(schema_text, encoding="utf-8")
        lists = {key: [artifact] for key, artifact in inputs.items()}
        ExampleValidator().Do(lists, {"anomalies": [inputs["anomalies"]]}, {})
        return lists

    return make


@pytest.fixture
def push(tmp_path: Path, schema_text: str) -> Callable[..., Path]:
    """Writes a version with the given train statistics and schema and returns its folder."""

    def push_version(number: int, statistics: Statistics | None, schema: str | None = schema_text) -> Path:
        version = tmp_path / "serving" / str(number)
        (version / "assets.extra").mkdir(parents=True)
        (version / "saved_model.pb").touch()
        if statistics is not None:
            content = statistics.SerializeToString(deterministic=True)
            (version / "assets.extra" / "train_statistics.pb").write_bytes(content)
        if schema is not None:
            (version / "assets.extra" / "schema.pbtxt").write_text(schema, encoding="utf-8")
        return version

    return push_version
