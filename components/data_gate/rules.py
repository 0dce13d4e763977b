"""The rules that a split of the data is held to by itself: statistics and anomalies to findings."""

from collections.abc import Iterable, Iterator, Mapping

from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies, AnomalyInfo
from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    DatasetFeatureStatistics,
    DatasetFeatureStatisticsList,
    FeatureNameStatistics,
)

from components.data_gate.limits import DataLimits
from components.features import IMAGE_KEY, LABEL_KEY
from components.verdict import Finding

_SCHEMA_RULE = "schema"
_EXAMPLES_RULE = "examples"
_RAREST_CLASS_RULE = "examples of the rarest label"
_BACKGROUND_RULE = "share of zeros (background)"
_INK_RULE = "brightest pixel (ink)"

_NO_ANOMALY = "no anomaly"


def check_split(
    split: str, statistics: DatasetFeatureStatisticsList, anomalies: Anomalies, schema: Schema, limits: DataLimits
) -> list[Finding]:
    """Applies all rules that need nothing but the split.

    Args:
        split: Its name.
        statistics: What StatisticsGen computed of it, with the schema, so that labels were counted.
        anomalies: What ExampleValidator found in it.
        schema: The contract of the examples, from which the classes are taken.
        limits: The bounds.

    Returns:
        A finding per rule, and where a rule is broken in several ways, one for each.

    Raises:
        ValueError: The schema does not say which labels there are.
    """
    dataset = statistics.datasets[0]
    return [
        *_schema(split, anomalies),
        _examples(split, dataset, limits.min_examples(split)),
        *_class_examples(split, dataset, _labels(schema), limits.min_class_examples(split)),
        _background(split, dataset, limits.min_background),
        _ink(split, dataset, limits.min_ink),
    ]


def _class_rule(label: str) -> str:
    return f"examples of label {label}"


def _schema(split: str, anomalies: Anomalies) -> list[Finding]:
    refused = [
        Finding(
            _SCHEMA_RULE,
            split,
            passed=False,
            reason=reason.description.rstrip("."),
            value=reason.short_description,
            expected=_NO_ANOMALY,
            feature=feature,
        )
        for feature, reason in _anomaly_reasons(anomalies)
    ]
    return refused or [Finding(_SCHEMA_RULE, split, passed=True, value=_NO_ANOMALY, expected=_NO_ANOMALY)]


def _anomaly_reasons(anomalies: Anomalies) -> Iterator[tuple[str | None, AnomalyInfo.Reason]]:
    for name, info in sorted(anomalies.anomaly_info.items()):
        for reason in _reasons(info):
            yield ".".join(info.path.step) or name, reason
    if anomalies.HasField("dataset_anomaly_info"):
        for reason in _reasons(anomalies.dataset_anomaly_info):
            yield None, reason


def _reasons(info: AnomalyInfo) -> Iterable[AnomalyInfo.Reason]:
    # An anomaly is one, even if it gives no reasons.
    whole = AnomalyInfo.Reason(short_description=info.short_description, description=info.description)
    return info.reason or [whole]


def _examples(split: str, dataset: DatasetFeatureStatistics, least: int) -> Finding:
    passed = dataset.num_examples >= least
    reason = "" if passed else "too few examples"
    return Finding(_EXAMPLES_RULE, split, passed, reason, value=dataset.num_examples, lower_bound=least)


def _class_examples(split: str, dataset: DatasetFeatureStatistics, labels: list[str], least: int) -> list[Finding]:
    counts = {label: _label_counts(dataset).get(label, 0) for label in labels}
    refused = [
        Finding(
            _class_rule(label),
            split,
            passed=False,
            reason="too few examples of this label" if count else "no example of this label",
            value=count,
            lower_bound=least,
            feature=LABEL_KEY,
        )
        for label, count in counts.items()
        if count < least
    ]
    rarest = min(counts.values())
    passed = Finding(_RAREST_CLASS_RULE, split, passed=True, value=rarest, lower_bound=least, feature=LABEL_KEY)
    return refused or [passed]


def _background(split: str, dataset: DatasetFeatureStatistics, least: float) -> Finding:
    pixels = _features(dataset).get(IMAGE_KEY, FeatureNameStatistics()).num_stats
    num_pixels = pixels.common_stats.tot_num_values
    share = pixels.num_zeros / num_pixels if num_pixels else None
    reason = "0 is background: the images are inverted, or a constant was added to them"
    return _pixel_finding(_BACKGROUND_RULE, split, share, least, reason)


def _ink(split: str, dataset: DatasetFeatureStatistics, least: int) -> Finding:
    pixels = _features(dataset).get(IMAGE_KEY, FeatureNameStatistics()).num_stats
    brightest = pixels.max if pixels.common_stats.tot_num_values else None
    reason = "255 is ink: the images are blank or darkened, or their pixels are of another range"
    return _pixel_finding(_INK_RULE, split, brightest, least, reason)


def _pixel_finding(rule: str, split: str, value: float | None, least: float, reason: str) -> Finding:
    passed = value is not None and value >= least
    if value is None:
        reason = "there are no pixels"
    return Finding(rule, split, passed, "" if passed else reason, value=value, lower_bound=least, feature=IMAGE_KEY)


def _features(dataset: DatasetFeatureStatistics) -> Mapping[str, FeatureNameStatistics]:
    return {".".join(feature.path.step): feature for feature in dataset.features}


def _label_counts(dataset: DatasetFeatureStatistics) -> Mapping[str, int]:
    histogram = _features(dataset).get(LABEL_KEY, FeatureNameStatistics()).string_stats.rank_histogram
    return {bucket.label: int(bucket.sample_count) for bucket in histogram.buckets}


def _labels(schema: Schema) -> list[str]:
    domains = [feature.int_domain for feature in schema.feature if feature.name == LABEL_KEY]
    if not domains or not domains[0].is_categorical:
        raise ValueError(
            f"The schema does not say which labels there are: feature {LABEL_KEY!r} needs an int_domain with min, max "
            "and is_categorical: true, as in data/schema.pbtxt."
        )
    return [str(label) for label in range(domains[0].min, domains[0].max + 1)]
