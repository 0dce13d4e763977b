"""The rules of DataGate: converts statistics and anomalies of the data to findings."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import tfx.components  # noqa: F401 (TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.)

# isort: split
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies, AnomalyInfo, DriftSkewInfo
from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList, FeatureNameStatistics

from components.data_gate.limits import DataLimits
from components.data_gate.shares import at_least, share_findings
from components.features import BACKGROUND_SHARE_KEY, LABEL_KEY, SATURATED_SHARE_KEY, TRAIN_SPLIT
from components.verdict import Finding

_MAX_CLASSES = 10
"""Maximum number of classes that a reason lists."""

_MAX_DESCRIPTION = 300
"""Maximum number of characters of TFDV's descriptions, which list every unexpected label."""

_NO_ANOMALY = "no anomaly"
_NOT_MEASURED = "cannot be measured: one side has no values, or the types differ"

_MEASUREMENTS: Mapping[str, tuple[int, str]] = {
    "infinity_norm": (DriftSkewInfo.Measurement.L_INFTY, "L-infinity"),
    "jensen_shannon_divergence": (DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE, "Jensen-Shannon"),
    "normalized_abs_difference": (DriftSkewInfo.Measurement.NORMALIZED_ABSOLUTE_DIFFERENCE, "absolute difference"),
}
"""TFDV's measurements and their display names, by field of FeatureComparator in the schema."""


@dataclass(frozen=True)
class Baseline:
    """The last data that passed: the version trained on it, and the statistics of its train split."""

    version: int
    statistics: DatasetFeatureStatisticsList


def check_data(
    statistics: Mapping[str, DatasetFeatureStatisticsList],
    anomalies: Mapping[str, Anomalies],
    schema: Schema,
    classes: Sequence[str],
    limits: DataLimits,
    baseline: Baseline | str,
) -> list[Finding]:
    """Applies all rules to the splits of a data set; one cause is one refusal.

    Args:
        statistics: Statistics by split, train among them; see `check_split`.
        anomalies: Anomalies by split.
        schema: Schema of the examples; its comparators limit the distance from other data.
        classes: Names of the classes.
        limits: The limits.
        baseline: The last data that passed, or the reason why there is none.
    """
    findings: list[Finding] = []
    refused: dict[str, set[str | None]] = {}
    for split, of_split in statistics.items():
        found = check_split(split, of_split, anomalies[split], classes, limits)
        refused[split] = {finding.feature for finding in found if finding.feature and not finding.passed}
        findings += found
    train = statistics[TRAIN_SPLIT]
    for split, of_split in statistics.items():
        if split != TRAIN_SPLIT:
            findings += _without(refused[split] | refused[TRAIN_SPLIT], compare_split(split, of_split, train, schema))
    return findings + _without(refused[TRAIN_SPLIT], compare_with_baseline(train, baseline, schema))


def _without(features: Set[str | None], distances: Iterable[Finding]) -> list[Finding]:
    """Leaves out refusals of features that a rule of their own refuses, too: the cause is the same."""
    return [finding for finding in distances if finding.passed or finding.feature not in features]


def check_split(
    split: str,
    statistics: DatasetFeatureStatisticsList,
    anomalies: Anomalies,
    classes: Sequence[str],
    limits: DataLimits,
) -> list[Finding]:
    """Applies all rules for a split by itself.

    Args:
        split: Name of the split.
        statistics: Statistics by StatisticsGen with the schema, so that labels are counted.
        anomalies: Anomalies by ExampleValidator.
        classes: Names of the classes.
        limits: The limits.

    Returns:
        A finding for each rule, or several refusals if a rule is broken in several ways.
    """
    dataset = statistics.datasets[0]
    features = {".".join(feature.path.step): feature for feature in dataset.features}
    return [
        *_schema_findings(split, anomalies),
        at_least("examples", split, dataset.num_examples, limits, f"min_{split}_examples", "too few examples"),
        _class_finding(split, features.get(LABEL_KEY), classes, limits),
        *share_findings(
            split, _mean(features.get(BACKGROUND_SHARE_KEY)), _mean(features.get(SATURATED_SHARE_KEY)), limits
        ),
    ]


def compare_split(
    split: str, statistics: DatasetFeatureStatisticsList, train: DatasetFeatureStatisticsList, schema: Schema
) -> list[Finding]:
    """Measures the distance of a split from train with TFDV, a finding for each `skew_comparator` of the schema."""
    anomalies = tfdv.validate_statistics(train, schema, serving_statistics=statistics)
    reason = f"the distribution differs from {TRAIN_SPLIT}"
    return list(_distances("skew", split, anomalies, schema, reason))


def compare_with_baseline(
    train: DatasetFeatureStatisticsList, baseline: Baseline | str, schema: Schema
) -> list[Finding]:
    """Measures the distance of train from the last data that passed with TFDV.

    Args:
        train: Statistics of train.
        baseline: The last data that passed, or the reason why there is none.
        schema: Schema of the examples.

    Returns:
        A finding for each `drift_comparator` of the schema; without a baseline it passes, without a value. Also a
        refusal if the number of examples breaks the `num_examples_drift_comparator`, which TFDV does not measure.
    """
    if isinstance(baseline, str):
        unmeasured = _distances("drift", TRAIN_SPLIT, Anomalies(), schema, "")
        return [replace(finding, passed=True, reason=baseline) for finding in unmeasured]
    anomalies = tfdv.validate_statistics(train, schema, previous_statistics=baseline.statistics)
    reason = f"the distribution differs from that of version {baseline.version}, the last data that passed"
    findings = list(_distances("drift", TRAIN_SPLIT, anomalies, schema, reason))
    for cause in anomalies.dataset_anomaly_info.reason:
        # ExampleValidator finds these without earlier data.
        if cause.type not in (AnomalyInfo.DATASET_LOW_NUM_EXAMPLES, AnomalyInfo.DATASET_HIGH_NUM_EXAMPLES):
            reason = cause.description.rstrip(".")
            num_examples = train.datasets[0].num_examples
            findings.append(Finding("drift, number of examples", TRAIN_SPLIT, False, reason, value=num_examples))
    return findings


def _schema_findings(split: str, anomalies: Anomalies) -> list[Finding]:
    infos: list[tuple[str | None, AnomalyInfo]] = [
        (".".join(info.path.step) or name, info) for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        infos.append((None, anomalies.dataset_anomaly_info))
    refused = [
        Finding(
            "schema",
            split,
            passed=False,
            reason=textwrap.shorten(reason.description, _MAX_DESCRIPTION, placeholder=" …").rstrip("."),
            value=reason.short_description,
            expected=_NO_ANOMALY,
            feature=feature,
        )
        for feature, info in infos
        # Some anomalies have no reasons.
        for reason in info.reason or [info]
    ]
    return refused or [Finding("schema", split, passed=True, value=_NO_ANOMALY, expected=_NO_ANOMALY)]


def _class_finding(
    split: str, label: FeatureNameStatistics | None, classes: Sequence[str], limits: DataLimits
) -> Finding:
    limit = f"min_{split}_class_examples"
    buckets = label.string_stats.rank_histogram.buckets if label else []
    counts = dict.fromkeys(classes, 0) | {bucket.label: int(bucket.sample_count) for bucket in buckets}
    few = [f"{name} ({counts[name]})" for name in classes if counts[name] < getattr(limits, limit)]
    more = f" and {len(few) - _MAX_CLASSES} more" if len(few) > _MAX_CLASSES else ""
    reason = f"too few examples of class {', '.join(few[:_MAX_CLASSES])}{more}"
    rarest = min(counts[name] for name in classes)
    return at_least("examples of the rarest class", split, rarest, limits, limit, reason, LABEL_KEY)


def _mean(feature: FeatureNameStatistics | None) -> float | None:
    has_values = feature and feature.num_stats.common_stats.tot_num_values
    return feature.num_stats.mean if feature and has_values else None


def _distances(
    comparison: Literal["skew", "drift"], split: str, anomalies: Anomalies, schema: Schema, reason: str
) -> Iterator[Finding]:
    """Yields a finding for each comparator of the schema; what TFDV did not measure is refused."""
    measured = {
        (".".join(info.path.step), measurement.type): measurement.value
        for info in anomalies.drift_skew_info
        for measurement in getattr(info, f"{comparison}_measurements")
        if math.isfinite(measurement.value)
    }
    rule = "skew from train" if comparison == "skew" else "drift"
    for feature in schema.feature:
        for field, bound in getattr(feature, f"{comparison}_comparator").ListFields():
            measurement, name = _MEASUREMENTS[field.name]
            value = measured.get((feature.name, measurement))
            passed = value is not None and value <= bound.threshold
            refusal = reason if value is not None else _NOT_MEASURED
            yield Finding(
                f"{rule}, {name}",
                split,
                passed,
                "" if passed else refusal,
                value=value,
                upper_bound=bound.threshold,
                feature=feature.name,
            )
