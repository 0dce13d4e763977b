"""How far data is from other data: TFDV's comparators in the schema, measured by TFDV, as findings."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import tfx.components  # noqa: F401 (TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.)

# isort: split
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies, AnomalyInfo, DriftSkewInfo
from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.data_gate.baseline_statistics import BaselineStatistics, NoBaseline
from components.features import TRAIN_SPLIT
from components.verdict import Finding

_NOT_MEASURED = "cannot be measured: one side has no values, or they are of another type"

_EXAMPLES_RULE = "drift, number of examples"

_Comparison = Literal["skew", "drift"]

_MEASUREMENTS: Mapping[str, tuple[int, str]] = {
    "infinity_norm": (DriftSkewInfo.Measurement.L_INFTY, "L-infinity"),
    "jensen_shannon_divergence": (DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE, "Jensen-Shannon"),
    "normalized_abs_difference": (DriftSkewInfo.Measurement.NORMALIZED_ABSOLUTE_DIFFERENCE, "absolute difference"),
}
"""Fields of FeatureComparator in the schema, what TFDV calls their measurements, and what people do."""


@dataclass(frozen=True)
class _Comparator:
    feature: str
    measurement: int
    name: str
    threshold: float


def compare_split(
    split: str, statistics: DatasetFeatureStatisticsList, train: DatasetFeatureStatisticsList, schema: Schema
) -> list[Finding]:
    """Measures how far a split is from train, by the `skew_comparator`s of the schema.

    Args:
        split: Its name.
        statistics: Its statistics.
        train: Those of train.
        schema: The contract of the examples.

    Returns:
        A finding per comparator.
    """
    anomalies = tfdv.validate_statistics(train, schema, serving_statistics=statistics)
    reason = f"the distribution in {split} is not that of {TRAIN_SPLIT}"
    return _findings("skew", split, anomalies, schema, reason)


def compare_with_baseline(
    train: DatasetFeatureStatisticsList, baseline: BaselineStatistics | NoBaseline, schema: Schema
) -> list[Finding]:
    """Measures how far train is from the last data that passed, by the drift comparators of the schema.

    Args:
        train: Statistics of train.
        baseline: The last data that passed, or why there is none.
        schema: The contract of the examples.

    Returns:
        A finding per `drift_comparator`; without a baseline they pass, without a value. If the number of examples is
        not within a `num_examples_drift_comparator`, a refused one for that: TFDV does not say what it measured.
    """
    if isinstance(baseline, NoBaseline):
        return [
            _finding("drift", TRAIN_SPLIT, comparator, None, passed=True, reason=baseline.value)
            for comparator in _comparators("drift", schema)
        ]
    anomalies = tfdv.validate_statistics(train, schema, previous_statistics=baseline.statistics)
    reason = f"the distribution is not that of the data of version {baseline.version}, the last that passed"
    return [*_findings("drift", TRAIN_SPLIT, anomalies, schema, reason), *_examples_findings(train, anomalies)]


def _examples_findings(train: DatasetFeatureStatisticsList, anomalies: Anomalies) -> Iterator[Finding]:
    for reason in anomalies.dataset_anomaly_info.reason:
        # These need no earlier data: ExampleValidator has found them already.
        if reason.type not in (AnomalyInfo.DATASET_LOW_NUM_EXAMPLES, AnomalyInfo.DATASET_HIGH_NUM_EXAMPLES):
            yield Finding(
                _EXAMPLES_RULE,
                TRAIN_SPLIT,
                passed=False,
                reason=reason.description.rstrip("."),
                value=train.datasets[0].num_examples,
            )


def _findings(comparison: _Comparison, split: str, anomalies: Anomalies, schema: Schema, reason: str) -> list[Finding]:
    measured = _measured(comparison, anomalies)
    findings = []
    for comparator in _comparators(comparison, schema):
        value = measured.get((comparator.feature, comparator.measurement))
        passed = value is not None and value <= comparator.threshold
        refusal = reason if value is not None else _NOT_MEASURED
        findings.append(_finding(comparison, split, comparator, value, passed, "" if passed else refusal))
    return findings


def _finding(
    comparison: _Comparison, split: str, comparator: _Comparator, value: float | None, passed: bool, reason: str
) -> Finding:
    return Finding(
        f"{'skew from train' if comparison == 'skew' else 'drift'}, {comparator.name}",
        split,
        passed,
        reason,
        value=value,
        upper_bound=comparator.threshold,
        feature=comparator.feature,
    )


def _comparators(comparison: _Comparison, schema: Schema) -> Iterator[_Comparator]:
    for feature in schema.feature:
        for field, bound in getattr(feature, f"{comparison}_comparator").ListFields():
            measurement, name = _MEASUREMENTS[field.name]
            yield _Comparator(feature.name, measurement, name, bound.threshold)


def _measured(comparison: _Comparison, anomalies: Anomalies) -> dict[tuple[str, int], float]:
    return {
        (".".join(info.path.step), measurement.type): measurement.value
        for info in anomalies.drift_skew_info
        for measurement in getattr(info, f"{comparison}_measurements")
        if math.isfinite(measurement.value)
    }
