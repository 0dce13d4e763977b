"""Renders a report as one HTML file that needs no other file and no network."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.run_report import plots
from components.run_report.report import ClassResult, Evaluation, Interval, Report, Requirement
from components.verdict import format_number

_TEMPLATE = "report.html.jinja"
_FEW_CLASSES = 20
"""Up to this number, tables show all classes; with more, the worst ones."""
_MAX_CONFUSIONS = 200
_SMALL_IMAGE = 64
_OUTCOMES = {
    "pushed": "Pushed",
    "refused": "Refused",
    "failed": "Failed",
    "stopped": "Stopped",
    "unfinished": "Not finished",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render_html(report: Report) -> str:
    """Returns the HTML page of a report: static, without scripts, and the same for the same report."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "change": _change,
        "count": _count,
        "duration": _duration,
        "memory": _memory,
        "number": format_number,
        "percent": _percent,
        "percents": _percents,
        "points": _points,
        "setting": _setting,
    }
    return environment.get_template(_TEMPLATE).render(
        report=report,
        headline=_headline(report),
        few_classes=_FEW_CLASSES,
        worst_classes=_worst_first(report.evaluation.classes) if report.evaluation else (),
        confusions=_confusions(report.evaluation)[:_MAX_CONFUSIONS] if report.evaluation else (),
        histograms=_group(report.data.histograms, "feature") if report.data else (),
        samples=_group(report.data.samples, "label") if report.data else (),
        is_small=report.data is not None and max(report.data.image_shape[:2]) <= _SMALL_IMAGE,
        plots=plots,
        used_columns=_used_columns,
    )


def _headline(report: Report) -> str:
    outcome = _OUTCOMES.get(report.outcome, report.outcome)
    if report.version is not None:
        return f"{outcome} as version {report.version}"
    gates = [gate.name for gate in report.gates if not gate.passed]
    return f"{outcome} by {' and '.join(gates)}" if gates and report.outcome == "refused" else outcome


def _worst_first(classes: Sequence[ClassResult]) -> list[ClassResult]:
    """Returns all classes if there are few, in their order; otherwise the worst first, those without images last."""
    if len(classes) <= _FEW_CLASSES:
        return list(classes)
    return sorted(classes, key=lambda result: (not result.images, result.accuracy))


def _confusions(evaluation: Evaluation) -> Sequence[tuple[str, str, int]]:
    """Returns the pairs of class and wrong prediction with their number of images, the most frequent first."""
    names = [result.name for result in evaluation.classes]
    pairs = [
        (name, prediction, images)
        # Runs of earlier releases have no predictions.
        for name, row in zip(names, evaluation.confusion, strict=False)
        for prediction, images in zip([*names, ""], row, strict=False)
        if images and name != prediction
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def _group(records: Iterable[Any], field: str) -> Sequence[tuple[str, Sequence[Any]]]:
    """Groups records by the value of a field, in the order of the first record of each group."""
    groups: dict[str, list[Any]] = {}
    for record in records:
        groups.setdefault(getattr(record, field), []).append(record)
    return list(groups.items())


def _used_columns(requirements: Sequence[Requirement]) -> Sequence[str]:
    """Returns the fields with a value in at least one row."""
    fields = ("metric", "slice", "feature", "value", "interval", "bound", "baseline", "reason", "setting")
    return [name for name in fields if any(getattr(row, name) not in (None, "") for row in requirements)]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\xa0%"


def _percents(interval: Interval) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _points(difference: float) -> str:
    """Returns a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def _change(interval: Interval) -> str:
    return f"{_points(interval[0])} to {_points(interval[1])}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\xa0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _memory(size: int) -> str:
    exponent = min(int(math.log2(size)) // 10, len(_UNITS) - 1) if size > 0 else 0
    return f"{size / 1024**exponent:.1f}\xa0{_UNITS[exponent]}"


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)
