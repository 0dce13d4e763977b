"""The sections of a report, from values in memory."""

import math

import pytest

from components.evaluator.bounds import Key, Measurement
from components.run_report import sections
from components.run_report.report import ClassResult, Epoch, Latency
from components.run_report.sections import (
    count_classes,
    describe_anomalies,
    describe_evaluation,
    describe_gate,
    describe_robustness,
    list_epochs,
    list_histograms,
    list_latencies,
    list_refusals,
    list_statistics,
    worst_mistakes,
)
from components.verdict import Finding
from tests.support.run_artifacts import CONTRACT, VERDICTS, make_anomalies, make_statistics, predictions_table, verdict

STATISTICS = {split: make_statistics(size) for split, size in {"train": 30, "test": 12}.items()}


def test_images_are_counted_by_split_and_class() -> None:
    counts = count_classes(STATISTICS, ("A", "b", "other"))
    assert counts == {"train": {"A": 10, "b": 10, "other": 0}, "test": {"A": 4, "b": 4, "other": 0}}


def test_histograms_show_brightness_and_ink_in_buckets_of_equal_width() -> None:
    first, second = list_histograms(STATISTICS)
    assert (first.feature, first.split, second.split) == ("brightness_mean", "train", "test")
    assert (first.edges, first.counts) == ((10, 30, 50), (27, 2))


def test_statistics_are_of_all_numeric_features() -> None:
    found = list_statistics(STATISTICS)
    assert [(each.feature, each.split) for each in found] == [
        *(("brightness_mean", "train"), ("height", "train")),
        *(("brightness_mean", "test"), ("height", "test")),
    ]
    assert found[0].model_dump() == {
        **{"feature": "brightness_mean", "split": "train", "count": 29, "missing": 1},
        **{"mean": 30.0, "deviation": 5.0, "lowest": 10.0, "median": 29.0, "highest": 50.0},
    }


def test_an_anomaly_of_several_splits_is_described_once() -> None:
    anomalies = {split: make_anomalies(split) for split in ("train", "eval", "test")}
    assert describe_anomalies(anomalies) == {
        "label": "train, test: Unexpected string values.",
        "": "test: Low num examples.",
    }
    anomalies["eval"].anomaly_info["label"].description = "Missing."
    assert describe_anomalies(anomalies)["label"] == "train, test: Unexpected string values. eval: Missing."


def test_an_epoch_without_evaluation_is_left_out() -> None:
    train = {"epoch_loss": [3.0, 2.0], "epoch_accuracy": [0.1, 0.2]}
    validation = {"epoch_loss": [2.5], "epoch_accuracy": [0.15]}
    assert list_epochs(train, validation) == (Epoch(loss=3.0, accuracy=0.1, eval_loss=2.5, eval_accuracy=0.15),)
    assert list_epochs(train, {}) == list_epochs({}, {}) == ()


MEASURED = {
    Key("accuracy"): Measurement(8 / 12, (0.4, 0.9), num_images=12),
    Key("accuracy", kind="baseline"): Measurement(0.5, (0.2, 0.8), num_images=12),
    Key("accuracy", kind="change"): Measurement(1 / 6, (-0.1, 0.4), num_images=12, pairs=(4, 2)),
    Key("expected_calibration_error"): Measurement(0.2, (0.1, 0.3)),
    Key("recall", class_id=0): Measurement(0.75, (0.5, 1.0), num_images=4),
    Key("recall", class_id=1): Measurement(math.nan, (math.nan, math.nan), num_images=0),
    Key("recall", class_id=2): Measurement(0.5, (0.2, 0.8), num_images=4),
}


def test_results_have_intervals_and_the_change() -> None:
    evaluation = describe_evaluation(MEASURED, CONTRACT.classes, None, {})
    assert evaluation.overall == ClassResult(
        name="all",
        images=12,
        accuracy=8 / 12,
        interval=(0.4, 0.9),
        baseline=0.5,
        change=1 / 6,
        change_interval=(-0.1, 0.4),
    )
    assert [(each.name, each.images, each.accuracy, each.interval) for each in evaluation.classes] == [
        ("A", 4, 0.75, (0.5, 1.0)),
        ("b", 0, 0.0, (0.0, 1.0)),
        ("ß c", 4, 0.5, (0.2, 0.8)),
    ]
    assert (evaluation.calibration_error, evaluation.num_mistakes) == (0.2, 4)


def test_predictions_are_counted_by_class_and_prediction() -> None:
    evaluation = describe_evaluation(MEASURED, CONTRACT.classes, predictions_table(), {})
    assert evaluation.confusion == ((3, 1, 0, 0), (0, 3, 1, 0), (1, 0, 2, 1))


def test_calibration_has_the_bins_of_the_metric() -> None:
    bins = describe_evaluation(MEASURED, CONTRACT.classes, predictions_table(), {}).calibration
    assert sum(each.images for each in bins) == 12
    assert bins[0].model_dump() == {
        **{"lower": 5 / 15, "upper": 6 / 15, "images": 1},
        **{"confidence": pytest.approx(0.34), "accuracy": 0.0},
    }
    assert (bins[-1].images, bins[-1].accuracy) == (5, 0.8), "0.95 to 1, and 1 itself"
    assert bins[-1].confidence == pytest.approx((0.99 + 0.99 + 0.95 + 1.0 + 0.99) / 5)


def test_the_most_confident_mistakes_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = worst_mistakes(predictions_table())
    assert [row["confidence"] for row in rows] == pytest.approx([0.95, 0.7, 0.7, 0.34])
    assert rows[1]["image_id"] < rows[2]["image_id"], "the same order in each report"
    monkeypatch.setattr(sections, "MAX_MISTAKES", 1)
    assert worst_mistakes(predictions_table()) == rows[:1]


def test_robustness_is_sorted_by_corruption() -> None:
    measured = {
        Key("accuracy", "fog"): Measurement(0.5, (0.4, 0.6), num_images=12),
        Key("example_count", "fog"): Measurement(12, (12, 12)),
        Key("accuracy", "blur"): Measurement(0.75, (0.6, 0.8), num_images=12),
    }
    assert [(each.name, each.accuracy, each.images) for each in describe_robustness(measured)] == [
        ("blur", 0.75, 12),
        ("fog", 0.5, 12),
    ]


def test_a_gate_has_all_its_requirements() -> None:
    gate = describe_gate(VERDICTS["evaluation_verdict"])
    assert (gate.name, gate.passed, gate.enforced, gate.advice) == ("Evaluator", True, True, "Advice of Evaluator.")
    [requirement] = gate.requirements
    assert (requirement.value, requirement.interval, requirement.bound) == (8 / 12, (0.4, 0.9), "≥ 0.3000")
    assert requirement.setting == "evaluation.x"


def test_a_refusal_is_a_sentence() -> None:
    found = (
        Finding("SavedModel", "export", False, "there is no file"),
        Finding("schema", "train", False, "unexpected values", value="odd", expected="no anomaly", feature="label"),
        Finding("accuracy", "all", True, value=0.5),
    )
    assert list_refusals([verdict("Gate", *found), VERDICTS["data_verdict"]]) == (
        "Gate: SavedModel (export): there is no file.",
        "Gate: schema (label, train) is odd, expected no anomaly: unexpected values.",
    )


def test_only_the_first_requirements_of_a_gate_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MAX_REASONS", 1)
    found = [Finding(metric, "all", False, "it is low") for metric in ("a", "b", "c")]
    few = verdict("Other", found[0])
    assert list_refusals([verdict("Gate", *found), few]) == (
        "Gate: a (all): it is low.",
        "Gate: 2 more requirements are not met.",
        "Other: a (all): it is low.",
    )


def test_latencies_are_those_of_serving_check() -> None:
    assert list_latencies(VERDICTS["serving_verdict"]) == (
        Latency(signature="pixels", median=1.5, p99=2.5),
        Latency(signature="examples", median=1.0),
    )
    assert list_latencies(VERDICTS["data_verdict"]) == ()
