import numpy as np
import pytest
from scipy.stats import binomtest

from components.evaluator.measurements import Key, Measurement, measurements, paired_interval, share_interval

# isort: split
import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)
from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I: 81 of 263.
    assert share_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_an_interval_of_a_perfect_share_has_a_width() -> None:
    low, high = share_interval(1.0, 100)
    assert 0.95 < low < 0.97
    assert high == 1.0


def test_the_interval_of_a_change_narrows_with_the_square_root_of_the_images() -> None:
    widths = [np.diff(paired_interval(40 * size, 60 * size, 10_000 * size)).item() for size in (1, 100)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.01)


def test_the_interval_of_a_change_covers_it_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    outcomes = generator.multinomial(2000, [0.01, 0.02, 0.97], size=2000)
    covered = sum(low <= -0.01 <= high for low, high in (paired_interval(g, lost, 2000) for g, lost, _ in outcomes))
    assert binomtest(covered, len(outcomes), 0.95).pvalue > 0.001


def test_without_a_single_difference_a_change_is_still_uncertain() -> None:
    low, high = paired_interval(0, 0, 1000)
    assert low == pytest.approx(-high)
    assert 0.0005 < high < 0.005


def add(
    metrics: MetricsForSlice,
    name: str,
    value: float,
    model: str = "candidate",
    *,
    digit: int | None = None,
    interval: tuple[float, float] | None = None,
    is_diff: bool = False,
) -> None:
    pair = metrics.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name, pair.value.double_value.value = name, model, value
    pair.key.is_diff = is_diff
    if digit is not None:
        pair.key.sub_key.class_id.value = digit
    if interval:
        pair.confidence_interval.lower_bound.double_value.value = interval[0]
        pair.confidence_interval.upper_bound.double_value.value = interval[1]


def test_numbers_are_found_by_what_they_are() -> None:
    fog = MetricsForSlice()
    fog.slice_key.single_slice_keys.add(column="corruption", bytes_value=b"fog")
    add(fog, "recall", 0.5, digit=3, interval=(0.4, 0.6))
    add(fog, "recall", 0.4, "baseline", digit=0, interval=(0.3, 0.5))
    add(fog, "recall", 0.1, digit=3, interval=(-0.1, 0.3), is_diff=True)
    assert measurements([fog]) == {
        Key("recall", "fog", 3): Measurement(0.5, (0.4, 0.6)),
        Key("recall", "fog", 0, "baseline"): Measurement(0.4, (0.3, 0.5)),
        Key("recall", "fog", 3, "change"): Measurement(0.1, (-0.1, 0.3)),
    }


def test_a_share_does_not_reach_beyond_its_range() -> None:
    everything = MetricsForSlice()
    add(everything, "recall", 0.999, digit=3, interval=(0.99, 1.008))
    add(everything, "expected_calibration_error", 0.001, interval=(-0.001, 0.003))
    add(everything, "log_loss", 0.9, interval=(0.5, 1.3))
    intervals = {key.metric: each.interval for key, each in measurements([everything]).items()}
    assert intervals == {
        "recall": (0.99, 1.0),
        "expected_calibration_error": (0.0, 0.003),
        "log_loss": (0.5, 1.3),
    }


def test_accuracy_has_intervals_from_the_counts() -> None:
    everything = MetricsForSlice()
    add(everything, "accuracy", 0.9, interval=(0.1, 1.7))
    add(everything, "accuracy", 0.92, "baseline")
    add(everything, "accuracy", -0.02, is_diff=True)
    add(everything, "example_count", 500)
    add(everything, "gained", 5, is_diff=True)
    add(everything, "lost", 15, is_diff=True)
    measured = measurements([everything])
    assert measured[Key("accuracy")] == Measurement(0.9, share_interval(0.9, 500))
    assert measured[Key("accuracy", kind="baseline")].interval == share_interval(0.92, 500)
    assert measured[Key("accuracy", kind="change")] == Measurement(-0.02, paired_interval(5, 15, 500), pairs=(5, 15))
