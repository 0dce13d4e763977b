"""The plots of a report as inline SVG, in the colors of the page.

Text stays text, so that it can be read aloud, searched, and shown in the font of the page.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.evaluator.comparison import PairedAccuracy
from components.run_report.report import CalibrationBin, ClassResult, Epoch, Histogram

_TEXT, _MUTED, _EDGE = "#000001", "#000002", "#000003"
_SERIES = ("#000004", "#000005", "#000006")
_COLORS = {_TEXT: "text", _MUTED: "muted", _EDGE: "edge", **{c: f"series-{i}" for i, c in enumerate(_SERIES, 1)}}
"""Colors to draw with, by the name of the CSS variable that replaces each."""

_MISTAKE_RGB = (0.80, 0.30, 0.25)
_CORRECT_RGB = (0.50, 0.52, 0.55)
"""Colors of pixels, which CSS cannot change: visible on light and dark ground."""

_WIDTH = 4.4
_POINT = 1 / 72
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _EDGE,
    "axes.grid": True,
    "axes.labelcolor": _MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 2 * _POINT,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 2 * _POINT,
    "font.size": 8.5,
    "grid.color": _EDGE,
    "grid.linewidth": 0.6,
    "legend.borderpad": 0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": _TEXT,
    # Class names may contain dollar signs.
    "text.parse_math": False,
    "xtick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.color": _MUTED,
    "ytick.major.size": 0,
}
_MAX_NAME = 22
_MAX_DOT = 140


def plot_epochs(epochs: Sequence[Epoch], metric: Literal["loss", "accuracy"]) -> str:
    """Draws a metric of train and eval after each epoch."""
    factor = 100 if metric == "accuracy" else 1
    numbers = range(1, len(epochs) + 1)
    train = [factor * getattr(epoch, metric) for epoch in epochs]
    evaluation = [factor * getattr(epoch, f"eval_{metric}") for epoch in epochs]

    def draw(axes: Axes) -> None:
        axes.plot(numbers, train, color=_SERIES[1], linestyle="--", marker="o", label="train")
        axes.plot(numbers, evaluation, color=_SERIES[0], marker="o", label="eval")
        axes.set_xlabel("Epoch")
        axes.locator_params("x", integer=True)
        axes.figure.legend(loc="outside upper left", ncols=2)

    unit = " %" if metric == "accuracy" else ""
    label = f"{metric} by epoch; at the end {train[-1]:.4g}{unit} on train, {evaluation[-1]:.4g}{unit} on eval"
    return _draw(draw, label.capitalize(), 2.4)


def plot_histograms(histograms: Sequence[Histogram]) -> str:
    """Draws the distribution of a feature in each split, as densities."""

    def draw(axes: Axes) -> None:
        for index, histogram in enumerate(histograms):
            edges, counts = np.array(histogram.edges), np.array(histogram.counts)
            widths = np.diff(edges)
            # A bin of one value has no width, and so no density.
            density = np.divide(counts, widths * max(counts.sum(), 1), out=np.zeros_like(widths), where=widths > 0)
            color = _SERIES[index % len(_SERIES)]
            axes.stairs(density, edges, color=color, linewidth=1.2)
            if index == 0:
                axes.stairs(density, edges, color=color, fill=True, alpha=0.15)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.locator_params("x", nbins=4)

    splits = ", ".join(histogram.split for histogram in histograms)
    return _draw(draw, f"Distribution of {histograms[0].feature} in {splits}", 1.15, 2.3)


def plot_results(results: Sequence[ClassResult], name: str) -> str:
    """Draws accuracies with their intervals, and those of the baseline, one row each.

    Args:
        results: The rows, from top to bottom.
        name: What a row is, for the description.
    """
    rows = np.arange(len(results))

    def draw(axes: Axes) -> None:
        low, high = np.array([result.interval for result in results]).T * 100
        axes.hlines(rows, low, high, color=_SERIES[0], linewidth=1.4, alpha=0.6)
        accuracy = [100 * result.accuracy for result in results]
        axes.plot(accuracy, rows, "o", color=_SERIES[0], label="accuracy with 95 % interval")
        baseline = [np.nan if result.baseline is None else 100 * result.baseline for result in results]
        if not np.isnan(baseline).all():
            axes.plot(baseline, rows, "|", color=_SERIES[1], markersize=9, markeredgewidth=1.8, label="baseline")
        axes.set_yticks(rows, [_shorten(result.name) for result in results], color=_TEXT)
        axes.set_ylim(len(results) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Accuracy, %")
        axes.figure.legend(loc="outside upper left", ncols=2)

    return _draw(draw, f"Accuracy of each {name}, with intervals and baseline, as in the table", 0.7 + 0.25 * len(rows))


def plot_changes(results: Mapping[str, PairedAccuracy], name: str) -> str:
    """Draws changes of the accuracy with their intervals, one row each, by the name of the row from top to bottom.

    Args:
        results: The rows; at least one.
        name: What a row is, for the description.
    """
    rows = np.arange(len(results))
    colors = {"better": _SERIES[2], "worse": _SERIES[1], "": _MUTED}

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_TEXT, linewidth=0.8)
        for tendency, color in colors.items():
            found = [(row, result) for row, result in enumerate(results.values()) if result.tendency == tendency]
            for row, result in found:
                low, high = 100 * np.array(result.interval)
                axes.hlines(row, low, high, color=color, linewidth=1.4, alpha=0.6)
            changes = [100 * result.change for _, result in found]
            label = tendency or "no clear difference"
            axes.plot(changes, [row for row, _ in found], "o", color=color, label=label if found else None)
        axes.set_yticks(rows, list(map(_shorten, results)), color=_TEXT)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Change of the accuracy, points")
        axes.figure.legend(loc="outside upper left", ncols=3)

    return _draw(
        draw, f"Change of the accuracy of each {name}, with intervals, as in the table", 0.7 + 0.25 * len(rows)
    )


def plot_calibration(bins: Sequence[CalibrationBin]) -> str:
    """Draws a reliability diagram: accuracy by confidence. Larger dots stand for more images."""
    filled = [each for each in bins if each.images]

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], "--", color=_MUTED, linewidth=1)
        confidence, accuracy = ([100 * each.confidence for each in filled], [100 * each.accuracy for each in filled])
        images = np.array([each.images for each in filled])
        axes.plot(confidence, accuracy, color=_SERIES[0], linewidth=1)
        if filled:
            axes.scatter(
                confidence, accuracy, 16 + _MAX_DOT * images / images.max(), _SERIES[0], alpha=0.75, linewidth=0
            )
        axes.set(xlim=(0, 103), ylim=(0, 103), xlabel="Confidence, %", ylabel="Accuracy, %", aspect="equal")

    return _draw(draw, "Accuracy by confidence, as in the table; on the diagonal both are equal", 3.6, 3.8)


def plot_confusion(confusion: Sequence[Sequence[int]]) -> str:
    """Draws a confusion matrix of many classes: the redder, the more mistakes."""
    counts = np.array(confusion, float)
    classes = np.arange(len(counts))
    correct = np.zeros_like(counts, bool)
    correct[classes, classes] = True
    mistakes = np.where(correct, 0, counts)
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3] = np.where(correct[..., np.newaxis], _CORRECT_RGB, _MISTAKE_RGB)
    # The square root keeps single mistakes visible beside frequent ones.
    pixels[..., 3] = np.where(correct, 0.5, np.sqrt(mistakes / max(mistakes.max(), 1)))

    def draw(axes: Axes) -> None:
        axes.imshow(pixels, interpolation="none")
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[], xlabel="Prediction", ylabel="Class")

    return _draw(draw, f"Confusion matrix of {len(classes)} classes; the most frequent mistakes are in the table", 4.2)


def _draw(draw: Callable[[Axes], None], label: str, height: float, width: float = _WIDTH) -> str:
    """Returns an SVG; `height` and `width` are in inches of 96 CSS pixels."""
    # The IDs of a plot depend on the salt: the same in each report, and unique in it.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        # The browser may have the characters that Matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph")
        figure = Figure(figsize=(width, height))
        draw(figure.add_subplot())
        file = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg class="plot" role="img" aria-label="{escape(label)}"', 1)
    # Names of groups, such as `axes_1`, would be the same in each plot.
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    return re.sub(f"(?<=: )({'|'.join(_COLORS)})", lambda found: f"var(--{_COLORS[found[0]]})", svg)


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
