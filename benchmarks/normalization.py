"""Measures what the normalization in the graph is worth and what it costs, on a pushed model."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.newest_version import newest_version
from benchmarks.processes import run_module

MIN_RE_RENDERED_ACCURACY = 0.985
MAX_ADDED_MILLISECONDS = 1.0

PIXELS_ROW = "pixels: MNIST's images"
SERVING_ROW = "serving_default: the same as PNGs"
RE_RENDERED_ROW = "serving_default: re-rendered"

_BATCH_SIZE = 250
_SEED = 11


@dataclass(frozen=True)
class Cost:
    """Milliseconds per image on one core.

    Attributes:
        pixels: Of the signature `pixels`.
        added: What `serving_default` takes longer.
        decoding: What of that TensorFlow's decoder takes.
    """

    pixels: float
    added: float
    decoding: float

    @property
    def normalization(self) -> float:
        """What the normalization takes."""
        return self.added - self.decoding


@click.command()
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False),
    help="A pushed version.  [default: the newest in workspace/serving/digits]",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Also write the figures to this file.")
def main(model: str | None, json_file: str | None) -> None:
    """Measure accuracy on all test images and the time per image; exit with 1 if a target is missed."""
    directory = model or str(newest_version())
    costs = {
        name: Cost(**cost)
        for name, cost in json.loads(
            run_module("benchmarks.normalization_cost", directory).stdout.splitlines()[-1]
        ).items()
    }
    accuracies = _accuracies(directory)
    _print_tables(accuracies, costs)
    if json_file:
        figures = {"accuracies": accuracies, "costs": {name: asdict(cost) for name, cost in costs.items()}}
        Path(json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    failures = list(missed_targets(accuracies, costs))
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    sys.exit(1 if failures else 0)


def missed_targets(accuracies: Mapping[str, float], costs: Mapping[str, Cost]) -> Iterator[str]:
    """Says which targets are missed, one sentence each."""
    accuracy = accuracies[RE_RENDERED_ROW]
    if accuracy < MIN_RE_RENDERED_ACCURACY:
        yield f"accuracy on re-rendered images is {accuracy:.2%}, at least {MIN_RE_RENDERED_ACCURACY:.1%} is wanted."
    for name, cost in costs.items():
        # How long TensorFlow decodes depends on what was sent, and is no part of the normalization.
        if cost.normalization > MAX_ADDED_MILLISECONDS:
            yield f"{name}: {cost.normalization:.2f} ms per image, at most {MAX_ADDED_MILLISECONDS} is wanted."


def _accuracies(directory: str) -> dict[str, float]:
    import tensorflow as tf

    from benchmarks.encoded_digits import ENCODINGS, re_render
    from benchmarks.mnist_examples import load_mnist

    digits, labels = load_mnist("test")
    random = np.random.default_rng(_SEED)
    model = tf.saved_model.load(directory)

    def accuracy(signature: str, name: str, values: Sequence[NDArray[np.generic] | bytes]) -> float:
        batches = (values[start : start + _BATCH_SIZE] for start in range(0, len(values), _BATCH_SIZE))
        found = [model.signatures[signature](**{name: tf.constant(batch)})["digit"].numpy() for batch in batches]
        return float(np.mean(np.concatenate(found) == labels))

    as_they_are = ENCODINGS["28x28, grey PNG"]
    return {
        PIXELS_ROW: accuracy("pixels", "image", list(digits.astype(np.float32))),
        SERVING_ROW: accuracy("serving_default", "image_bytes", [as_they_are(digit) for digit in digits]),
        RE_RENDERED_ROW: accuracy("serving_default", "image_bytes", [re_render(digit, random) for digit in digits]),
    }


def _print_tables(accuracies: Mapping[str, float], costs: Mapping[str, Cost]) -> None:
    console = Console(highlight=False)
    accuracy = Table("10,000 test images", "accuracy", box=box.SIMPLE_HEAD)
    for name, value in accuracies.items():
        accuracy.add_row(name, f"{value:.2%}")
    console.print(accuracy)
    cost_table = Table("ms per image, one core, batch of 32", "pixels", "added", "of it decoding", box=box.SIMPLE_HEAD)
    for name, cost in costs.items():
        cost_table.add_row(name, f"{cost.pixels:.2f}", f"{cost.added:.2f}", f"{cost.decoding:.2f}")
    console.print(cost_table)


if __name__ == "__main__":
    main()
