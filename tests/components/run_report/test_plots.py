import re
import warnings
import xml.etree.ElementTree as ET

import pytest

from components.evaluator.comparison import PairedAccuracy
from components.run_report import plots
from components.run_report.report import CalibrationBin, Histogram
from tests.support.reports import full_report, make_evaluation, make_result

_SVG = "{http://www.w3.org/2000/svg}"
EVALUATION = make_evaluation(["0", "1", "2"])


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{_SVG}text")]


PLOTS = {
    "epochs": plots.plot_epochs(full_report().epochs, "loss"),
    "histograms": plots.plot_histograms([Histogram(feature="f", split="train", edges=(0, 1, 2), counts=(3, 4))]),
    "results": plots.plot_results(EVALUATION.classes, "class"),
    "changes": plots.plot_changes({"0": PairedAccuracy(9, 0.5, 0.4, -0.1, (-0.2, -0.05))}, "class"),
    "calibration": plots.plot_calibration(EVALUATION.calibration),
    "confusion": plots.plot_confusion(EVALUATION.confusion),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_takes_all_colors_from_the_page(name: str) -> None:
    svg = PLOTS[name]
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "var(--muted)" in svg
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert texts(svg), "text is text"
    assert re.findall(r"metadata|<!DOCTYPE|20\d\d-", svg) == []


def test_rows_are_labeled_with_their_names() -> None:
    results = [make_result(name, 100, 0.9) for name in ("$x$ & <b>", "日本", "a" * 40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = plots.plot_results(results, "class")
    assert {"$x$ & <b>", "日本", f"{'a' * 21}…", "baseline"} <= set(texts(svg))
    without = [result.model_copy(update={"baseline": None}) for result in results]
    assert "baseline" not in texts(plots.plot_results(without, "class"))


def test_clear_changes_stand_out() -> None:
    intervals = {"a": (0.1, 0.2), "b": (-0.2, -0.1), "c": (-0.1, 0.1)}
    results = {name: PairedAccuracy(9, 0.5, 0.5, sum(ends) / 2, ends) for name, ends in intervals.items()}
    svg = plots.plot_changes(results, "class")
    assert {"a", "b", "c", "better", "worse", "no clear difference"} <= set(texts(svg))
    assert {"var(--series-3)", "var(--series-2)"} <= set(re.findall(r"var\([\w-]+\)", svg))
    assert "worse" not in texts(plots.plot_changes({"a": results["a"]}, "class"))


@pytest.mark.parametrize(
    "svg",
    [
        plots.plot_histograms([Histogram(feature="f", split="train", edges=(5, 5), counts=(0,))]),
        plots.plot_calibration([CalibrationBin(lower=0, upper=1, images=0, confidence=0, accuracy=0)]),
        plots.plot_confusion([[3, 0], [0, 4]]),
        plots.plot_epochs(full_report().epochs[:1], "accuracy"),
    ],
)
def test_plots_without_anything_to_show_are_valid(svg: str) -> None:
    assert not re.search(r"\bnan\b", svg.lower())
    ET.fromstring(svg)
