"""What `digits runs --compare` prints."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import percent, print_table, run_values

if TYPE_CHECKING:
    from components.evaluator.comparison import PairedAccuracy, PredictionComparison
    from pipeline.local.comparison import RunComparison

_SIDES = ("first", "second")


def comparison_values(comparison: "RunComparison") -> dict[str, Any]:
    """Returns the JSON values of a comparison."""
    return {
        "runs": [run_values(run) for run in comparison.runs],
        "data": [data and data.model_dump() for data in comparison.data],
        "settings": comparison.settings,
        "software": comparison.software,
        "metrics": [asdict(metric) for metric in comparison.metrics],
        "predictions": comparison.predictions and asdict(comparison.predictions),
        "missing": comparison.missing,
    }


def show_comparison(comparison: "RunComparison") -> None:
    """Prints a comparison: the runs with their data, then what differs, then the accuracy on the same images."""
    print_table(("", *_SIDES), [(name, *map(_cell, pair)) for name, *pair in comparison.summary])
    differing = {"setting": comparison.settings, "software": comparison.software}
    for name, pairs in differing.items():
        if pairs:
            click.echo()
            print_table((name, *_SIDES), [(key, *map(_text, pair)) for key, pair in pairs.items()])
    metrics = comparison.other_metrics
    rows = [
        (metric.gate, metric.metric, metric.slice, metric.feature or "", *metric.texts)
        for metric in metrics
        if metric.differs
    ]
    click.echo()
    if rows:
        print_table(("gate", "metric", "slice", "feature", *_SIDES), rows)
    click.echo(f"{len(metrics) - len(rows)} metrics of the gates are equal.")
    if comparison.predictions:
        click.echo()
        _show_predictions(comparison.predictions)
    for sentence in comparison.missing:
        click.echo(f"Missing: {sentence}")


def _show_predictions(predictions: "PredictionComparison") -> None:
    paired: Mapping[str, PairedAccuracy] = {
        **({"all": predictions.overall} if predictions.overall else {}),
        **{f"class {name}": result for name, result in predictions.classes.items()},
        **predictions.corruptions,
    }
    if paired:
        header = ("accuracy", "images", *_SIDES, "change, points", "95 % interval", "")
        print_table(header, [(name, *_cells(result)) for name, result in paired.items()])
    else:
        click.echo("The runs have no test images in common.")
    left_out = {"images": predictions.left_out, "corrupted images": predictions.corrupted_left_out}
    for name, (first, second) in left_out.items():
        if first or second:
            click.echo(
                f"Left out: {first} {name} that only the first run has, {second} {name} that only the second run has."
            )


def _cells(result: "PairedAccuracy") -> tuple[str, ...]:
    change, low, high = [f"{100 * number:+.2f}" for number in (result.change, *result.interval)]
    shares = percent(result.first), percent(result.second)
    return str(result.images), *shares, change, f"{low} to {high}", result.tendency


def _cell(value: Any) -> str:
    return percent(value) if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
