from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
import tfx.components  # noqa: F401 (before TFDV)

# isort: split
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.data_gate.limits import DataLimits
from components.data_gate.rules import Baseline, check_split, compare_split, compare_with_baseline
from components.verdict import Finding

CLASSES = tuple("0123456789")
IMAGE_FEATURES = {"brightness_deviation", "background_share", "ink_center_y", "ink_center_x"}
"""Features with comparators, besides `label`."""

ANOMALIES = """
    anomaly_info {
      key: "image"
      value {
        path { step: "image" }
        reason { type: FEATURE_TYPE_LOW_FRACTION_PRESENT short_description: "Column dropped" description: "One." }
        reason { type: INVALID_FEATURE_SHAPE short_description: "Feature shape dropped" description: "Two." }
      }
    }
    anomaly_info {
      key: "more"
      value { reason { type: SCHEMA_NEW_COLUMN short_description: "New column" description: "Three" } }
    }
    anomaly_info {
      key: "none"
      value { path { step: "none" } short_description: "No reasons" description: "Five." }
    }
    dataset_anomaly_info {
      reason { type: DATASET_LOW_NUM_EXAMPLES short_description: "Low num examples" description: "Four." }
    }
"""


def without(feature: str, statistics: DatasetFeatureStatisticsList) -> DatasetFeatureStatisticsList:
    kept = DatasetFeatureStatisticsList()
    kept.CopyFrom(statistics)
    features = kept.datasets[0].features
    del features[[one.path.step[0] for one in features].index(feature)]
    return kept


@pytest.fixture
def check(good_statistics: Any) -> Any:
    def check_eval(
        statistics: DatasetFeatureStatisticsList = good_statistics["eval"],
        anomalies: Anomalies = Anomalies(),  # noqa: B008 (never changed)
        classes: Sequence[str] = CLASSES,
        **limits: Any,
    ) -> list[Finding]:
        return check_split("eval", statistics, anomalies, classes, DataLimits.model_validate(limits))

    return check_eval


def test_each_reason_of_an_anomaly_is_a_finding(check: Any) -> None:
    findings = check(anomalies=text_format.Parse(ANOMALIES, Anomalies()))
    refused = [finding for finding in findings if not finding.passed]
    assert [(finding.feature, finding.value, finding.reason) for finding in refused] == [
        ("image", "Column dropped", "One"),
        ("image", "Feature shape dropped", "Two"),
        ("more", "New column", "Three"),
        ("none", "No reasons", "Five"),
        (None, "Low num examples", "Four"),
    ]
    assert {(finding.metric, finding.bound, finding.slice) for finding in refused} == {("schema", "no anomaly", "eval")}


def test_an_anomaly_of_the_data_set_without_reasons_is_a_finding(check: Any) -> None:
    text = 'dataset_anomaly_info { short_description: "Odd" description: "All of it is odd." }'
    [refused] = [finding for finding in check(anomalies=text_format.Parse(text, Anomalies())) if not finding.passed]
    assert (refused.metric, refused.feature, refused.value) == ("schema", None, "Odd")
    assert refused.reason == "All of it is odd"


def test_a_long_description_is_shortened(check: Any) -> None:
    labels = ", ".join(f"label {number} (<1%)" for number in range(100))
    text = f'anomaly_info {{ key: "label" value {{ description: "Missing from the schema: {labels}." }} }}'
    [refused] = [finding for finding in check(anomalies=text_format.Parse(text, Anomalies())) if not finding.passed]
    assert refused.reason.startswith("Missing from the schema: label 0 (<1%), label 1 (<1%)")
    assert refused.reason.endswith(" …")
    assert len(refused.reason) <= 300


def every_tenth(values: pa.Array, other: Any) -> pa.Array:
    return pa.array([other if index % 10 == 0 else value for index, value in enumerate(values.to_pylist())])


@pytest.mark.parametrize(
    ("feature", "values", "anomalies", "others"),
    [
        pytest.param(
            "image",
            lambda images: every_tenth(images, None),
            {"Column dropped", "Feature shape dropped"},
            set(),
            id="no image in some examples",
        ),
        pytest.param(
            "image", lambda images: pa.array([7] * len(images)), {"Unexpected data type"}, set(), id="numbers as image"
        ),
        pytest.param(
            "label", lambda labels: every_tenth(labels, b"seven"), {"Unexpected string values"}, set(), id="new label"
        ),
        pytest.param(
            "label",
            lambda labels: pa.array([int(label.as_py()) for label in labels]),
            {"Unexpected data type"},
            {"examples of the rarest class"},
            id="numbers as labels",
        ),
        pytest.param(
            "width", lambda sizes: every_tenth(sizes, 27), {"Out-of-range values"}, set(), id="28x27 in some examples"
        ),
        pytest.param(
            "channels", lambda channels: every_tenth(channels, 3), {"Out-of-range values"}, set(), id="some color"
        ),
        pytest.param(
            "ink_top",
            lambda edges: every_tenth(edges, None).cast(pa.float32()),
            {"Column dropped"},
            set(),
            id="no ink in some examples",
        ),
        pytest.param(
            "saturated_share",
            lambda shares: pa.array([None] * len(shares), pa.float32()),
            {"Column dropped"},
            {"share of 255 (ink)"},
            id="no share",
        ),
    ],
)
def test_features_that_break_the_schema_are_refused(
    feature: str,
    values: Any,
    anomalies: set[str],
    others: set[str],
    good_columns: Any,
    describe_columns: Any,
    schema: Schema,
    check: Any,
) -> None:
    columns = good_columns | {feature: values(good_columns[feature])}
    statistics = describe_columns(columns)
    findings = check(statistics, tfdv.validate_statistics(statistics, schema))
    refused = [finding for finding in findings if not finding.passed]
    assert {finding.value for finding in refused if finding.metric == "schema"} == anomalies
    assert {finding.metric for finding in refused} == {"schema"} | others
    assert {finding.feature for finding in refused} == {feature}


def test_an_unknown_label_is_named(good_columns: Any, describe_columns: Any, schema: Schema, check: Any) -> None:
    statistics = describe_columns(good_columns | {"label": every_tenth(good_columns["label"], b"seven")})
    [refused] = [
        finding
        for finding in check(statistics, tfdv.validate_statistics(statistics, schema))
        if finding.metric == "schema"
    ]
    assert refused.reason.startswith("Examples contain values missing from the schema: seven (~10%)")


@pytest.mark.parametrize(
    ("limit", "kept", "broken", "rule"),
    [
        ("min_eval_examples", 300, 301, "examples"),
        ("min_eval_class_examples", 30, 31, "examples of the rarest class"),
        ("min_background", 0.7, 0.9, "share of zeros (background)"),
        ("min_saturated", 0.003, 0.03, "share of 255 (ink)"),
    ],
)
def test_a_limit_is_the_minimum(limit: str, kept: float, broken: float, rule: str, check: Any) -> None:
    assert all(finding.passed for finding in check(**{limit: kept}))
    refused = [finding for finding in check(**{limit: broken}) if not finding.passed]
    assert refused[0].metric == rule
    assert refused[0].lower_bound == broken


def test_rare_and_missing_classes_are_counted(good_splits: Any, describe: Any, check: Any) -> None:
    images, labels = good_splits["eval"]
    threes = labels == 3
    chosen = (labels != 7) & (~threes | (threes.cumsum() <= 4))
    refused = [finding for finding in check(describe(images[chosen], labels[chosen])) if not finding.passed]
    assert [(finding.metric, finding.value, finding.reason, finding.lower_bound) for finding in refused] == [
        ("examples of the rarest class", 0, "too few examples of class 3 (4), 7 (0)", 10),
    ]


def test_each_of_many_classes_is_counted(describe_columns: Any, check: Any) -> None:
    names = [f"Größe {number}" for number in range(500)]
    labels = [name.encode() for name in names] * 3 + [names[0].encode()]
    statistics = describe_columns({"label": pa.array(labels)})
    limits = {"min_background": 0, "min_saturated": 0}
    assert all(finding.passed for finding in check(statistics, classes=names, min_eval_class_examples=3, **limits))
    [refused] = [
        finding
        for finding in check(statistics, classes=names, min_eval_class_examples=4, **limits)
        if not finding.passed
    ]
    assert (refused.value, refused.setting) == (3, "data_gate.min_eval_class_examples")
    assert refused.reason.startswith("too few examples of class Größe 1 (3), Größe 2 (3)")
    assert refused.reason.endswith("Größe 10 (3) and 489 more")


def test_data_without_summaries_is_refused_unless_the_rules_are_switched_off(good_statistics: Any, check: Any) -> None:
    statistics = without("saturated_share", without("background_share", good_statistics["eval"]))
    refused = [finding for finding in check(statistics) if not finding.passed]
    assert [(finding.metric, finding.value, finding.reason) for finding in refused] == [
        ("share of zeros (background)", None, "there are no values"),
        ("share of 255 (ink)", None, "there are no values"),
    ]
    assert all(finding.passed for finding in check(statistics, min_background=0, min_saturated=0))


def test_labels_without_counts_are_refused(good_statistics: Any, check: Any) -> None:
    statistics = DatasetFeatureStatisticsList()
    statistics.CopyFrom(good_statistics["eval"])
    for feature in statistics.datasets[0].features:
        feature.ClearField("string_stats")
    [refused] = [finding for finding in check(statistics) if not finding.passed]
    assert (refused.value, refused.setting) == (0, "data_gate.min_eval_class_examples")


Statistics = Mapping[str, DatasetFeatureStatisticsList]


def by_feature(findings: list[Finding]) -> dict[str | None, Finding]:
    assert len(findings) == len(IMAGE_FEATURES) + 1
    return {finding.feature: finding for finding in findings}


def test_distances_and_thresholds_are_stated_even_if_they_pass(good_statistics: Statistics, schema: Schema) -> None:
    findings = by_feature(compare_split("eval", good_statistics["eval"], good_statistics["train"], schema))
    assert set(findings) == IMAGE_FEATURES | {"label"}
    label = findings["label"]
    assert (label.metric, label.slice, label.value, label.upper_bound) == (
        "skew from train, L-infinity",
        "eval",
        0,
        0.08,
    )
    for feature in IMAGE_FEATURES:
        image = findings[feature]
        assert (image.metric, image.upper_bound) == ("skew from train, Jensen-Shannon", 0.07)
        assert 0 < float(image.value or 0) < 0.05
    assert all(finding.passed and not finding.reason for finding in findings.values())


def test_the_distance_of_labels_is_the_largest_difference_of_shares(
    good_splits: Any, good_statistics: Statistics, describe: Any, schema: Schema
) -> None:
    images, labels = good_splits["train"]
    chosen = labels != 7
    statistics = describe(images[chosen], labels[chosen])
    skew = by_feature(compare_split("test", statistics, good_statistics["train"], schema))["label"]
    drift = by_feature(compare_with_baseline(statistics, Baseline(4, good_statistics["train"]), schema))["label"]
    assert (skew.value, drift.value) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (skew.passed, skew.reason) == (False, "the distribution differs from train")
    assert (drift.metric, drift.passed, drift.upper_bound) == ("drift, L-infinity", False, 0.05)
    assert drift.reason == "the distribution differs from that of version 4, the last data that passed"


@pytest.mark.parametrize(
    ("train", "earlier", "direction"),
    [("eval", "train", "below the threshold"), ("train", "eval", "above the threshold")],
)
def test_a_drift_of_the_number_of_examples_is_refused_if_the_schema_limits_it(
    train: str, earlier: str, direction: str, good_statistics: Statistics, schema: Schema
) -> None:
    limited = Schema()
    limited.CopyFrom(schema)
    limited.dataset_constraints.num_examples_drift_comparator.min_fraction_threshold = 0.5
    limited.dataset_constraints.num_examples_drift_comparator.max_fraction_threshold = 2
    # This is not drift, but an anomaly that ExampleValidator finds.
    limited.dataset_constraints.min_examples_count = 10_000
    findings = compare_with_baseline(good_statistics[train], Baseline(4, good_statistics[earlier]), limited)
    [refused] = [finding for finding in findings if not finding.passed]
    assert (refused.metric, refused.slice, refused.feature) == ("drift, number of examples", "train", None)
    assert refused.value == good_statistics[train].datasets[0].num_examples
    assert refused.reason.startswith("The ratio of num examples in the current dataset versus the previous span is ")
    assert direction in refused.reason
    same = compare_with_baseline(good_statistics[train], Baseline(4, good_statistics[train]), limited)
    assert all(finding.passed for finding in same)


@pytest.mark.parametrize(
    ("feature", "other"), [("background_share", "label"), ("ink_center_x", "label"), ("label", "background_share")]
)
def test_a_distance_that_cannot_be_measured_is_refused(
    feature: str, other: str, good_statistics: Statistics, schema: Schema
) -> None:
    train = good_statistics["train"]
    for findings in (
        by_feature(compare_split("eval", without(feature, train), train, schema)),
        by_feature(compare_with_baseline(train, Baseline(4, without(feature, train)), schema)),
        by_feature(compare_with_baseline(without(feature, train), Baseline(4, train), schema)),
    ):
        assert (findings[feature].passed, findings[feature].value) == (False, None)
        assert findings[feature].reason.startswith("cannot be measured")
        assert findings[other].passed


def test_a_split_without_examples_is_refused(good_statistics: Statistics, schema: Schema) -> None:
    empty = DatasetFeatureStatisticsList()
    empty.datasets.add()
    assert not any(finding.passed for finding in compare_split("eval", empty, good_statistics["train"], schema))


def test_a_schema_without_comparators_compares_nothing(good_statistics: Statistics) -> None:
    assert compare_split("eval", good_statistics["eval"], good_statistics["train"], Schema()) == []
