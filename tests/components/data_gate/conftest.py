"""Outputs of StatisticsGen and ExampleValidator for a few real images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tfx.components.example_validator.executor import Executor as ExampleValidator
from tfx.types import Artifact
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema

# isort: split
import pandas as pd
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList as Statistics

PROJECT_ROOT = Path(__file__).parents[3]
SIZES = {"train": 1500, "eval": 300, "test": 600}

Images = np.ndarray
Labels = np.ndarray
Splits = Mapping[str, tuple[Images, Labels]]
Describe = Callable[[Images, Labels], Statistics]
DescribeExamples = Callable[[Sequence[np.ndarray | None], Labels], Statistics]
MakeInputs = Callable[[Mapping[str, Statistics]], dict[str, list[Artifact]]]


@pytest.fixture(scope="session")
def schema() -> schema_pb2.Schema:
    return tfdv.load_schema_text(str(PROJECT_ROOT / "data" / "schema.pbtxt"))


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


@pytest.fixture(scope="session")
def describe_examples(schema: schema_pb2.Schema) -> DescribeExamples:
    """Computes statistics like StatisticsGen; an image is the value of its feature, or None."""

    def describe_features(images: Sequence[np.ndarray | None], labels: Labels) -> Statistics:
        frame = pd.DataFrame({"image": list(images), "label": labels.astype(np.int64)})
        return tfdv.generate_statistics_from_dataframe(frame, tfdv.StatsOptions(schema=schema), n_jobs=1)

    return describe_features


@pytest.fixture(scope="session")
def describe(describe_examples: DescribeExamples) -> Describe:
    """Computes statistics of valid images and labels."""

    def describe_images(images: Images, labels: Labels) -> Statistics:
        values = images.reshape(len(images), int(np.prod(images.shape[1:]))).astype(np.int64)
        return describe_examples(list(values), labels)

    return describe_images


@pytest.fixture(scope="session")
def good_statistics(good_splits: Splits, describe: Describe) -> dict[str, Statistics]:
    return {split: describe(*images_and_labels) for split, images_and_labels in good_splits.items()}


@pytest.fixture
def make_inputs(tmp_path: Path) -> MakeInputs:
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
        schema = (PROJECT_ROOT / "data" / "schema.pbtxt").read_text(encoding="utf-8")
        (tmp_path / "schema" / "schema.pbtxt").write_text(schema, encoding="utf-8")
        lists = {key: [artifact] for key, artifact in inputs.items()}
        ExampleValidator().Do(lists, {"anomalies": [inputs["anomalies"]]}, {})
        return lists

    return make


@pytest.fixture
def push(tmp_path: Path) -> Callable[[int, Statistics | None], Path]:
    """Writes a version with the given train statistics and returns its folder."""

    def push_version(number: int, statistics: Statistics | None) -> Path:
        version = tmp_path / "serving" / str(number)
        (version / "assets.extra").mkdir(parents=True)
        (version / "saved_model.pb").touch()
        if statistics is not None:
            content = statistics.SerializeToString(deterministic=True)
            (version / "assets.extra" / "train_statistics.pb").write_bytes(content)
        return version

    return push_version
