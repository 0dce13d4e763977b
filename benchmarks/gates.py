"""Measures what the gates find and what they cost: robustness, calibration, and their share of a run."""

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.bounds import NO_BOUNDS, set_options
from benchmarks.corrupted_accuracy import CALIBRATION_ERROR, CLEAN
from benchmarks.processes import DIGITS, run_process
from components.robustness.corruptions import CORRUPTIONS
from components.trainer.hyperparameters import NO_AUGMENTATION

MIN_CLEAN_ACCURACY = 0.995
MIN_MEAN_ACCURACY = 0.95
MIN_CORRUPTION_ACCURACY = 0.85
MAX_CALIBRATION_ERROR = 0.01
MAX_GATE_SECONDS = 45.0

# CorruptedExampleGen works for RobustnessEvaluator alone.
GATE_STEPS = ("DataGate", "Evaluator", "CorruptedExampleGen", "RobustnessEvaluator", "ServingCheck")


@dataclass(frozen=True)
class Measured:
    """One run and its model.

    Attributes:
        accuracies: Of the pushed model on the test images, 0 to 1, clean and under each corruption.
        calibration_error: Its expected calibration error on the clean ones, 0 to 1.
        seconds: Wall time of each gate, in seconds.
    """

    accuracies: Mapping[str, float]
    calibration_error: float
    seconds: Mapping[str, float]

    @property
    def mean_accuracy(self) -> float:
        """Mean over the corruptions."""
        return statistics.fmean(self.accuracies[name] for name in CORRUPTIONS)


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Also write the figures to this file.")
def main(json_file: str | None) -> None:
    """Train with and without augmentation, compare both; exit with 1 if a target is missed."""
    with TemporaryDirectory(prefix="gates-") as folder:
        workspace = Path(folder)
        ours = _measure(workspace, {}, "with augmentation, no baseline")
        no_augmentation = {f"trainer.{name}": value for name, value in NO_AUGMENTATION.items()}
        # Other corruptions, so that making them is timed again; the network is to be measured, not judged.
        plain_settings = {**no_augmentation, "robustness.seed": 1, **NO_BOUNDS}
        plain = _measure(workspace, plain_settings, "without augmentation, against a baseline")
    _print_tables(ours, plain)
    if json_file:
        figures = {"with_augmentation": vars(ours), "without_augmentation": vars(plain)}
        Path(json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    failures = list(missed_targets(ours, (ours.seconds, plain.seconds)))
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    sys.exit(1 if failures else 0)


def missed_targets(ours: Measured, gate_seconds: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Says which targets are missed, one sentence each.

    Args:
        ours: The default run.
        gate_seconds: Seconds of each gate, of each run that was timed.
    """
    if ours.accuracies[CLEAN] < MIN_CLEAN_ACCURACY:
        yield f"clean accuracy is {ours.accuracies[CLEAN]:.2%}, at least {MIN_CLEAN_ACCURACY:.2%} is wanted."
    if ours.mean_accuracy < MIN_MEAN_ACCURACY:
        yield f"mean accuracy over the corruptions is {ours.mean_accuracy:.2%}, at least {MIN_MEAN_ACCURACY:.2%}."
    for name in CORRUPTIONS:
        if ours.accuracies[name] < MIN_CORRUPTION_ACCURACY:
            yield f"accuracy under {name} is {ours.accuracies[name]:.2%}, at least {MIN_CORRUPTION_ACCURACY:.2%}."
    if ours.calibration_error > MAX_CALIBRATION_ERROR:
        yield f"the calibration error is {ours.calibration_error:.2%}, at most {MAX_CALIBRATION_ERROR:.2%}."
    for seconds in gate_seconds:
        if sum(seconds.values()) > MAX_GATE_SECONDS:
            yield f"the gates took {sum(seconds.values()):.1f} s, at most {MAX_GATE_SECONDS:.0f} s."


def _measure(workspace: Path, settings: Mapping[str, Any], label: str) -> Measured:
    click.echo(label, err=True)
    process = run_process([DIGITS, "run", "--workspace", str(workspace), "--json", *set_options(settings)])
    run = json.loads(process.stdout)
    answers = run_process([sys.executable, "-m", "benchmarks.corrupted_accuracy", run["model"]])
    accuracies = json.loads(answers.stdout.splitlines()[-1])
    calibration_error = accuracies.pop(CALIBRATION_ERROR)
    seconds = {step["name"]: step["seconds"] for step in run["steps"] if step["name"] in GATE_STEPS}
    return Measured(accuracies, calibration_error, seconds)


def _print_tables(ours: Measured, plain: Measured) -> None:
    console = Console(highlight=False)
    accuracy = Table("test accuracy", "ours", "without augmentation", box=box.SIMPLE_HEAD)
    for name in (CLEAN, *CORRUPTIONS):
        accuracy.add_row(name, f"{ours.accuracies[name]:.2%}", f"{plain.accuracies[name]:.2%}")
    accuracy.add_section()
    accuracy.add_row("mean of the corruptions", f"{ours.mean_accuracy:.2%}", f"{plain.mean_accuracy:.2%}")
    accuracy.add_row("expected calibration error", f"{ours.calibration_error:.2%}", f"{plain.calibration_error:.2%}")
    console.print(accuracy)
    seconds = Table("wall time of the gates (s)", "first run", "against a baseline", box=box.SIMPLE_HEAD)
    for name in GATE_STEPS:
        seconds.add_row(name, f"{ours.seconds[name]:.1f}", f"{plain.seconds[name]:.1f}")
    seconds.add_section()
    seconds.add_row("all", *(f"{sum(each.seconds.values()):.1f}" for each in (ours, plain)))
    console.print(seconds)


if __name__ == "__main__":
    main()
