"""Measures the accuracy that the normalization in the graph of a pushed model reaches, and the time it takes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from benchmarks.processes import exit_with, measure_model, model_option
from components.verdict import render_table

MIN_RE_RENDERED_ACCURACY = 0.985
MAX_NORMALIZATION_MILLISECONDS = 1.0

RE_RENDERED_ROW = "serving_default: re-rendered"


@click.command()
@model_option
def main(model: Path) -> None:
    """Measure accuracy on all test images and the time per image; exit with 1 if a target is missed."""
    costs = measure_model("cost", str(model))
    accuracies = measure_model("normalization", str(model))
    rows = [(name, f"{accuracy:.2%}") for name, accuracy in accuracies.items()]
    click.echo(render_table(("10,000 test images", "accuracy"), rows))
    cost_rows = [
        (name, *(f"{value:.2f}" for value in (cost["pixels"], cost["added"], cost["decoding"], normalization(cost))))
        for name, cost in costs.items()
    ]
    header = ("ms per image, one core, batch of 32", "pixels", "added", "decoding", "normalization")
    click.echo(render_table(header, cost_rows))
    exit_with(missed_targets(accuracies, costs))


def normalization(cost: Mapping[str, float]) -> float:
    """Returns the milliseconds that `serving_default` adds to `pixels`, without TensorFlow's decoder."""
    return cost["added"] - cost["decoding"]


def missed_targets(accuracies: Mapping[str, float], costs: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yields each missed target, as a sentence.

    Args:
        accuracies: Test accuracy, 0 to 1, by input.
        costs: Milliseconds per image by encoding: `pixels`, `added` by `serving_default`, and `decoding` as part of it.
    """
    accuracy = accuracies[RE_RENDERED_ROW]
    if accuracy < MIN_RE_RENDERED_ACCURACY:
        yield f"accuracy on re-rendered images is {accuracy:.2%}, expected at least {MIN_RE_RENDERED_ACCURACY:.1%}."
    for name, cost in costs.items():
        if (milliseconds := normalization(cost)) > MAX_NORMALIZATION_MILLISECONDS:
            yield f"{name}: {milliseconds:.2f} ms per image, expected at most {MAX_NORMALIZATION_MILLISECONDS}."


if __name__ == "__main__":
    main()
