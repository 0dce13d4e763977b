"""Measures robustness and calibration of the model, with and without augmentation, and the time of the gates."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.deformations import DEFORMATIONS
from benchmarks.processes import NO_BOUNDS, exit_with, measure_model, run_pipeline
from components.robustness.corruptions import CORRUPTIONS
from components.trainer.hyperparameters import NO_AUGMENTATION
from components.verdict import render_table

MIN_CLEAN_ACCURACY = 0.995
MIN_MEAN_ACCURACY = 0.98
MIN_CORRUPTION_ACCURACY = 0.93
MIN_DEFORMATION_ACCURACY = 0.95
MAX_CALIBRATION_ERROR = 0.003
MAX_GATE_SECONDS = 30.0

# Keys of the JSON of `benchmarks.pushed_model`, whose import would load TensorFlow.
CLEAN = "clean"
CALIBRATION_ERROR = "calibration_error"

# CorruptedExampleGen only feeds RobustnessEvaluator.
GATE_STEPS = ("DataGate", "Evaluator", "CorruptedExampleGen", "RobustnessEvaluator", "ServingCheck")


@dataclass(frozen=True)
class Measured:
    """One run and its model.

    Attributes:
        accuracies: Accuracy of the pushed model on the test images, 0 to 1, clean, under each corruption and smooth
            deformation.
        calibration_error: Its expected calibration error on the clean images, 0 to 1.
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
def main() -> None:
    """Train with and without augmentation, compare both; exit with 1 if a target is missed."""
    with TemporaryDirectory(prefix="gates-") as folder:
        workspace = Path(folder)
        ours = _measure(workspace, {}, "with augmentation, no baseline")
        no_augmentation = {f"trainer.{name}": value for name, value in NO_AUGMENTATION.items()}
        # Another seed, so that creating the corruptions is timed again.
        plain_settings = {**no_augmentation, "robustness.seed": 1, **NO_BOUNDS}
        plain = _measure(workspace, plain_settings, "without augmentation, against a baseline")
    _print_tables(ours, plain)
    exit_with(missed_targets(ours, (ours.seconds, plain.seconds)))


def missed_targets(ours: Measured, gate_seconds: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yields each missed target, as a sentence.

    Args:
        ours: The default run.
        gate_seconds: Seconds of each gate, for each run.
    """
    accuracies = [
        ("clean accuracy", ours.accuracies[CLEAN], MIN_CLEAN_ACCURACY),
        ("mean accuracy over the corruptions", ours.mean_accuracy, MIN_MEAN_ACCURACY),
        *((f"accuracy under {name}", ours.accuracies[name], MIN_CORRUPTION_ACCURACY) for name in CORRUPTIONS),
        *((f"accuracy under {name}", ours.accuracies[name], MIN_DEFORMATION_ACCURACY) for name in DEFORMATIONS),
    ]
    for name, accuracy, bound in accuracies:
        if accuracy < bound:
            yield f"{name} is {accuracy:.2%}, expected at least {bound:.2%}."
    if ours.calibration_error > MAX_CALIBRATION_ERROR:
        yield f"the calibration error is {ours.calibration_error:.2%}, expected at most {MAX_CALIBRATION_ERROR:.2%}."
    for seconds in gate_seconds:
        if sum(seconds.values()) > MAX_GATE_SECONDS:
            yield f"the gates took {sum(seconds.values()):.1f} s, expected at most {MAX_GATE_SECONDS:.0f} s."


def _measure(workspace: Path, settings: Mapping[str, Any], label: str) -> Measured:
    click.echo(label, err=True)
    run = json.loads(run_pipeline(workspace, "default", settings).stdout)
    accuracies = measure_model("robustness", run["model"])
    calibration_error = accuracies.pop(CALIBRATION_ERROR)
    seconds = {step["name"]: step["seconds"] for step in run["steps"] if step["name"] in GATE_STEPS}
    return Measured(accuracies, calibration_error, seconds)


def _print_tables(ours: Measured, plain: Measured) -> None:
    both = (ours, plain)
    names = (CLEAN, *CORRUPTIONS, *DEFORMATIONS)
    accuracies = [(name, *(f"{each.accuracies[name]:.2%}" for each in both)) for name in names]
    accuracies.append(("mean of the corruptions", *(f"{each.mean_accuracy:.2%}" for each in both)))
    accuracies.append(("expected calibration error", *(f"{each.calibration_error:.2%}" for each in both)))
    click.echo(render_table(("test accuracy", "ours", "without augmentation"), accuracies))
    seconds = [(name, *(f"{each.seconds[name]:.1f}" for each in both)) for name in GATE_STEPS]
    seconds.append(("all", *(f"{sum(each.seconds.values()):.1f}" for each in both)))
    click.echo(render_table(("wall time of the gates (s)", "first run", "against a baseline"), seconds))


if __name__ == "__main__":
    main()
