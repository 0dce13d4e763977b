"""Compares the result of TFMA, with confidence intervals, with the bounds of a gate."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict
from scipy import stats

from components.intervals import Interval, images_needed, no_change, no_change_of_precision, perfect_share
from components.verdict import Finding

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto.metrics_for_slice_pb2 import MetricsForSlice

ALL = ""
"""Name of the slice of all images."""
ALL_NAME = "all"
"""The same in findings."""

ACCURACY = "accuracy"
EXAMPLE_COUNT = "example_count"
EXPECTED_CALIBRATION_ERROR = "expected_calibration_error"
LOG_LOSS = "log_loss"
PRECISION = "precision"
RECALL = "recall"
NUM_LABELED = "num_labeled"
"""Number of images of a class."""
NUM_PREDICTED = "num_predicted"
"""Number of images that the model assigns to a class."""
GAINED = "gained"
"""Number of images that only the candidate classifies correctly."""
LOST = "lost"
"""Number of images that only the baseline classifies correctly."""

Kind = Literal["candidate", "baseline", "change"]
Extent = Literal["all", "each class", "each slice", "mean of slices"]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_NUM_IMAGES = {ACCURACY: EXAMPLE_COUNT, RECALL: NUM_LABELED, PRECISION: NUM_PREDICTED}
"""Shares, and the metrics with their numbers of images."""

_PERFECT, _EQUAL = "even a perfect model", "even a model equal to the baseline"
_BEST_INTERVALS = {
    ACCURACY: (perfect_share, _PERFECT),
    RECALL: (perfect_share, _PERFECT),
    PRECISION: (perfect_share, _PERFECT),
    f"change of {ACCURACY}": (no_change, _EQUAL),
    f"change of {RECALL}": (no_change, _EQUAL),
    f"change of {PRECISION}": (no_change_of_precision, _EQUAL),
}
"""The interval of the best possible result on a number of images, and a model that has this result."""


class Bound(BaseModel):
    """A requirement for one metric.

    Attributes:
        metric: Name of the metric in TFMA's result.
        extent: Whether the bound applies to all images, to each class, to each slice, or to the mean of the slices.
        lower: Minimum of a metric that should be high.
        upper: Maximum of a metric that should be low; a bound has either a minimum or a maximum.
        max_worsening: How much worse than the baseline the metric may be, in units of the metric.
        slices: Names of the slices for the last two extents; a missing slice is refused.
        max_new_data_drop: How far a share of the baseline may be below that on its own data; None if any is allowed.
        setting: Full name of the setting with the minimum or maximum, for messages.
        worsening_setting: Full name of the setting with `max_worsening`.
        new_data_setting: Full name of the setting with `max_new_data_drop`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    extent: Extent = "all"
    lower: float | None = None
    upper: float | None = None
    max_worsening: float
    max_new_data_drop: float | None = None
    slices: tuple[str, ...] = ()
    setting: str | None = None
    worsening_setting: str | None = None
    new_data_setting: str | None = None


@dataclass(frozen=True)
class Key:
    """Identifies a number in an evaluation."""

    metric: str
    slice: str = ALL
    class_id: int | None = None
    kind: Kind = "candidate"


@dataclass(frozen=True)
class Measurement:
    """A number with its 95 % confidence interval.

    Attributes:
        value: The number; may be NaN.
        interval: Ends of the interval; both are the number itself if its variance is unknown.
        num_images: For a share or its change, the number of images that it is a share of.
        pairs: For a change of accuracy, the numbers of images gained and lost.
    """

    value: float
    interval: Interval
    num_images: int | None = None
    pairs: tuple[int, int] | None = None


def measurements(metrics: "Iterable[MetricsForSlice]") -> dict[Key, Measurement]:
    """Converts the result of TFMA.

    Args:
        metrics: The result of `tfma.load_metrics`.
    """
    measured = {
        _key(pair, _slice_name(of_slice)): _measurement(pair)
        for of_slice in metrics
        for pair in of_slice.metric_keys_and_values
        if pair.value.HasField("double_value")
    }
    for key, measurement in measured.items():
        if key.metric in _NUM_IMAGES:
            count = measured.get(replace(key, metric=_NUM_IMAGES[key.metric], kind="candidate"))
            measured[key] = replace(measurement, num_images=int(count.value) if count else None)
        if (key.metric, key.kind) == (ACCURACY, "change"):
            gained, lost = (int(measured[replace(key, metric=metric)].value) for metric in (GAINED, LOST))
            measured[key] = replace(measured[key], pairs=(gained, lost))
    return measured


def check_bounds(
    measured: Mapping[Key, Measurement], bounds: Iterable[Bound], classes: Sequence[str]
) -> Iterator[Finding]:
    """Checks an evaluation against bounds.

    A value passes if its whole 95 % interval meets the bound. If there is a baseline, the change against it, which is
    paired on the same images, must pass as well. A few lucky images do not let a bad model pass, and if the bounds
    leave room for the interval, a few unlucky images do not stop a good model.

    Args:
        measured: The result of `measurements`.
        bounds: The requirements.
        classes: Names of the classes, for a bound on each class and for messages.

    Yields:
        A finding for each value and each change.
    """
    has_baseline = any(key.kind == "baseline" for key in measured)
    for bound in bounds:
        for name, values in selected(measured, bound, classes):
            baseline = values["baseline"].value if values["baseline"] else math.nan
            lower, upper = bound.lower, bound.upper
            missing = "the evaluation has no such metric or slice"
            finding = _finding(bound.metric, name, values["candidate"], lower, upper, baseline, missing)
            yield replace(finding, setting=bound.setting)
            if has_baseline:
                change = values["change"] if math.isfinite(baseline) else None
                lower, upper = (None, bound.max_worsening) if lower is None else (-bound.max_worsening, None)
                missing = "the evaluation has no comparison with the baseline"
                finding = _finding(f"change of {bound.metric}", name, change, lower, upper, baseline, missing)
                yield replace(finding, setting=bound.worsening_setting)


def _key(pair: "MetricsForSlice.MetricKeyAndValue", slice_name: str) -> Key:
    key = pair.key
    class_id = key.sub_key.class_id.value if key.HasField("sub_key") and key.sub_key.HasField("class_id") else None
    kind: Kind = "change" if key.is_diff else "baseline" if key.model_name == "baseline" else "candidate"
    return Key(key.name, slice_name, class_id, kind)


def _measurement(pair: "MetricsForSlice.MetricKeyAndValue") -> Measurement:
    value = pair.value.double_value.value
    if not pair.confidence_interval.HasField("lower_bound"):
        return Measurement(value, (value, value))
    low = pair.confidence_interval.lower_bound.double_value.value
    high = pair.confidence_interval.upper_bound.double_value.value
    return Measurement(value, (low, high))


def _slice_name(metrics: "MetricsForSlice") -> str:
    keys = metrics.slice_key.single_slice_keys
    return keys[0].bytes_value.decode() if keys else ALL


Values = Mapping[Kind, Measurement | None]


def selected(measured: Mapping[Key, Measurement], bound: Bound, classes: Sequence[str]) -> Iterator[tuple[str, Values]]:
    """Yields the names and the values to which a bound applies."""

    def values(slice_name: str, class_id: int | None = None) -> Values:
        return {kind: measured.get(Key(bound.metric, slice_name, class_id, kind)) for kind in _KINDS}

    match bound.extent:
        case "all":
            yield ALL_NAME, values(ALL)
        case "each slice":
            yield from ((name, values(name)) for name in bound.slices)
        case "mean of slices":
            parts = [values(name) for name in bound.slices]
            yield f"mean of {len(parts)}", {kind: _mean([part[kind] for part in parts]) for kind in _KINDS}
        case "each class":
            yield from ((f"class {name}", values(ALL, class_id)) for class_id, name in enumerate(classes))


def _mean(parts: Sequence[Measurement | None]) -> Measurement | None:
    """Returns the mean, with the mean ends of the intervals, or None if a part is missing.

    Slices are copies of the same images, so their values are not independent: an interval for independent values would
    be too narrow.
    """
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    low, high = (sum(part.interval[end] for part in known) / len(known) for end in (0, 1))
    num_images = [part.num_images for part in known if part.num_images is not None]
    return Measurement(sum(part.value for part in known) / len(known), (low, high), min(num_images, default=None))


def _finding(
    metric: str,
    name: str,
    measured: Measurement | None,
    lower: float | None,
    upper: float | None,
    baseline: float,
    missing: str,
) -> Finding:
    reason = ""
    finite = measured is not None and math.isfinite(measured.value)
    certain = measured is not None and all(map(math.isfinite, measured.interval))
    if measured is None:
        reason = missing
    elif not finite:
        # Without images of a class, its recall is not a number.
        too_few = _too_few_images(metric, measured, lower) if lower is not None and metric.endswith(RECALL) else ""
        reason = too_few or "undefined: no image has this label or prediction"
    elif not certain:
        reason = "no confidence interval: too few images"
    elif lower is not None and measured.interval[0] < lower:
        # The same reason for all classes or slices, so that the verdict can combine them.
        reason = _too_few_images(metric, measured, lower) or f"it may be as low as {measured.interval[0]:.4f}"
    elif upper is not None and measured.interval[1] > upper:
        reason = f"it may be as high as {measured.interval[1]:.4f}"
    if reason.startswith("it may") and measured and measured.pairs and any(measured.pairs):
        reason = f"{reason}; {_mcnemar(*measured.pairs)}"
    return Finding(
        metric,
        name,
        passed=not reason,
        reason=reason,
        value=measured.value if measured and finite else None,
        interval=measured.interval if measured and finite and certain else None,
        lower_bound=lower,
        upper_bound=upper,
        baseline=baseline if math.isfinite(baseline) else None,
    )


def _too_few_images(metric: str, measured: Measurement, lower: float) -> str:
    """Explains that not even the best result would meet a bound, or returns an empty text."""
    if metric not in _BEST_INTERVALS or measured.num_images is None:
        return ""
    best, model = _BEST_INTERVALS[metric]
    needed = images_needed(best, lower)
    return f"too few images: {model} would need {needed}" if needed is not None and measured.num_images < needed else ""


def _mcnemar(gained: int, lost: int) -> str:
    """Describes McNemar's exact, one-sided test of the hypothesis that the candidate is not worse."""
    probability = stats.binomtest(lost, gained + lost, alternative="greater").pvalue
    return f"{lost} images newly wrong, {gained} newly right (one-sided McNemar p = {probability:.2g})"
