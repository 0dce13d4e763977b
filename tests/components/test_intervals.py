import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from components.intervals import (
    Interval,
    difference_interval,
    images_needed,
    mean_interval,
    no_change,
    no_change_of_precision,
    paired_interval,
    perfect_share,
    precision_change_interval,
    share_interval,
)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I: 81 of 263.
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    low, high = share_interval(100, 100)
    assert 0.95 < low < 0.97
    assert high == 1.0
    assert all(map(math.isnan, share_interval(0, 0)))


def test_with_the_images_needed_a_model_without_mistakes_passes() -> None:
    assert images_needed(perfect_share, 0.99) == 381
    assert share_interval(381, 381)[0] >= 0.99 > share_interval(380, 380)[0]
    assert images_needed(perfect_share, 0) == 1
    assert images_needed(perfect_share, 1) is None


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe 1998, "Interval estimation for the difference", table II, method 10: 56 of 70 and 48 of 80.
    first, second = (6 / 8, 56 / 70)
    low, high = difference_interval(48 / 80, share_interval(48, 80), second, share_interval(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    exact = difference_interval(first, (first, first), second, share_interval(56, 70))
    assert exact == pytest.approx([end - first for end in share_interval(56, 70)])


@pytest.mark.parametrize("interval", [no_change, no_change_of_precision])
def test_with_the_images_needed_a_model_like_the_baseline_passes(interval: Callable[[int], Interval]) -> None:
    needed = images_needed(interval, -0.02)
    assert needed is not None
    assert interval(needed)[0] >= -0.02 > interval(needed - 1)[0]


def test_the_interval_of_a_change_narrows_with_the_square_root_of_the_number_of_images() -> None:
    widths = [np.diff(paired_interval(40 * size, 60 * size, 10_000 * size)).item() for size in (1, 100)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    "interval", [paired_interval(0, 0, 1000), precision_change_interval(np.array([[0, 0], [0, 0], [5, 995]]))]
)
def test_a_change_has_an_interval_even_if_no_image_differs(interval: Interval) -> None:
    low, high = interval
    assert low == pytest.approx(-high)
    assert 0.0005 < high < 0.005


def change_of_share(outcomes: np.ndarray) -> Interval:
    gained, lost, _ = outcomes
    return paired_interval(gained, lost, outcomes.sum())


def change_of_precision(outcomes: np.ndarray) -> Interval:
    return precision_change_interval(outcomes.reshape(3, 2))


@pytest.mark.parametrize(
    ("interval", "probabilities", "change"),
    [
        (change_of_share, [0.01, 0.02, 0.97], -0.01),
        # Wrong and right: only of the candidate, only of the baseline, of both. Precision 0.96 / 0.99 and 0.95 / 0.97.
        (change_of_precision, [0.01, 0.02, 0.0, 0.01, 0.02, 0.94], 0.96 / 0.99 - 0.95 / 0.97),
    ],
)
def test_the_interval_of_a_change_covers_the_true_change_in_95_percent_of_cases(
    interval: Callable[[np.ndarray], Interval], probabilities: list[float], change: float
) -> None:
    outcomes = np.random.default_rng(0).multinomial(2000, probabilities, size=2000)
    covered = sum(low <= change <= high for low, high in map(interval, outcomes))
    assert stats.binomtest(covered, len(outcomes), 0.95).pvalue > 0.001


def test_the_interval_of_a_mean_is_students() -> None:
    numbers = np.random.default_rng(1).exponential(size=50)
    expected = stats.t.interval(0.95, 49, numbers.mean(), stats.sem(numbers))
    assert mean_interval(numbers.sum(), (numbers**2).sum(), 50) == pytest.approx(expected)
    assert all(map(math.isnan, mean_interval(1.0, 1.0, 1)))
