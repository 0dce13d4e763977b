from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
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
def check(good_statistics: Any, schema: Schema) -> Any:
    def check_eval(
        statistics: DatasetFeatureStatisticsList = good_statistics["eval"],
        anomalies: Anomalies = Anomalies(),  # noqa: B008 (never changed)
        schema: Schema = schema,
        **limits: Any,
    ) -> list[Finding]:
        return check_split("eval", statistics, anomalies, schema, DataLimits.model_validate(limits))

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


@pytest.mark.parametrize(
    ("spoil", "anomalies", "others"),
    [
        pytest.param(
            lambda index, pixels: pixels if index % 10 else None,
            {"Column dropped", "Feature shape dropped"},
            set(),
            id="missing in some examples",
        ),
        pytest.param(lambda _, pixels: pixels.astype(np.float32), {"Unexpected data type"}, set(), id="FLOAT"),
        pytest.param(
            lambda _, pixels: np.array([pixels.astype(np.uint8).tobytes()], dtype=object),
            {"Unexpected data type", "Feature shape dropped", "Invalid values"},
            {"share of zeros (background)", "brightest pixel (ink)"},
            id="BYTES",
        ),
        pytest.param(
            lambda index, pixels: pixels if index else np.where(np.arange(784) == 400, 256, pixels),
            {"Out-of-range values"},
            set(),
            id="one pixel of 256",
        ),
    ],
)
def test_images_that_break_the_schema_are_refused(
    spoil: Callable[[int, np.ndarray], np.ndarray | None],
    anomalies: set[str],
    others: set[str],
    good_splits: Any,
    describe_examples: Any,
    schema: Schema,
    check: Any,
) -> None:
    images, labels = good_splits["eval"]
    pixels = images.reshape(len(images), 784).astype(np.int64)
    statistics = describe_examples([spoil(index, image) for index, image in enumerate(pixels)], labels)
    findings = check(statistics, tfdv.validate_statistics(statistics, schema))
    refused = [finding for finding in findings if not finding.passed]
    assert {finding.value for finding in refused if finding.metric == "schema"} == anomalies
    assert {finding.metric for finding in refused} == {"schema"} | others
    assert {finding.feature for finding in refused} == {"image"}


@pytest.mark.parametrize(
    ("limit", "kept", "broken", "rule"),
    [
        ("min_eval_examples", 300, 301, "examples"),
        ("min_eval_class_examples", 30, 31, "examples of the rarest label"),
        ("min_background", 0.7, 0.9, "share of zeros (background)"),
        ("min_ink", 255, None, "brightest pixel (ink)"),
    ],
)
def test_a_limit_is_the_minimum(limit: str, kept: float, broken: float | None, rule: str, check: Any) -> None:
    assert all(finding.passed for finding in check(**{limit: kept}))
    if broken is not None:
        refused = [finding for finding in check(**{limit: broken}) if not finding.passed]
        assert refused[0].metric == rule
        assert refused[0].lower_bound == broken


def test_rare_and_missing_labels_are_counted(good_splits: Any, describe: Any, check: Any) -> None:
    images, labels = good_splits["eval"]
    threes = labels == 3
    chosen = (labels != 7) & (~threes | (threes.cumsum() <= 4))
    refused = [finding for finding in check(describe(images[chosen], labels[chosen])) if not finding.passed]
    assert [(finding.metric, finding.value, finding.reason, finding.lower_bound) for finding in refused] == [
        ("examples of the rarest label", 0, "too few examples of label 3 (4), 7 (0)", 10),
    ]


def test_data_without_pixels_is_refused(good_statistics: Any, check: Any) -> None:
    refused = [finding for finding in check(without("image", good_statistics["eval"])) if not finding.passed]
    assert [(finding.metric, finding.value, finding.reason) for finding in refused] == [
        ("share of zeros (background)", None, "there are no pixels"),
        ("brightest pixel (ink)", None, "there are no pixels"),
    ]


def test_labels_without_counts_are_refused(good_statistics: Any, check: Any) -> None:
    statistics = DatasetFeatureStatisticsList()
    statistics.CopyFrom(good_statistics["eval"])
    for feature in statistics.datasets[0].features:
        feature.ClearField("string_stats")
    [refused] = [finding for finding in check(statistics) if not finding.passed]
    assert (refused.value, refused.setting) == (0, "data_gate.min_eval_class_examples")


def test_the_schema_must_define_the_labels(check: Any) -> None:
    with pytest.raises(ValueError, match="feature 'label' needs an int_domain with min, max and is_categorical"):
        check(schema=text_format.Parse('feature { name: "label" int_domain { min: 0 max: 9 } }', Schema()))
    with pytest.raises(ValueError, match="does not define the labels"):
        check(schema=Schema())


def test_the_labels_come_from_the_schema(check: Any) -> None:
    wider = 'feature { name: "label" int_domain { min: 0 max: 11 is_categorical: true } }'
    [refused] = [finding for finding in check(schema=text_format.Parse(wider, Schema())) if not finding.passed]
    assert refused.reason == "too few examples of label 10 (0), 11 (0)"


def test_one_finding_names_the_labels_with_too_few_examples(check: Any) -> None:
    alphabet = 'feature { name: "label" int_domain { min: 0 max: 99 is_categorical: true } }'
    [refused] = [finding for finding in check(schema=text_format.Parse(alphabet, Schema())) if not finding.passed]
    assert refused.reason.startswith("too few examples of label 10 (0), 11 (0)")
    assert refused.reason.endswith("19 (0) and 80 more")


Statistics = Mapping[str, DatasetFeatureStatisticsList]


def by_feature(findings: list[Finding]) -> dict[str | None, Finding]:
    assert len(findings) == 2
    return {finding.feature: finding for finding in findings}


def test_distances_and_thresholds_are_stated_even_if_they_pass(good_statistics: Statistics, schema: Schema) -> None:
    findings = by_feature(compare_split("eval", good_statistics["eval"], good_statistics["train"], schema))
    label, image = findings["label"], findings["image"]
    assert (label.metric, label.slice, label.value, label.upper_bound) == (
        "skew from train, L-infinity",
        "eval",
        0,
        0.08,
    )
    assert (image.metric, image.upper_bound) == ("skew from train, Jensen-Shannon", 0.005)
    assert image.value == pytest.approx(0.0002, abs=0.0003)
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
    assert (skew.passed, skew.reason) == (False, "the distribution in test differs from train")
    assert (drift.metric, drift.passed, drift.upper_bound) == ("drift, L-infinity", False, 0.05)
    assert drift.reason == "the distribution differs from the data of version 4, the last that passed"


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


@pytest.mark.parametrize(("feature", "other"), [("image", "label"), ("label", "image")])
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
