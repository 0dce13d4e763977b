"""Renders a comparison of two runs as an HTML page in the style of the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.run_report.page import FEW_CLASSES, render_page
from components.run_report.plots import plot_changes

if TYPE_CHECKING:
    from components.evaluator.comparison import PairedAccuracy
    from pipeline.local.comparison import RunComparison

_TEMPLATE = Path(__file__).with_name("comparison_page.html.jinja")
_HEADLINES = {
    "better": "The second run is more accurate",
    "worse": "The second run is less accurate",
    "": "No clear difference in accuracy",
}


def render_comparison(comparison: "RunComparison") -> str:
    """Returns the HTML page of a comparison, the same for the same comparison."""
    predictions = comparison.predictions
    overall = predictions.overall if predictions else None
    return render_page(
        _TEMPLATE,
        comparison=comparison,
        overall=overall,
        headline=_HEADLINES[overall.tendency] if overall else "Two runs",
        classes=_order(predictions.classes) if predictions else {},
        plot_changes=plot_changes,
    )


def _order(classes: "Mapping[str, PairedAccuracy]") -> "dict[str, PairedAccuracy]":
    """Returns all classes if there are few, in their order; otherwise the largest changes first."""
    if len(classes) <= FEW_CLASSES:
        return dict(classes)
    return dict(sorted(classes.items(), key=lambda item: -abs(item[1].change)))
