"""Compares our pipeline with TFX's own MNIST example on the same images: time, memory, and the pushed models.

Each repetition trains our model with another seed.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click

from benchmarks import tfx_example
from benchmarks.deformations import DEFORMATIONS
from benchmarks.gates import CALIBRATION_ERROR
from benchmarks.processes import GIBIBYTE, FinishedProcess, measure_model, run_module, run_pipeline
from components.robustness.corruptions import CORRUPTIONS
from components.verdict import render_table
from pipeline.local.metadata import list_runs
from pipeline.settings.settings import Profile, load_settings
from registry.versions import list_versions

EXAMPLE = "tfx_example"
OURS = "ours"

NUM_TEST_IMAGES = 10_000
TOTAL = "whole process (s)"
REST = "imports and the rest (s)"
DATA_STEPS = "ExampleGen, StatisticsGen, Transform (s)"
MEMORY = "peak memory (GiB)"
ACCURACY = "test accuracy (%)"
WRONG = f"wrong of {NUM_TEST_IMAGES:,} (images)"
SERVING_ACCURACY = "the same in TF Serving (%)"

MEAN_CORRUPTION = "mean of the corruptions (%)"
LOWEST_CORRUPTION = "lowest of the corruptions (%)"
CALIBRATION = "calibration error (%)"

_MISSING = "-"

Figures = Mapping[str, float]


@dataclass(frozen=True)
class _Repetition:
    """One run of one pipeline: its figures, and the error of TF Serving's loader if it cannot run the model."""

    figures: Figures
    serving_error: str | None


@click.command(context_settings={"show_default": True})
@click.option(
    "--repetitions", type=click.IntRange(min=1), default=1, help="Runs of each, with other seeds; medians are printed."
)
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", help="Profile of our pipeline.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(repetitions: int, profile: Profile, json_file: Path | None) -> None:
    """Run TFX's MNIST example and our pipeline in turn, each as a whole process, and compare them."""
    with TemporaryDirectory(prefix="against-tfx-example-") as directory:
        results = _measure(Path(directory), repetitions, profile)
    figures = {name: medians([each.figures for each in runs]) for name, runs in results.items()}
    errors = {name: next((each.serving_error for each in runs), None) for name, runs in results.items()}
    click.echo(f"TFX's MNIST example against ours, profile {profile}, median of {repetitions}\n")
    rows = table_rows(figures[EXAMPLE], figures[OURS])
    click.echo(render_table(("", "TFX's example", "ours", "ours / example"), rows))
    click.echo(
        render_table(("our model", "mean", "lowest", "highest"), seed_rows([each.figures for each in results[OURS]]))
    )
    for name, error in errors.items():
        if error:
            click.echo(f"The model that {name} pushed does not run in TF Serving's loader: {error}")
    if json_file:
        repeated = {name: [each.figures for each in runs] for name, runs in results.items()}
        report = {"profile": profile, "repetitions": repeated, "medians": figures, "serving_errors": errors}
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _measure(directory: Path, repetitions: int, profile: Profile) -> dict[str, list[_Repetition]]:
    data = directory / "data"
    click.echo("writing MNIST as TFX's example reads it (not measured)", err=True)
    run_module("benchmarks.tfx_example", "write-data", str(data))
    pipelines: dict[str, Callable[[Path, int], _Repetition]] = {
        EXAMPLE: lambda folder, _: _repeat_example(data, folder),
        OURS: lambda folder, seed: _repeat_ours(profile, folder, seed),
    }
    results: dict[str, list[_Repetition]] = {name: [] for name in pipelines}
    for repetition in range(repetitions):
        # In turn, so that a change in the speed of the machine affects both.
        for name, repeat in pipelines.items():
            click.echo(f"{name}, repetition {repetition + 1} of {repetitions}", err=True)
            results[name].append(repeat(directory / f"{name}-{repetition}", repetition))
    return results


def _repeat_example(data: Path, folder: Path) -> _Repetition:
    process = run_module("benchmarks.tfx_example", "run", str(data), str(folder))
    return _examine(EXAMPLE, process, tfx_example.metadata_file(folder), tfx_example.serving_directory(folder))


def _repeat_ours(profile: Profile, folder: Path, seed: int) -> _Repetition:
    process = run_pipeline(folder, profile, {"trainer.seed": seed})
    settings = load_settings({"workspace": folder, "profile": profile})
    result = _examine(OURS, process, settings.metadata_file, settings.serving_directory)
    robustness = measure_model("robustness", str(list_versions(settings.serving_directory)[-1].directory))
    return replace(result, figures={**result.figures, **robustness_figures(robustness)})


def _examine(name: str, process: FinishedProcess, metadata_file: Path, serving_directory: Path) -> _Repetition:
    step_seconds = {step.name: step.seconds for step in list_runs(metadata_file)[-1].steps}
    model = str(list_versions(serving_directory)[-1].directory)
    in_python, in_session = (measure_model("accuracy", name, loader, model) for loader in ("python", "session"))
    figures = run_figures(step_seconds, process, in_python["accuracy"], in_session.get("accuracy"))
    return _Repetition(figures, in_session.get("error"))


def run_figures(
    step_seconds: Mapping[str, float], process: FinishedProcess, accuracy: float, serving_accuracy: float | None
) -> dict[str, float]:
    """Returns the figures of a run by name, with the unit in parentheses.

    Args:
        step_seconds: Wall time of each step, in seconds.
        process: The whole process.
        accuracy: On the test images, 0 to 1.
        serving_accuracy: The same through the loader of TF Serving; None if it cannot run the model.
    """
    served = {} if serving_accuracy is None else {SERVING_ACCURACY: 100 * serving_accuracy}
    steps = {_common_step_name(name): value for name, value in step_seconds.items()}
    return {
        **{f"{name} (s)": value for name, value in steps.items()},
        DATA_STEPS: sum(steps.get(name, 0.0) for name in ("ExampleGen", "StatisticsGen", "Transform")),
        REST: process.seconds - sum(step_seconds.values()),
        TOTAL: process.seconds,
        MEMORY: process.peak_bytes / GIBIBYTE,
        ACCURACY: 100 * accuracy,
        **served,
        WRONG: float(round((1 - accuracy) * NUM_TEST_IMAGES)),
    }


def robustness_figures(robustness: Mapping[str, float]) -> dict[str, float]:
    """Returns figures of the accuracies and the calibration error that `benchmarks.pushed_model` prints, 0 to 1."""
    accuracies = [robustness[name] for name in CORRUPTIONS]
    return {
        MEAN_CORRUPTION: 100 * statistics.fmean(accuracies),
        LOWEST_CORRUPTION: 100 * min(accuracies),
        **{f"{name} (%)": 100 * robustness[name] for name in DEFORMATIONS},
        CALIBRATION: 100 * robustness[CALIBRATION_ERROR],
    }


def _common_step_name(name: str) -> str:
    # ImportExampleGen and MnistExampleGen, Trainer.mnist and Trainer do the same work.
    return name.partition(".")[0].removeprefix("Import").removeprefix("Mnist")


def medians(repetitions: Sequence[Figures]) -> dict[str, float]:
    """Returns the median of each figure over the repetitions that have it, in the order of first mention."""
    names = dict.fromkeys(name for figures in repetitions for name in figures)
    return {name: statistics.median(figures[name] for figures in repetitions if name in figures) for name in names}


def table_rows(example: Figures, ours: Figures) -> list[tuple[str, str, str, str]]:
    """Returns a row per figure: its name, the example's value, ours, and their ratio; a dash if missing."""
    return [
        (name, _text(name, example.get(name)), _text(name, ours.get(name)), _ratio(name, example, ours))
        for name in dict.fromkeys([*ours, *example])
    ]


def seed_rows(repetitions: Sequence[Figures]) -> list[tuple[str, str, str, str]]:
    """Returns a row per figure of a model that depends on the seed: its name, mean, lowest and highest value."""
    deformed = (f"{name} (%)" for name in DEFORMATIONS)
    names = (ACCURACY, MEAN_CORRUPTION, LOWEST_CORRUPTION, *deformed, CALIBRATION)
    columns = {name: [figures[name] for figures in repetitions] for name in names}
    return [
        (name, f"{statistics.fmean(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}")
        for name, values in columns.items()
    ]


def _text(name: str, value: float | None) -> str:
    if value is None:
        return _MISSING
    decimals = {"s": 1, "images": 0}.get(name.rpartition("(")[2].rstrip(")"), 2)
    return f"{value:,.{decimals}f}"


def _ratio(name: str, example: Figures, ours: Figures) -> str:
    # 99 % is not "1.04 times" 95 %: the ratio is that of the wrong answers.
    is_accuracy = name in (ACCURACY, SERVING_ACCURACY)
    if is_accuracy or name not in ours or not example.get(name):
        return _MISSING
    return f"{ours[name] / example[name]:.2f}"


if __name__ == "__main__":
    main()
