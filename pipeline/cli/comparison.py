"""What `digits runs --compare` prints."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import percent, print_table, run_values

if TYPE_CHECKING:
    from components.evaluator.comparison import PairedAccuracy, PredictionComparison
    from components.verdict import Finding
    from pipeline.local.comparison import Metric, RunComparison

_SIDES = ("first", "second")
_FINGERPRINT_WIDTH = 12


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
    print_table(("", *_SIDES), _summary(comparison))
    differing = {"setting": comparison.settings, "software": comparison.software}
    for name, pairs in differing.items():
        if pairs:
            click.echo()
            print_table((name, *_SIDES), [(key, *map(_text, pair)) for key, pair in pairs.items()])
    metrics = [each for each in comparison.metrics if not _is_shown_elsewhere(each, comparison.predictions)]
    rows = [
        (metric.gate, metric.metric, metric.slice, metric.feature or "", _value(metric.first), _value(metric.second))
        for metric in metrics
        if _value(metric.first) != _value(metric.second)
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


def _summary(comparison: "RunComparison") -> Iterable[tuple[str, ...]]:
    runs, data = comparison.runs, comparison.data
    yield "run", *(run.run_id for run in runs)
    yield "outcome", *(run.outcome for run in runs)
    yield "version", *(_text(run.version) for run in runs)
    yield "test accuracy", *(percent(run.test_accuracy) for run in runs)
    yield "data", *(each.uri if each else "" for each in data)
    yield "span", *(str(each.span) if each else "" for each in data)
    yield "fingerprint", *(each.fingerprint[:_FINGERPRINT_WIDTH] if each else "" for each in data)
    for metric in comparison.metrics:
        if _counts_images(metric):
            yield f"{metric.slice} images", _value(metric.first), _value(metric.second)


def _counts_images(metric: "Metric") -> bool:
    return (metric.gate, metric.metric) == ("DataGate", "examples")


def _is_shown_elsewhere(metric: "Metric", predictions: "PredictionComparison | None") -> bool:
    """Returns whether the summary or the accuracy on the same images shows a metric."""
    if _counts_images(metric):
        return True
    is_refused = any(finding and not finding.passed for finding in (metric.first, metric.second))
    if predictions is None or metric.metric not in ("accuracy", "recall") or is_refused:
        return False
    classes = {f"class {name}" for name in predictions.classes}
    return metric.slice in {"all", *classes, *predictions.corruptions}


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
    low, high = result.interval
    numbers = [f"{100 * number:+.2f}" for number in (result.change, low, high)]
    change = "better" if low > 0 else "worse" if high < 0 else ""
    interval = f"{numbers[1]} to {numbers[2]}"
    return str(result.images), percent(result.first), percent(result.second), numbers[0], interval, change


def _value(finding: "Finding | None") -> str:
    if finding is None:
        return ""
    return " ".join(filter(None, (finding.cells()["value"], "" if finding.passed else "refused")))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
