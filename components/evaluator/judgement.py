"""From metrics and their intervals to a decision: what keeps its bound for certain passes, nothing else does."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict
from scipy import stats

from components.evaluator.measurements import ALL, Key, Measurement
from components.verdict import Finding

Extent = Literal["all", "each digit", "each slice", "mean of slices"]


class Bound(BaseModel):
    """What is asked of one metric.

    Attributes:
        metric: Its name in TFMA's result.
        extent: Whether it is asked of all images together, of each digit, of each slice, or of the mean of the slices.
        lower: The least that is allowed; a metric has either this or `upper`.
        upper: The most that is allowed.
        max_worsening: How much worse than the baseline's it may be, in the units of the metric.
        slices: Names of the slices, for the last two extents: one that is missing is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    extent: Extent = "all"
    lower: float | None = None
    upper: float | None = None
    max_worsening: float
    slices: tuple[str, ...] = ()

    @property
    def higher_is_better(self) -> bool:
        """Whether the metric should be high, as accuracy, or low, as an error."""
        return self.lower is not None


def judge(measured: Mapping[Key, Measurement], bounds: Iterable[Bound]) -> Iterator[Finding]:
    """Applies bounds to what was measured.

    Each value must keep its bound with the worse end of its interval, and so must its change against the baseline, if
    there is one, which is paired on the same images. So a few lucky images do not let a bad model pass, and where the
    bounds leave room for the interval, a few unlucky ones do not stop a good one.

    Args:
        measured: What `measurements` read.
        bounds: What is asked.

    Yields:
        One finding for each value, and one for each change.
    """
    has_baseline = any(key.kind == "baseline" for key in measured)
    for bound in bounds:
        for name, value, change, baseline in _selected(measured, bound):
            yield _value_finding(bound, name, value, baseline)
            if has_baseline:
                yield _change_finding(bound, name, change, baseline)


class _Selection(NamedTuple):
    """A value to judge, and what it is compared with."""

    name: str
    value: Measurement | None
    change: Measurement | None
    baseline: Measurement | None


def _selected(measured: Mapping[Key, Measurement], bound: Bound) -> Iterator[_Selection]:
    if bound.extent == "mean of slices":
        parts = [_select(measured, Key(bound.metric, name), name) for name in bound.slices]
        yield _Selection(
            f"mean of {len(parts)}",
            _mean([part.value for part in parts]),
            _mean([part.change for part in parts]),
            _mean([part.baseline for part in parts]),
        )
    elif bound.extent == "each slice":
        yield from (_select(measured, Key(bound.metric, name), name) for name in bound.slices)
    elif bound.extent == "each digit":
        digits = sorted({key.digit for key in measured if key.metric == bound.metric and key.digit is not None})
        yield from (_select(measured, Key(bound.metric, ALL, digit), f"digit {digit}") for digit in digits)
        if not digits:
            yield _Selection("each digit", None, None, None)
    else:
        yield _select(measured, Key(bound.metric, ALL), "all")


def _select(measured: Mapping[Key, Measurement], key: Key, name: str) -> _Selection:
    return _Selection(name, measured.get(key), measured.get(key.of("change")), measured.get(key.of("baseline")))


def _mean(parts: list[Measurement | None]) -> Measurement | None:
    """Returns the mean of values; its interval is as wide as if the values rose and fell together.

    They nearly do: the slices are copies of the same images. An interval for independent values would be too narrow.
    """
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    size = len(known)
    return Measurement(
        sum(part.value for part in known) / size,
        (sum(part.interval[0] for part in known) / size, sum(part.interval[1] for part in known) / size),
    )


def _value_finding(bound: Bound, name: str, value: Measurement | None, baseline: Measurement | None) -> Finding:
    finding = Finding(bound.metric, name, passed=False, lower_bound=bound.lower, upper_bound=bound.upper)
    if value is None:
        return replace(finding, reason="the evaluation has no such metric or slice")
    if not math.isfinite(value.value):
        return replace(finding, reason="not a number: no image is, or was taken for, this digit")
    base = baseline.value if baseline and math.isfinite(baseline.value) else None
    return _decided(replace(finding, baseline=base), value)


def _change_finding(bound: Bound, name: str, change: Measurement | None, baseline: Measurement | None) -> Finding:
    lower, upper = (-bound.max_worsening, None) if bound.higher_is_better else (None, bound.max_worsening)
    finding = Finding(f"change of {bound.metric}", name, passed=False, lower_bound=lower, upper_bound=upper)
    if change is None or baseline is None:
        return replace(finding, reason="the evaluation does not compare it with the baseline")
    if not (math.isfinite(change.value) and math.isfinite(baseline.value)):
        return replace(finding, reason="not a number: the baseline or the model has no value of its own here")
    decided = _decided(replace(finding, baseline=baseline.value), change)
    if not decided.passed and change.pairs and any(change.pairs):
        return replace(decided, reason=f"{decided.reason}; {_mcnemar(*change.pairs)}")
    return decided


def _decided(finding: Finding, measurement: Measurement) -> Finding:
    finding = replace(finding, value=measurement.value)
    low, high = measurement.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return replace(finding, reason="nothing is certain of it: too few images")
    finding = replace(finding, interval=measurement.interval)
    if finding.lower_bound is not None and low < finding.lower_bound:
        return replace(finding, reason=f"it may be as low as {low:.4f}")
    if finding.upper_bound is not None and high > finding.upper_bound:
        return replace(finding, reason=f"it may be as high as {high:.4f}")
    return replace(finding, passed=True)


def _mcnemar(gained: int, lost: int) -> str:
    """States McNemar's exact test: whether so many lost images could be chance if both models were equally good."""
    probability = stats.binomtest(lost, gained + lost, alternative="greater").pvalue
    return f"{lost} images newly wrong, {gained} newly right (McNemar p = {probability:.2g})"
