import json
from dataclasses import asdict
from typing import Any

import pytest

from components.evaluator.judgement import Bound, judge
from components.evaluator.measurements import Key, Measurement
from components.verdict import Finding

NAN = float("nan")


def accuracy_bound(**values: Any) -> Bound:
    return Bound(**{"metric": "accuracy", "lower": 0.99, "max_worsening": 0.003, **values})


def only(measured: dict[Key, Measurement], bound: Bound) -> Finding:
    [finding] = judge(measured, [bound])
    return finding


@pytest.mark.parametrize(
    ("interval", "passed", "reason"),
    [
        pytest.param((0.9901, 0.995), True, "", id="certain"),
        pytest.param((0.9899, 0.995), False, "it may be as low as 0.9899", id="the value alone would pass"),
        pytest.param((0.98, 0.985), False, "it may be as low as 0.9800", id="bad"),
        pytest.param((NAN, NAN), False, "nothing is certain of it: too few images", id="an interval that is none"),
    ],
)
def test_the_worse_end_of_the_interval_decides(interval: tuple[float, float], passed: bool, reason: str) -> None:
    finding = only({Key("accuracy"): Measurement(0.993, interval)}, accuracy_bound())
    assert (finding.passed, finding.reason) == (passed, reason)
    assert (finding.metric, finding.slice, finding.value, finding.lower_bound) == ("accuracy", "all", 0.993, 0.99)
    json.dumps(asdict(finding), allow_nan=False)


@pytest.mark.parametrize(("high", "passed"), [(0.049, True), (0.051, False)])
def test_an_error_has_to_be_low(high: float, passed: bool) -> None:
    bound = Bound(metric="log_loss", upper=0.05, max_worsening=0.01)
    finding = only({Key("log_loss"): Measurement(0.04, (0.03, high))}, bound)
    assert finding.passed is passed
    assert finding.reason == ("" if passed else "it may be as high as 0.0510")


def with_baseline(
    change: tuple[float, float], metric: str = "accuracy", pairs: tuple[int, int] | None = None
) -> dict[Key, Measurement]:
    return {
        Key(metric): Measurement(0.995, (0.994, 0.996)),
        Key(metric, kind="baseline"): Measurement(0.996, (0.995, 0.997)),
        Key(metric, kind="change"): Measurement(sum(change) / 2, change, pairs),
    }


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        pytest.param((-0.0015, 0.0005), True, id="a few images worse"),
        pytest.param((-0.005, 0.003), False, id="so uncertain that it may be much worse"),
        pytest.param((-0.02, -0.01), False, id="worse"),
    ],
)
def test_a_change_must_not_be_too_bad_for_certain(change: tuple[float, float], passed: bool) -> None:
    value, finding = judge(with_baseline(change), [accuracy_bound()])
    assert value.passed
    assert value.baseline == 0.996
    assert (finding.metric, finding.passed, finding.lower_bound) == ("change of accuracy", passed, -0.003)


def test_an_error_may_not_rise_too_far() -> None:
    bound = Bound(metric="log_loss", upper=2, max_worsening=0.01)
    _, finding = judge(with_baseline((0.001, 0.02), "log_loss"), [bound])
    assert (finding.passed, finding.upper_bound, finding.lower_bound) == (False, 0.01, None)


def test_a_refused_change_of_accuracy_is_stated_in_images() -> None:
    _, finding = judge(with_baseline((-0.02, -0.01), pairs=(2, 18)), [accuracy_bound()])
    # Exact binomial: the chance of 18 or more of 20 by a fair coin.
    assert finding.reason == ("it may be as low as -0.0200; 18 images newly wrong, 2 newly right (McNemar p = 0.0002)")


def test_a_change_may_be_uncertain_though_no_image_changed() -> None:
    _, finding = judge(with_baseline((-0.01, 0.01), pairs=(0, 0)), [accuracy_bound()])
    assert finding.reason == "it may be as low as -0.0100"


@pytest.mark.parametrize("missing", ["change", "baseline"])
def test_what_was_not_compared_with_the_baseline_is_refused(missing: Any) -> None:
    measured = with_baseline((-0.001, 0.001)) | with_baseline((-0.001, 0.001), "recall")
    del measured[Key("accuracy", kind=missing)]
    _, finding = judge(measured, [accuracy_bound()])
    assert (finding.passed, finding.reason) == (False, "the evaluation does not compare it with the baseline")


def test_without_a_baseline_only_values_are_judged() -> None:
    assert len(list(judge({Key("accuracy"): Measurement(0.995, (0.994, 0.996))}, [accuracy_bound()]))) == 1


def test_each_digit_has_a_finding() -> None:
    measured = {Key("accuracy", digit=digit): Measurement(0.99, (0.99 - digit / 100, 1.0)) for digit in range(3)}
    findings = list(judge(measured, [accuracy_bound(extent="each digit", lower=0.975)]))
    assert [(finding.slice, finding.passed) for finding in findings] == [
        ("digit 0", True),
        ("digit 1", True),
        ("digit 2", False),
    ]


def slices(**lowest: float) -> dict[Key, Measurement]:
    return {Key("accuracy", name): Measurement(low + 0.01, (low, low + 0.02)) for name, low in lowest.items()}


def test_each_slice_that_is_asked_for_has_a_finding() -> None:
    bound = accuracy_bound(extent="each slice", lower=0.8, slices=("fog", "shear", "stripe"))
    findings = list(judge(slices(fog=0.9, shear=0.7, other=0.1), [bound]))
    assert [(finding.slice, finding.passed, finding.reason) for finding in findings] == [
        ("fog", True, ""),
        ("shear", False, "it may be as low as 0.7000"),
        ("stripe", False, "the evaluation has no such metric or slice"),
    ]


def test_the_mean_of_slices_is_as_uncertain_as_they_are() -> None:
    bound = accuracy_bound(extent="mean of slices", lower=0.8, slices=("fog", "shear"))
    finding = only(slices(fog=0.9, shear=0.7), bound)
    assert finding.slice == "mean of 2"
    assert finding.value == pytest.approx(0.81)
    assert finding.interval == pytest.approx((0.8, 0.82))


def test_a_mean_without_one_of_its_slices_is_none() -> None:
    finding = only(slices(fog=0.9), accuracy_bound(extent="mean of slices", lower=0.8, slices=("fog", "shear")))
    assert (finding.passed, finding.reason) == (False, "the evaluation has no such metric or slice")


@pytest.mark.parametrize("extent", ["all", "each digit"])
def test_what_was_not_measured_is_refused(extent: Any) -> None:
    finding = only({}, accuracy_bound(extent=extent))
    assert (finding.passed, finding.reason) == (False, "the evaluation has no such metric or slice")


def test_what_is_no_number_is_refused() -> None:
    finding = only({Key("accuracy"): Measurement(NAN, (NAN, NAN))}, accuracy_bound())
    assert (finding.passed, finding.value) == (False, None)
    assert finding.reason == "not a number: no image is, or was taken for, this digit"


def test_a_change_that_is_no_number_is_refused() -> None:
    _, finding = judge(with_baseline((NAN, NAN)), [accuracy_bound()])
    assert (finding.passed, finding.value) == (False, None)
    assert finding.reason.startswith("not a number")
