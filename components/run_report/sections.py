"""Makes the sections of a report from what steps have written, without reading or writing files."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    DatasetFeatureStatisticsList,
    FeatureNameStatistics,
)
from tensorflow_metadata.proto.v0.statistics_pb2 import Histogram as HistogramProto

from components.evaluator.bounds import ACCURACY, EXPECTED_CALIBRATION_ERROR, RECALL, Key, Measurement
from components.evaluator.metrics import NUM_BINS, calibration_bins
from components.features import BACKGROUND_SHARE_KEY, LABEL_KEY, SATURATED_SHARE_KEY
from components.run_report.report import (
    CalibrationBin,
    ClassResult,
    Epoch,
    Evaluation,
    FeatureStatistics,
    Gate,
    Histogram,
    Latency,
    Mistake,
    Requirement,
)
from components.serving_check.check import MEDIAN_LATENCY, TAIL_LATENCY
from components.verdict import Verdict

MAX_MISTAKES = 60
MAX_REASONS = 5
"""Per gate; the report also has all its requirements."""

_DRAWN_PREFIXES = ("brightness_", "ink_")
_DRAWN_FEATURES = (BACKGROUND_SHARE_KEY, SATURATED_SHARE_KEY)

Measured = Mapping[Key, Measurement]
SplitStatistics = Mapping[str, DatasetFeatureStatisticsList]


def count_classes(statistics: SplitStatistics, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the number of images by split and class."""
    counts = {}
    for split, name, feature in _features(statistics):
        if name == LABEL_KEY:
            found = {bucket.label: int(bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets}
            counts[split] = {each: found.get(each, 0) for each in classes}
    return counts


def list_histograms(statistics: SplitStatistics) -> tuple[Histogram, ...]:
    """Returns the distributions of brightness and ink, with buckets of equal width."""
    return tuple(
        Histogram(
            feature=name,
            split=split,
            edges=(*(bucket.low_value for bucket in histogram.buckets), histogram.buckets[-1].high_value),
            counts=tuple(bucket.sample_count for bucket in histogram.buckets),
        )
        for split, name, feature in _features(statistics)
        if name.startswith(_DRAWN_PREFIXES) or name in _DRAWN_FEATURES
        for histogram in feature.num_stats.histograms
        if histogram.type == HistogramProto.STANDARD and histogram.buckets
    )


def list_statistics(statistics: SplitStatistics) -> tuple[FeatureStatistics, ...]:
    """Returns TFDV's statistics of the numeric features."""
    return tuple(
        FeatureStatistics(
            feature=name,
            split=split,
            count=feature.num_stats.common_stats.num_non_missing,
            missing=feature.num_stats.common_stats.num_missing,
            mean=feature.num_stats.mean,
            deviation=feature.num_stats.std_dev,
            lowest=feature.num_stats.min,
            median=feature.num_stats.median,
            highest=feature.num_stats.max,
        )
        for split, name, feature in _features(statistics)
        if feature.HasField("num_stats")
    )


def describe_anomalies(anomalies: Mapping[str, Anomalies]) -> dict[str, str]:
    """Returns TFDV's descriptions, by feature; an empty name stands for the whole data set."""
    splits: dict[tuple[str, str], list[str]] = {}
    for split, found in anomalies.items():
        infos = [(".".join(info.path.step) or name, info) for name, info in sorted(found.anomaly_info.items())]
        if found.HasField("dataset_anomaly_info"):
            infos.append(("", found.dataset_anomaly_info))
        for feature, info in infos:
            splits.setdefault((feature, info.description), []).append(split)
    described: dict[str, str] = {}
    for (feature, description), where in splits.items():
        text = f"{', '.join(where)}: {description}"
        described[feature] = f"{described[feature]} {text}" if feature in described else text
    return described


def list_epochs(train: Mapping[str, Sequence[float]], validation: Mapping[str, Sequence[float]]) -> tuple[Epoch, ...]:
    """Returns the results of each epoch from Keras's scalars `epoch_loss` and `epoch_accuracy`, in order."""
    scalars = [each.get(tag, ()) for each in (train, validation) for tag in ("epoch_loss", "epoch_accuracy")]
    return tuple(
        Epoch(loss=loss, accuracy=accuracy, eval_loss=eval_loss, eval_accuracy=eval_accuracy)
        # A run that was stopped may have trained an epoch without evaluating it.
        for loss, accuracy, eval_loss, eval_accuracy in zip(*scalars, strict=False)
    )


def describe_evaluation(
    measured: Measured, classes: Sequence[str], predictions: pa.Table | None, pictures: Mapping[int, str]
) -> Evaluation:
    """Describes the results on the test split.

    Args:
        measured: The metrics of Evaluator.
        classes: Names of the classes.
        predictions: Every prediction of Evaluator, see `components.evaluator.prediction_files`; None if there are none.
        pictures: PNGs in base64 of the images of `worst_mistakes`, by image ID.
    """
    overall = _result("all", measured, Key(ACCURACY))
    if overall is None:
        raise ValueError("the evaluation has no accuracy")
    worst = [] if predictions is None else worst_mistakes(predictions)
    return Evaluation(
        overall=overall,
        classes=tuple(
            _result(name, measured, Key(RECALL, class_id=number)) or _no_result(name)
            for number, name in enumerate(classes)
        ),
        confusion=() if predictions is None else _confusion(predictions, classes),
        calibration=() if predictions is None else _calibration(predictions),
        calibration_error=measured[Key(EXPECTED_CALIBRATION_ERROR)].value,
        num_mistakes=round(overall.images * (1 - overall.accuracy)),
        mistakes=tuple(
            Mistake(
                image=pictures[row["image_id"]],
                label=row["label"],
                prediction=row["prediction"],
                confidence=row["confidence"],
            )
            for row in worst
            if row["image_id"] in pictures
        ),
    )


def worst_mistakes(predictions: pa.Table) -> list[dict[str, Any]]:
    """Returns the rows of the most confident wrong predictions, the most confident ones first."""
    wrong = predictions.filter(pa.array(np.not_equal(*_labels_and_predictions(predictions))))
    order = [("confidence", "descending"), ("image_id", "ascending")]
    rows: list[dict[str, Any]] = wrong.sort_by(order).slice(0, MAX_MISTAKES).to_pylist()
    return rows


def describe_robustness(measured: Measured) -> tuple[ClassResult, ...]:
    """Returns the accuracy under each corruption, from the metrics of RobustnessEvaluator."""
    names = sorted({key.slice for key in measured if key.slice})
    results = (_result(name, measured, Key(ACCURACY, slice=name)) for name in names)
    return tuple(result for result in results if result)


def describe_gate(verdict: Verdict) -> Gate:
    """Returns the decision of a gate with all its findings."""
    return Gate(
        name=verdict.gate,
        passed=verdict.passed,
        enforced=verdict.enforced,
        accepted=verdict.accepted,
        advice=verdict.advice,
        requirements=tuple(
            Requirement(
                metric=finding.metric,
                slice=finding.slice,
                feature=finding.feature,
                value=finding.value,
                interval=finding.interval,
                bound=finding.bound,
                baseline=finding.baseline,
                passed=finding.passed,
                reason=finding.reason,
                setting=finding.setting,
            )
            for finding in verdict.findings
        ),
    )


def list_refusals(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """Returns why gates refused: a sentence for each of the first requirements that were not met."""
    sentences = []
    for verdict in verdicts:
        refusals = () if verdict.passed else verdict.refusals
        for finding in refusals[:MAX_REASONS]:
            cells = finding.cells()
            where = ", ".join(filter(None, (cells["feature"], cells["slice"])))
            value = cells["value"] and f" is {cells['value']}"
            bound = cells["bound"] and f", expected {cells['bound']}"
            sentences.append(f"{verdict.gate}: {finding.metric} ({where}){value}{bound}: {finding.reason}.")
        if len(refusals) > MAX_REASONS:
            sentences.append(f"{verdict.gate}: {len(refusals) - MAX_REASONS} more requirements are not met.")
    return tuple(sentences)


def list_latencies(verdict: Verdict) -> tuple[Latency, ...]:
    """Returns the latencies in the verdict of ServingCheck."""
    measured: dict[str, dict[str, float]] = {}
    for finding in verdict.findings:
        if finding.metric in (MEDIAN_LATENCY, TAIL_LATENCY) and isinstance(finding.value, float):
            measured.setdefault(finding.slice, {})[finding.metric] = finding.value
    return tuple(
        Latency(signature=signature, median=values.get(MEDIAN_LATENCY), p99=values.get(TAIL_LATENCY))
        for signature, values in measured.items()
    )


def _features(statistics: SplitStatistics) -> Iterator[tuple[str, str, FeatureNameStatistics]]:
    for split, of_split in statistics.items():
        for feature in of_split.datasets[0].features:
            yield split, ".".join(feature.path.step), feature


def _result(name: str, measured: Measured, key: Key) -> ClassResult | None:
    candidate = measured.get(key)
    if candidate is None or candidate.num_images is None or not math.isfinite(candidate.value):
        return None
    baseline, change = measured.get(replace(key, kind="baseline")), measured.get(replace(key, kind="change"))
    return ClassResult(
        name=name,
        images=candidate.num_images,
        accuracy=candidate.value,
        interval=candidate.interval,
        baseline=baseline.value if baseline else None,
        change=change.value if change else None,
        change_interval=change.interval if change else None,
    )


def _no_result(name: str) -> ClassResult:
    """Returns the result of a class without images, whose accuracy is not a number."""
    return ClassResult(name=name, images=0, accuracy=0.0, interval=(0.0, 1.0))


def _labels_and_predictions(predictions: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    labels, predicted = (predictions[column].to_numpy() for column in ("label", "prediction"))
    return labels, predicted


def _confusion(predictions: pa.Table, classes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    index = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes) + 1), int)
    for label, predicted in zip(*_labels_and_predictions(predictions), strict=True):
        if label in index:
            counts[index[label], index.get(predicted, len(classes))] += 1
    return tuple(map(tuple, counts.tolist()))


def _calibration(predictions: pa.Table) -> tuple[CalibrationBin, ...]:
    confidence = predictions["confidence"].to_numpy().astype(np.float64)
    is_right = np.equal(*_labels_and_predictions(predictions))
    bins = calibration_bins(confidence)
    return tuple(
        CalibrationBin(
            lower=number / NUM_BINS,
            upper=(number + 1) / NUM_BINS,
            images=int(in_bin.sum()),
            confidence=float(confidence[in_bin].mean()),
            accuracy=float(is_right[in_bin].mean()),
        )
        for number in range(NUM_BINS)
        if (in_bin := bins == number).any()
    )
