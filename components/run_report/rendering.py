"""Renders a report as an HTML page."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.run_report import plots
from components.run_report.page import FEW_CLASSES, render_page
from components.run_report.report import ClassResult, Evaluation, Report, Requirement

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_MAX_CONFUSIONS = 200
_SMALL_IMAGE = 64
_OUTCOMES = {
    "pushed": "Pushed",
    "refused": "Refused",
    "failed": "Failed",
    "stopped": "Stopped",
    "unfinished": "Not finished",
}


def render_html(report: Report) -> str:
    """Returns the HTML page of a report, the same for the same report."""
    return render_page(
        _TEMPLATE,
        report=report,
        headline=_headline(report),
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
    if len(classes) <= FEW_CLASSES:
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
