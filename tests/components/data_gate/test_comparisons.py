from collections.abc import Mapping
from typing import Any

import pytest
from tensorflow_metadata.proto.v0.schema_pb2 import Schema
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.data_gate.baseline_statistics import BaselineStatistics, NoBaseline
from components.data_gate.comparisons import compare_split, compare_with_baseline
from components.verdict import Finding

Statistics = Mapping[str, DatasetFeatureStatisticsList]


def by_feature(findings: list[Finding]) -> dict[str | None, Finding]:
    assert len(findings) == 2
    return {finding.feature: finding for finding in findings}


def without(feature: str, statistics: DatasetFeatureStatisticsList) -> DatasetFeatureStatisticsList:
    kept = DatasetFeatureStatisticsList()
    kept.CopyFrom(statistics)
    features = kept.datasets[0].features
    del features[[one.path.step[0] for one in features].index(feature)]
    return kept


def baseline(statistics: DatasetFeatureStatisticsList) -> BaselineStatistics:
    return BaselineStatistics(version=4, fingerprint="of-the-file", statistics=statistics)


def test_values_and_bounds_are_stated_also_where_they_are_kept(good_statistics: Statistics, schema: Schema) -> None:
    findings = by_feature(compare_split("eval", good_statistics["eval"], good_statistics["train"], schema))
    assert {finding.slice for finding in findings.values()} == {"eval"}
    assert (findings["label"].metric, findings["image"].metric) == (
        "skew from train, L-infinity",
        "skew from train, Jensen-Shannon",
    )
    assert (findings["label"].upper_bound, findings["image"].upper_bound) == (0.08, 0.005)
    assert findings["label"].value == 0
    assert findings["image"].value == pytest.approx(0.0002, abs=0.0003)
    assert all(finding.passed and not finding.reason for finding in findings.values())


def test_the_label_distance_is_the_largest_difference_of_shares(
    good_splits: Any, good_statistics: Statistics, describe: Any, schema: Schema
) -> None:
    images, labels = good_splits["train"]
    chosen = labels != 7
    statistics = describe(images[chosen], labels[chosen])
    skew = by_feature(compare_split("test", statistics, good_statistics["train"], schema))["label"]
    drift = by_feature(compare_with_baseline(statistics, baseline(good_statistics["train"]), schema))["label"]
    assert (skew.value, drift.value) == (pytest.approx(0.1), pytest.approx(0.1))
    assert not skew.passed
    assert skew.reason == "the distribution in test is not that of train"
    assert not drift.passed
    assert drift.reason == "the distribution is not that of the data of version 4, the last that passed"
    assert (drift.metric, drift.upper_bound) == ("drift, L-infinity", 0.05)


@pytest.mark.parametrize(
    ("no_baseline", "reason"),
    [
        (NoBaseline.NO_OTHER_DATA, "no earlier data to compare with"),
        (NoBaseline.UNKNOWN_DATA, "no pushed version says what it learnt from"),
    ],
)
def test_without_a_baseline_drift_passes_and_says_why(
    no_baseline: NoBaseline, reason: str, good_statistics: Statistics, schema: Schema
) -> None:
    findings = by_feature(compare_with_baseline(good_statistics["train"], no_baseline, schema))
    assert {finding.feature: finding.upper_bound for finding in findings.values()} == {"label": 0.05, "image": 0.005}
    assert all(finding.passed and finding.value is None for finding in findings.values())
    assert {finding.reason for finding in findings.values()} == {reason}


@pytest.mark.parametrize(
    ("train", "earlier", "direction"),
    [("eval", "train", "below the threshold"), ("train", "eval", "above the threshold")],
)
def test_a_change_of_the_number_of_examples_is_refused_if_the_schema_bounds_it(
    train: str, earlier: str, direction: str, good_statistics: Statistics, schema: Schema
) -> None:
    bounded = Schema()
    bounded.CopyFrom(schema)
    bounded.dataset_constraints.num_examples_drift_comparator.min_fraction_threshold = 0.5
    bounded.dataset_constraints.num_examples_drift_comparator.max_fraction_threshold = 2
    # Found by ExampleValidator; it is not drift.
    bounded.dataset_constraints.min_examples_count = 10_000
    findings = compare_with_baseline(good_statistics[train], baseline(good_statistics[earlier]), bounded)
    [refused] = [finding for finding in findings if not finding.passed]
    assert (refused.metric, refused.slice, refused.feature) == ("drift, number of examples", "train", None)
    assert refused.value == good_statistics[train].datasets[0].num_examples
    assert refused.reason.startswith("The ratio of num examples in the current dataset versus the previous span is ")
    assert direction in refused.reason
    same = compare_with_baseline(good_statistics[train], baseline(good_statistics[train]), bounded)
    assert all(finding.passed for finding in same)


@pytest.mark.parametrize(("feature", "other"), [("image", "label"), ("label", "image")])
def test_what_cannot_be_measured_is_not_let_pass(
    feature: str, other: str, good_statistics: Statistics, schema: Schema
) -> None:
    train = good_statistics["train"]
    for findings in (
        by_feature(compare_split("eval", without(feature, train), train, schema)),
        by_feature(compare_with_baseline(train, baseline(without(feature, train)), schema)),
        by_feature(compare_with_baseline(without(feature, train), baseline(train), schema)),
    ):
        assert (findings[feature].passed, findings[feature].value) == (False, None)
        assert findings[feature].reason.startswith("cannot be measured")
        assert findings[other].passed


def test_data_of_no_examples_is_not_let_pass(good_statistics: Statistics, schema: Schema) -> None:
    empty = DatasetFeatureStatisticsList()
    empty.datasets.add()
    assert not any(finding.passed for finding in compare_split("eval", empty, good_statistics["train"], schema))


def test_a_schema_without_comparators_compares_nothing(good_statistics: Statistics) -> None:
    assert compare_split("eval", good_statistics["eval"], good_statistics["train"], Schema()) == []
