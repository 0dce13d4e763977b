"""95 % confidence intervals. All are functions of counts or sums, so the same predictions give the same intervals."""

import bisect
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Interval = tuple[float, float]

_CONFIDENCE = 0.95
_MOST_IMAGES = 10_000_000
_Z = float(stats.norm.ppf((1 + _CONFIDENCE) / 2))


def share_interval(hits: int, num_images: int) -> Interval:
    """Returns the interval of a share of independent images, 0 to 1, by Wilson's score (1927); NaNs without images."""
    if not num_images:
        return math.nan, math.nan
    interval = stats.binomtest(hits, num_images).proportion_ci(_CONFIDENCE, method="wilson")
    return interval.low, interval.high


def perfect_share(num_images: int) -> Interval:
    """Returns the interval of a share without mistakes."""
    return share_interval(num_images, num_images)


def no_change(num_images: int) -> Interval:
    """Returns the interval of the change of a share between models that do not differ."""
    return paired_interval(0, 0, num_images)


def no_change_of_precision(num_images: int) -> Interval:
    """Returns the interval of the change of a precision without mistakes between models that do not differ."""
    return precision_change_interval(np.array([[0, 0], [0, 0], [0, num_images]], np.float64))


def images_needed(interval: Callable[[int], Interval], lower_bound: float) -> int | None:
    """Returns how many images an interval needs to lie above a bound, or None if ten million images are too few.

    Args:
        interval: The interval for a number of images; the more images, the higher its lower end.
        lower_bound: Minimum of the lower end.
    """
    needed = bisect.bisect_left(
        range(_MOST_IMAGES), True, key=lambda num_images: interval(num_images)[0] >= lower_bound
    )
    return needed if needed < _MOST_IMAGES else None


def paired_interval(gained: int, lost: int, num_images: int) -> Interval:
    """Returns the interval, within -1 to 1, of the change of a share between two models on the same images.

    The method is of Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24: half an image is added to each of the four counts, so that the interval has a width even
    if no image differs.

    Args:
        gained: Number of images that count for the candidate only.
        lost: Number of images that count for the baseline only.
        num_images: Number of all images.
    """
    size, gained_more, lost_more = num_images + 2, gained + 0.5, lost + 0.5
    change = (gained_more - lost_more) / size
    width = _Z * math.sqrt((gained_more + lost_more) / size - change**2) / math.sqrt(size)
    return change - width, change + width


def difference_interval(first: float, first_interval: Interval, second: float, second_interval: Interval) -> Interval:
    """Returns the interval of the second of two shares of different images minus the first.

    The method is of Newcombe 1998, "Interval estimation for the difference between independent proportions: comparison
    of eleven methods", Statistics in Medicine 17, method 10.

    Args:
        first: The first share.
        first_interval: Its interval; both ends are the share itself if it counts as exact.
        second: The second share.
        second_interval: Its interval.
    """
    change = second - first
    down = math.hypot(second - second_interval[0], first_interval[1] - first)
    up = math.hypot(second_interval[1] - second, first - first_interval[0])
    return change - down, change + up


def precision_change_interval(counts: NDArray[np.float64]) -> Interval:
    """Returns the interval of the change of a class's precision between two models on the same images.

    The two precisions are shares of different images, of which some are common. The variance is that of the difference
    of two ratios by the delta method. As in `paired_interval`, half an image is added to each count.

    Args:
        counts: float64[3,2], the numbers of images that only the candidate, only the baseline and both assign to the
            class: first those that do not belong to it, then those that do.
    """
    counts = counts + 0.5
    influence, change = np.zeros(counts.shape), 0.0
    for predicts, sign in (([1, 0, 1], 1), ([0, 1, 1], -1)):
        of_model = counts * np.array(predicts)[:, np.newaxis]
        precision = of_model[:, 1].sum() / of_model.sum()
        change += sign * precision
        influence += sign * np.outer(predicts, np.array([0, 1]) - precision) / of_model.sum()
    width = _Z * math.sqrt((counts * influence**2).sum())
    return change - width, change + width


def mean_interval(total: float, total_of_squares: float, num_images: int) -> Interval:
    """Returns Student's interval of the mean of a number over images; NaNs for fewer than two images.

    Args:
        total: Sum of the numbers.
        total_of_squares: Sum of their squares.
        num_images: Number of images.
    """
    if num_images < 2:
        return math.nan, math.nan
    mean = total / num_images
    variance = max(total_of_squares / num_images - mean**2, 0.0) * num_images / (num_images - 1)
    width = float(stats.t.ppf((1 + _CONFIDENCE) / 2, num_images - 1)) * math.sqrt(variance / num_images)
    return mean - width, mean + width
