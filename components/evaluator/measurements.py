"""What an evaluation measured, and how certain it is of it: TFMA's result as plain numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from scipy import stats

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice

ALL = ""
"""Name of the slice of all images."""

ACCURACY = "accuracy"
EXAMPLE_COUNT = "example_count"
EXPECTED_CALIBRATION_ERROR = "expected_calibration_error"
PRECISION = "precision"
RECALL = "recall"
GAINED = "gained"
"""Images that the baseline has wrong and the candidate right."""

LOST = "lost"
"""Images that the baseline has right and the candidate wrong."""

Kind = Literal["candidate", "baseline", "change"]

_CONFIDENCE = 0.95
_SHARES = (EXPECTED_CALIBRATION_ERROR, PRECISION, RECALL)


@dataclass(frozen=True)
class Key:
    """Which number it is: of which metric, on which slice, of which digit, of which model."""

    metric: str
    slice: str = ALL
    digit: int | None = None
    kind: Kind = "candidate"

    def of(self, kind: Kind) -> "Key":
        """Returns the key of the same number of another model, or of its change."""
        return replace(self, kind=kind)


@dataclass(frozen=True)
class Measurement:
    """A number with its 95 % confidence interval.

    Attributes:
        value: The number; may be NaN.
        interval: Its ends; the number itself twice where nothing is known of its spread.
        pairs: For a change of accuracy, the numbers of images newly right and newly wrong.
    """

    value: float
    interval: tuple[float, float]
    pairs: tuple[int, int] | None = None


def measurements(metrics: "Iterable[MetricsForSlice]") -> dict[Key, Measurement]:
    """Reads what TFMA wrote.

    TFMA's intervals are kept where it has them. Accuracy is a share of independent images, and its change a
    difference of such shares on the same images: both have intervals of their own, better for small counts.

    Args:
        metrics: The result of `tfma.load_metrics`.

    Returns:
        Every number by what it is.
    """
    measured = {
        _key(pair, _slice_name(of_slice)): _measurement(pair)
        for of_slice in metrics
        for pair in of_slice.metric_keys_and_values
        if pair.value.HasField("double_value")
    }
    for key, accuracy in list(measured.items()):
        if key.metric == ACCURACY:
            num_images = int(measured[replace(key, metric=EXAMPLE_COUNT, kind="candidate")].value)
            if key.kind == "change":
                gained, lost = (int(measured[replace(key, metric=metric)].value) for metric in (GAINED, LOST))
                measured[key] = Measurement(
                    accuracy.value, paired_interval(gained, lost, num_images), pairs=(gained, lost)
                )
            else:
                measured[key] = Measurement(accuracy.value, share_interval(accuracy.value, num_images))
    return measured


def share_interval(share: float, num_images: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share of independent images, 0 to 1, by Wilson's score (1927)."""
    interval = stats.binomtest(round(share * num_images), num_images).proportion_ci(_CONFIDENCE, method="wilson")
    return interval.low, interval.high


def paired_interval(gained: int, lost: int, num_images: int) -> tuple[float, float]:
    """Returns the 95 % interval of the change of accuracy of two models on the same images.

    Of the paired counts, as McNemar's test; by Agresti and Min 2005, "Simple improved confidence intervals for
    comparing matched proportions", Statistics in Medicine 24: half an image is added to each of the four counts, so
    that a few images, or none, do not give an interval of no width.

    Args:
        gained: Images newly right.
        lost: Images newly wrong.
        num_images: All images.

    Returns:
        Its ends, -1 to 1.
    """
    size, gained_more, lost_more = num_images + 2, gained + 0.5, lost + 0.5
    change = (gained_more - lost_more) / size
    deviation = math.sqrt((gained_more + lost_more) / size - change**2) / math.sqrt(size)
    width = stats.norm.ppf((1 + _CONFIDENCE) / 2) * deviation
    return change - width, change + width


def _key(pair: "MetricsForSlice.MetricKeyAndValue", slice_name: str) -> Key:
    key = pair.key
    digit = key.sub_key.class_id.value if key.HasField("sub_key") and key.sub_key.HasField("class_id") else None
    kind: Kind = "change" if key.is_diff else "baseline" if key.model_name == "baseline" else "candidate"
    return Key(key.name, slice_name, digit, kind)


def _measurement(pair: "MetricsForSlice.MetricKeyAndValue") -> Measurement:
    value = pair.value.double_value.value
    if not pair.confidence_interval.HasField("lower_bound"):
        return Measurement(value, (value, value))
    low = pair.confidence_interval.lower_bound.double_value.value
    high = pair.confidence_interval.upper_bound.double_value.value
    if pair.key.name in _SHARES and not pair.key.is_diff:
        # TFMA's intervals are symmetric and know no range.
        low, high = max(low, 0.0), min(high, 1.0)
    return Measurement(value, (low, high))


def _slice_name(metrics: "MetricsForSlice") -> str:
    keys = metrics.slice_key.single_slice_keys
    return keys[0].bytes_value.decode() if keys else ALL
