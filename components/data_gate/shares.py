"""The part of DataGate that needs no TFDV: whether images are light ink on a background of 0."""

from components.data_gate.limits import DataLimits
from components.features import BACKGROUND_SHARE_KEY, SATURATED_SHARE_KEY
from components.verdict import Finding

HEADINGS = {
    "feature": "feature",
    "slice": "split",
    "metric": "rule",
    "value": "observed",
    "bound": "allowed",
    "decision": "decision",
    "reason": "reason",
    "setting": "setting",
}
"""Columns of the table of findings."""


def share_findings(
    split: str, background: float | None, saturated: float | None, limits: DataLimits
) -> tuple[Finding, Finding]:
    """Checks the mean shares of pixels with the values 0 and 255 in a split; None if there are no images."""
    return (
        at_least(
            "share of zeros (background)",
            split,
            background,
            limits,
            "min_background",
            "too few pixels are 0 (background): the images may be inverted, or a constant was added to them",
            BACKGROUND_SHARE_KEY,
        ),
        at_least(
            "share of 255 (ink)",
            split,
            saturated,
            limits,
            "min_saturated",
            "too few pixels are 255 (ink): the images may be blank or darkened, or their pixels have another range",
            SATURATED_SHARE_KEY,
        ),
    )


def at_least(
    rule: str,
    split: str,
    value: float | None,
    limits: DataLimits,
    limit: str,
    reason: str,
    feature: str | None = None,
) -> Finding:
    """Compares a value with the limit of that name; a limit of 0 is switched off."""
    least = getattr(limits, limit)
    passed = least == 0 or (value is not None and value >= least)
    if value is None:
        reason = "there are no values"
    return Finding(
        rule,
        split,
        passed,
        "" if passed else reason,
        value=value,
        lower_bound=least,
        feature=feature,
        setting=f"data_gate.{limit}",
    )
