"""The artifacts of a small run, written without the code of the pipeline's steps: three classes, twelve test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList, FeatureNameStatistics, Histogram
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice
from tfx.types import Artifact
from tfx.types.artifact_utils import encode_split_names

from components.evaluator.prediction_files import SCHEMA, image_id
from components.features import Contract
from components.run_report.collection import INPUTS
from components.verdict import Finding, Verdict, write_verdict
from tests.support.examples import make_examples, png, schema_text, serialize

CONTRACT = Contract(("A", "b", "ß c"), 12, 12, 1)
SPLITS = {"train": 30, "eval": 6, "test": 12}
PREDICTIONS = [
    # Label, prediction, confidence; the images are those of `encoded_image` in this order.
    *(("A", "A", 0.99), ("A", "A", 0.9), ("A", "A", 0.8), ("A", "b", 0.7)),
    *(("b", "b", 0.99), ("b", "ß c", 0.95), ("b", "b", 1.0), ("b", "b", 0.6)),
    *(("ß c", "ß c", 0.5), ("ß c", "ß c", 0.99), ("ß c", "A", 0.7), ("ß c", "", 0.34)),
]
"""Two thirds are right."""


def encoded_image(number: int) -> bytes:
    """Returns an image of the test split; each is different."""
    return png(np.full((12, 12), 20 * number, np.uint8))


def verdict(gate: str, *findings: Finding) -> Verdict:
    """Returns the verdict of a gate."""
    return Verdict(gate, findings, advice=f"Advice of {gate}.")


VERDICTS = {
    "data_verdict": verdict("DataGate", Finding("examples", "train", True, value=30.0, lower_bound=10.0)),
    "evaluation_verdict": verdict(
        "Evaluator",
        Finding("accuracy", "all", True, value=8 / 12, interval=(0.4, 0.9), lower_bound=0.3, setting="evaluation.x"),
    ),
    "robustness_verdict": verdict("RobustnessEvaluator", Finding("accuracy", "fog", True, value=0.5, lower_bound=0.1)),
    "serving_verdict": verdict(
        "ServingCheck",
        Finding("median latency, ms", "pixels", True, value=1.5),
        Finding("p99 latency, ms", "pixels", True, value=2.5, upper_bound=250.0),
        Finding("median latency, ms", "examples", True, value=1.0),
        Finding("single image", "pixels", True, value=0.0, upper_bound=0.1),
    ),
}


def make_artifacts(folder: Path) -> dict[str, Artifact]:
    """Writes every artifact of a run that has pushed version 17 and was compared with version 16."""
    artifacts = {key: _artifact(folder / key, key) for key in INPUTS}
    (folder / "schema" / "schema.pbtxt").write_text(schema_text(CONTRACT), encoding="utf-8")
    images = {
        "train": [png(np.full((12, 12), n, np.uint8)) for n in range(30)],
        "test": list(map(encoded_image, range(12))),
    }
    labels = {"train": [CONTRACT.classes[n % 3] for n in range(30)], "test": [row[0] for row in PREDICTIONS]}
    records = {
        split: [
            serialize(image=image, label=label.encode())
            for image, label in zip(images[split], labels[split], strict=True)
        ]
        for split in images
    }
    examples = make_examples(
        folder / "examples",
        CONTRACT,
        {"train": [records["train"][:20], records["train"][20:]], "eval": [[]], "test": [records["test"]]},
    )
    examples.span = 4
    examples.set_string_custom_property("uri", "data/mnist.npz")
    examples.set_string_custom_property("fingerprint", "abc")
    artifacts["examples"] = examples
    for split, size in SPLITS.items():
        _write(folder / "statistics" / f"Split-{split}" / "FeatureStats.pb", make_statistics(size))
        _write(folder / "anomalies" / f"Split-{split}" / "SchemaDiff.pb", make_anomalies(split))
    write_scalars(folder / "model_run" / "train", {"epoch_loss": [1.0, 0.5], "epoch_accuracy": [0.6, 0.8]})
    write_scalars(folder / "model_run" / "validation", {"epoch_loss": [0.9, 0.4], "epoch_accuracy": [0.7, 0.9]})
    write_scalars(folder / "model_run", {"temperature": [1.25], "parameters": [1234.0]})
    artifacts["baseline_model"].set_string_custom_property("version", "16")
    write_evaluation(folder / "evaluation")
    _write_metrics(folder / "robustness_evaluation", [_slice("fog", 0.5, 0.4), _slice("blur", 0.75, 0.8)])
    for key, each in VERDICTS.items():
        write_verdict(each, folder / key)
    artifacts["pushed_model"].set_int_custom_property("pushed", 1)
    artifacts["pushed_model"].set_string_custom_property("pushed_version", "17")
    return artifacts


def predictions_table() -> pa.Table:
    """Returns `PREDICTIONS` as Evaluator writes them."""
    columns: dict[str, Any] = dict(
        zip(("label", "prediction", "confidence"), zip(*PREDICTIONS, strict=True), strict=True)
    )
    columns["image_id"] = [image_id(encoded_image(number)) for number in range(len(PREDICTIONS))]
    nothing = [None] * len(PREDICTIONS)
    return pa.table([pa.array(columns.get(field.name, nothing), field.type) for field in SCHEMA], schema=SCHEMA)


def write_evaluation(folder: Path) -> None:
    """Writes the metrics and the predictions of Evaluator."""
    metrics = MetricsForSlice()
    _add(metrics, "accuracy", 8 / 12, (0.4, 0.9))
    _add(metrics, "accuracy", 0.5, (0.2, 0.8), model="baseline")
    _add(metrics, "accuracy", 8 / 12 - 0.5, (-0.1, 0.4), is_diff=True)
    for name, value in {"gained": 4.0, "lost": 2.0}.items():
        _add(metrics, name, value, is_diff=True)
    _add(metrics, "example_count", 12.0)
    _add(metrics, "expected_calibration_error", 0.2, (0.1, 0.3))
    for number, recall in enumerate((3 / 4, 3 / 4, 2 / 4)):
        _add(metrics, "recall", recall, (recall - 0.2, recall + 0.2), class_id=number)
        _add(metrics, "num_labeled", 4.0, class_id=number)
    _write_metrics(folder, [metrics])
    pq.write_table(predictions_table(), folder / "predictions-00000-of-00001.parquet")


def write_scalars(folder: Path, scalars: Mapping[str, list[float]]) -> None:
    """Writes TensorBoard logs."""
    with tf.summary.create_file_writer(str(folder)).as_default():
        for tag, values in scalars.items():
            for step, value in enumerate(values):
                tf.summary.scalar(tag, value, step=step)


def _artifact(folder: Path, key: str) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    artifact = INPUTS[key].type()
    artifact.uri = str(folder)
    if key in ("statistics", "anomalies"):
        artifact.split_names = encode_split_names(list(SPLITS))
    # Without a version, TFX assumes an old layout of the files.
    artifact.set_string_custom_property("tfx_version", "1.21.0")
    return artifact


def make_statistics(size: int) -> DatasetFeatureStatisticsList:
    """Returns the statistics of a split with as many images of each class."""
    statistics = DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=size)
    label = dataset.features.add(type=FeatureNameStatistics.STRING)
    label.path.step.append("label")
    for name in CONTRACT.classes:
        label.string_stats.rank_histogram.buckets.add(label=name, sample_count=size / 3)
    for name in ("brightness_mean", "height"):
        feature = dataset.features.add(type=FeatureNameStatistics.FLOAT)
        feature.path.step.append(name)
        stats = feature.num_stats
        stats.common_stats.num_non_missing, stats.common_stats.num_missing = size - 1, 1
        stats.mean, stats.std_dev, stats.min, stats.median, stats.max = 30.0, 5.0, 10.0, 29.0, 50.0
        for kind in (Histogram.STANDARD, Histogram.QUANTILES):
            histogram = stats.histograms.add(type=kind)
            histogram.buckets.add(low_value=10, high_value=30, sample_count=size - 3)
            histogram.buckets.add(low_value=30, high_value=50, sample_count=2)
    return statistics


def make_anomalies(split: str) -> Anomalies:
    """Returns the anomalies of a split: one of train and test, and another one of test."""
    anomalies = Anomalies()
    if split != "eval":
        anomalies.anomaly_info["label"].description = "Unexpected string values."
        anomalies.anomaly_info["label"].path.step.append("label")
    if split == "test":
        anomalies.dataset_anomaly_info.description = "Low num examples."
    return anomalies


def _slice(name: str, accuracy: float, baseline: float) -> MetricsForSlice:
    metrics = MetricsForSlice()
    metrics.slice_key.single_slice_keys.add(column="corruption", bytes_value=name.encode())
    _add(metrics, "accuracy", accuracy, (accuracy - 0.1, accuracy + 0.1))
    _add(metrics, "accuracy", baseline, (baseline - 0.1, baseline + 0.1), model="baseline")
    _add(metrics, "accuracy", accuracy - baseline, (-0.2, 0.2), is_diff=True)
    for key, value in {"gained": 1.0, "lost": 1.0}.items():
        _add(metrics, key, value, is_diff=True)
    _add(metrics, "example_count", 12.0)
    return metrics


def _add(
    metrics: MetricsForSlice,
    name: str,
    value: float,
    interval: tuple[float, float] | None = None,
    *,
    model: str = "candidate",
    class_id: int | None = None,
    is_diff: bool = False,
) -> None:
    pair = metrics.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name, pair.key.is_diff, pair.value.double_value.value = name, model, is_diff, value
    if class_id is not None:
        pair.key.sub_key.class_id.value = class_id
    if interval:
        pair.confidence_interval.lower_bound.double_value.value = interval[0]
        pair.confidence_interval.upper_bound.double_value.value = interval[1]


def _write_metrics(folder: Path, metrics: list[MetricsForSlice]) -> None:
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as writer:
        for each in metrics:
            writer.write(each.SerializeToString())


def _write(file: Path, message: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(message.SerializeToString())
