import json
from dataclasses import asdict
from typing import Any

import pytest

from components.evaluator.bounds import (
    Bound,
    Key,
    Measurement,
    check_bounds,
    measurements,
)
from components.verdict import Finding

# isort: split
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice

NAN = float("nan")
CLASSES = ("A", "b", "ß c")
MISSING = "the evaluation has no such metric or slice"
NOT_COMPARED = "the evaluation has no comparison with the baseline"


def add(
    metrics: MetricsForSlice,
    name: str,
    value: float,
    model: str = "candidate",
    *,
    class_id: int | None = None,
    interval: tuple[float, float] | None = None,
    is_diff: bool = False,
) -> None:
    pair = metrics.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name, pair.value.double_value.value = name, model, value
    pair.key.is_diff = is_diff
    if class_id is not None:
        pair.key.sub_key.class_id.value = class_id
    if interval:
        pair.confidence_interval.lower_bound.double_value.value = interval[0]
        pair.confidence_interval.upper_bound.double_value.value = interval[1]


def test_measurements_have_the_key_and_the_interval_of_tfma() -> None:
    fog = MetricsForSlice()
    fog.slice_key.single_slice_keys.add(column="corruption", bytes_value=b"fog")
    add(fog, "recall", 0.5, class_id=3, interval=(0.4, 0.6))
    add(fog, "num_labeled", 90, class_id=3)
    add(fog, "recall", 0.4, "baseline", class_id=0, interval=(0.3, 0.5))
    add(fog, "recall", 0.1, class_id=3, interval=(-0.1, 0.3), is_diff=True)
    add(fog, "log_loss", 0.9, interval=(0.5, 1.3))
    assert measurements([fog]) == {
        Key("recall", "fog", 3): Measurement(0.5, (0.4, 0.6), num_images=90),
        Key("num_labeled", "fog", 3): Measurement(90, (90, 90)),
        Key("recall", "fog", 0, "baseline"): Measurement(0.4, (0.3, 0.5)),
        Key("recall", "fog", 3, "change"): Measurement(0.1, (-0.1, 0.3), num_images=90),
        Key("log_loss", "fog"): Measurement(0.9, (0.5, 1.3)),
    }


def test_a_change_of_accuracy_has_the_number_of_images_and_the_pairs() -> None:
    everything = MetricsForSlice()
    add(everything, "accuracy", 0.9, interval=(0.87, 0.93))
    add(everything, "accuracy", -0.02, interval=(-0.03, -0.01), is_diff=True)
    add(everything, "example_count", 500)
    add(everything, "gained", 5, is_diff=True)
    add(everything, "lost", 15, is_diff=True)
    measured = measurements([everything])
    assert measured[Key("accuracy")] == Measurement(0.9, (0.87, 0.93), num_images=500)
    assert measured[Key("accuracy", kind="change")] == Measurement(-0.02, (-0.03, -0.01), num_images=500, pairs=(5, 15))


def accuracy_bound(**values: Any) -> Bound:
    return Bound(**{"metric": "accuracy", "lower": 0.99, "max_worsening": 0.003, **values})


def only(measured: dict[Key, Measurement], bound: Bound) -> Finding:
    [finding] = check_bounds(measured, [bound], CLASSES)
    return finding


@pytest.mark.parametrize(
    ("bound", "interval", "reason"),
    [
        pytest.param({"lower": 0.99}, (0.99, 0.995), "", id="meets the minimum exactly"),
        pytest.param({"lower": 0.99}, (0.9899, 0.995), "it may be as low as 0.9899", id="the value alone would pass"),
        pytest.param({"lower": 0.99}, (0.98, 0.985), "it may be as low as 0.9800", id="too low"),
        pytest.param({"upper": 0.995}, (0.99, 0.995), "", id="meets the maximum exactly"),
        pytest.param({"upper": 0.995}, (0.99, 0.9951), "it may be as high as 0.9951", id="too high"),
        pytest.param({"lower": 0.99}, (NAN, NAN), "no confidence interval: too few images", id="no interval"),
    ],
)
def test_the_whole_interval_must_meet_the_bound(
    bound: dict[str, float], interval: tuple[float, float], reason: str
) -> None:
    finding = only({Key("error"): Measurement(0.993, interval)}, Bound(metric="error", max_worsening=0.01, **bound))
    assert (finding.passed, finding.reason) == (not reason, reason)
    assert (finding.metric, finding.slice, finding.value) == ("error", "all", 0.993)
    assert (finding.lower_bound, finding.upper_bound) == (bound.get("lower"), bound.get("upper"))
    json.dumps(asdict(finding), allow_nan=False)


@pytest.mark.parametrize(
    ("num_images", "reason"),
    [
        (380, "too few images: even a perfect model would need 381"),
        (381, "it may be as low as 0.9852"),
    ],
)
def test_a_refusal_for_too_few_images_says_how_many_are_needed(num_images: int, reason: str) -> None:
    measured = {Key("accuracy"): Measurement(0.997, (0.9852, 1.0), num_images)}
    assert only(measured, accuracy_bound()).reason == reason


def test_a_class_without_images_and_a_mean_of_slices_need_images_too() -> None:
    nothing = {Key("recall", class_id=class_id): Measurement(NAN, (NAN, NAN), 0) for class_id in range(3)}
    findings = check_bounds(nothing, [accuracy_bound(metric="recall", extent="each class")], CLASSES)
    parts = {Key("accuracy", name): Measurement(1.0, (0.9, 1.0), 40) for name in ("fog", "shear")}
    mean = check_bounds(parts, [accuracy_bound(extent="mean of slices", slices=("fog", "shear"))], CLASSES)
    reasons = {finding.reason for finding in [*findings, *mean]}
    assert reasons == {"too few images: even a perfect model would need 381"}


def with_baseline(
    change: tuple[float, float], metric: str = "accuracy", pairs: tuple[int, int] | None = None
) -> dict[Key, Measurement]:
    return {
        Key(metric): Measurement(0.995, (0.994, 0.996)),
        Key(metric, kind="baseline"): Measurement(0.996, (0.995, 0.997)),
        Key(metric, kind="change"): Measurement(sum(change) / 2, change, pairs=pairs),
    }


@pytest.mark.parametrize(
    ("change", "pairs", "reason"),
    [
        pytest.param((-0.0015, 0.0005), (1, 2), "", id="slightly worse"),
        pytest.param((-0.005, 0.003), None, "it may be as low as -0.0050", id="uncertain"),
        pytest.param((-0.01, 0.01), (0, 0), "it may be as low as -0.0100", id="uncertain although no image changed"),
        pytest.param(
            (-0.02, -0.01),
            (2, 18),
            # Exact binomial: the probability of 18 or more heads in 20 tosses of a fair coin.
            "it may be as low as -0.0200; 18 images newly wrong, 2 newly right (one-sided McNemar p = 0.0002)",
            id="worse",
        ),
    ],
)
def test_the_whole_interval_of_a_change_must_meet_its_bound(
    change: tuple[float, float], pairs: tuple[int, int] | None, reason: str
) -> None:
    value, finding = check_bounds(with_baseline(change, pairs=pairs), [accuracy_bound()], CLASSES)
    assert (value.passed, value.baseline) == (True, 0.996)
    assert (finding.metric, finding.lower_bound, finding.baseline) == ("change of accuracy", -0.003, 0.996)
    assert (finding.passed, finding.reason) == (not reason, reason)


def test_an_error_may_not_rise_too_far() -> None:
    bound = Bound(metric="log_loss", upper=2, max_worsening=0.01)
    _, finding = check_bounds(with_baseline((0.001, 0.02), "log_loss"), [bound], CLASSES)
    assert (finding.passed, finding.upper_bound, finding.lower_bound) == (False, 0.01, None)


@pytest.mark.parametrize("baseline", [None, Measurement(NAN, (NAN, NAN))])
def test_a_value_without_a_baseline_is_refused_if_others_have_one(baseline: Measurement | None) -> None:
    measured = with_baseline((-0.001, 0.001)) | with_baseline((-0.001, 0.001), "recall")
    del measured[Key("accuracy", kind="baseline")]
    if baseline:
        measured[Key("accuracy", kind="baseline")] = baseline
    _, finding = check_bounds(measured, [accuracy_bound()], CLASSES)
    assert (finding.passed, finding.reason, finding.baseline) == (False, NOT_COMPARED, None)


def test_a_missing_change_is_refused() -> None:
    measured = with_baseline((-0.001, 0.001))
    del measured[Key("accuracy", kind="change")]
    _, finding = check_bounds(measured, [accuracy_bound()], CLASSES)
    assert (finding.passed, finding.reason) == (False, NOT_COMPARED)


def test_nan_is_refused() -> None:
    measured = with_baseline((NAN, NAN)) | {Key("accuracy"): Measurement(NAN, (NAN, NAN))}
    for finding in check_bounds(measured, [accuracy_bound()], CLASSES):
        assert (finding.passed, finding.value) == (False, None)
        assert finding.reason == "undefined: no image has this label or prediction"


def test_each_class_has_a_finding_with_its_name() -> None:
    measured = {Key("recall", class_id=index): Measurement(0.99, (0.99 - index / 100, 1.0)) for index in range(2)}
    bound = Bound(metric="recall", extent="each class", lower=0.985, max_worsening=0.1)
    assert [(finding.slice, finding.reason) for finding in check_bounds(measured, [bound], CLASSES)] == [
        ("class A", ""),
        ("class b", "it may be as low as 0.9800"),
        ("class ß c", MISSING),
    ]


def slices(**lowest: float) -> dict[Key, Measurement]:
    return {Key("accuracy", name): Measurement(low + 0.01, (low, low + 0.02)) for name, low in lowest.items()}


def test_each_required_slice_has_a_finding() -> None:
    bound = accuracy_bound(extent="each slice", lower=0.8, slices=("fog", "shear", "stripe"))
    findings = list(check_bounds(slices(fog=0.9, shear=0.7, other=0.1), [bound], CLASSES))
    assert [(finding.slice, finding.passed, finding.reason) for finding in findings] == [
        ("fog", True, ""),
        ("shear", False, "it may be as low as 0.7000"),
        ("stripe", False, MISSING),
    ]


def test_the_mean_of_slices_has_the_mean_interval() -> None:
    bound = accuracy_bound(extent="mean of slices", lower=0.8, slices=("fog", "shear"))
    finding = only(slices(fog=0.9, shear=0.7), bound)
    assert finding.slice == "mean of 2"
    assert finding.value == pytest.approx(0.81)
    assert finding.interval == pytest.approx((0.8, 0.82))


@pytest.mark.parametrize("bound", [{}, {"extent": "mean of slices", "lower": 0.8, "slices": ("fog", "shear")}])
def test_a_missing_metric_or_slice_is_refused(bound: dict[str, Any]) -> None:
    finding = only(slices(fog=0.9), accuracy_bound(**bound))
    assert (finding.passed, finding.reason) == (False, MISSING)
