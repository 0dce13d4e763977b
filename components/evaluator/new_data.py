"""Judges new data with the model in production, which knows what the images of a class look like.

Statistics do not see that images are transposed or labels swapped. Neither does the candidate, which learns it. But if
the model in production recognizes far less of the new data than of its own, one of the two is wrong, and only a person
can tell which.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from components.evaluator.bounds import ALL_NAME, Bound, Key, Measurement, selected
from components.intervals import difference_interval
from components.verdict import Finding, format_number
from registry.provenance import Provenance

ADVICE = (
    "The new data contradicts the model in production. Inspect it with `digits verify-data`. If it is right, accept it "
    "with `digits run --accept-new-data` or, on Kubeflow, with the parameter accept_new_data=1."
)

_UNKNOWN = "not measured: the model in production has no recorded results on its own data"
_NO_IMAGES = "not measured: there are no images"
_CAUSE = "labels or orientation may have changed"

Results = Mapping[tuple[str, str], Measurement]
"""Shares by metric and slice."""


def own_results(provenance: Provenance | None, gate: str) -> Results:
    """Returns what a gate measured when it let a version pass, on the data of that version.

    Args:
        provenance: That of the version, if it has one.
        gate: Name of the gate.

    Returns:
        The measured values; without an interval, as in versions of earlier releases, a value counts as exact.
    """
    return {
        (metric, name): Measurement(value, record.intervals.get(metric, {}).get(name, (value, value)))
        for record in (provenance.origin.gates if provenance else ())
        if record.gate == gate
        for metric, values in record.metrics.items()
        for name, value in values.items()
    }


def check_new_data(
    measured: Mapping[Key, Measurement],
    bounds: Iterable[Bound],
    classes: Sequence[str],
    own: Results,
    *,
    accepted: bool,
) -> Iterator[Finding]:
    """Compares what the baseline recognizes of new data with what it recognized of its own.

    Args:
        measured: The result of `measurements`.
        bounds: Those with `max_new_data_drop` are checked.
        classes: Names of the classes.
        own: The results of the baseline on its own data.
        accepted: Whether a person has accepted the data.

    Yields:
        A finding for each slice of these bounds, if there is a baseline.
    """
    for bound in bounds:
        if bound.max_new_data_drop is not None:
            for name, values in selected(measured, bound, classes):
                if values["baseline"]:
                    of_baseline = own.get((bound.metric, name))
                    finding = judge_new_data(
                        bound.metric, name, values["baseline"], of_baseline, bound.max_new_data_drop
                    )
                    yield replace(
                        finding,
                        passed=finding.passed or accepted,
                        accepted=accepted and not finding.passed,
                        setting=bound.new_data_setting,
                    )


def judge_new_data(metric: str, name: str, new: Measurement, own: Measurement | None, max_drop: float) -> Finding:
    """Judges one share of a model on new data.

    It is refused only if the whole 95 % interval of the change from the model's own data is below the limit: on a few
    images, a model may have bad luck.

    Args:
        metric: The share, such as `accuracy`.
        name: The slice, such as `all` or `class 7`.
        new: The share on new data.
        own: The share on the data that the model was pushed with; if None, nothing is refused.
        max_drop: How far the share may drop.
    """
    finding = Finding(
        f"change of baseline {metric}",
        name,
        passed=True,
        lower_bound=-max_drop,
        expected=f"upper end ≥ {format_number(-max_drop)}",
    )
    if not math.isfinite(new.value):
        return replace(finding, reason=_NO_IMAGES)
    finding = replace(finding, baseline=new.value)
    if own is None:
        return replace(finding, reason=_UNKNOWN)
    interval = difference_interval(own.value, own.interval, new.value, new.interval)
    passed = interval[1] >= -max_drop
    return replace(
        finding,
        passed=passed,
        reason="" if passed else _reason(name, new.value, own.value),
        value=new.value - own.value,
        interval=interval,
    )


def _reason(name: str, new: float, own: float) -> str:
    if name != ALL_NAME:
        # The same reason for all classes, so that the verdict can combine them.
        return f"the model in production recognizes far fewer of these images than of its own: {_CAUSE}"
    return (
        f"the model in production recognizes {100 * new:.3g} % of the new test images; "
        f"it recognized {100 * own:.3g} % of its own: {_CAUSE}"
    )
