"""Compares our pipeline with TFX's own MNIST example on the same images: time, memory, and the pushed models."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import tfx_example
from benchmarks.comparison import Figures, accuracy_figures, medians, process_figures, table_rows
from benchmarks.processes import DIGITS, FinishedProcess, run_module, run_process
from pipeline.local.metadata import list_runs
from pipeline.settings.settings import Profile, load_settings
from registry.versions import list_versions

EXAMPLE = "tfx_example"
OURS = "ours"


@dataclass(frozen=True)
class _Repetition:
    """One run of one pipeline: its figures, and what TF Serving's loader says if it cannot run the pushed model."""

    figures: Figures
    serving_error: str | None


@click.command(context_settings={"show_default": True})
@click.option("--repetitions", type=click.IntRange(min=1), default=1, help="Runs of each; medians are printed.")
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", help="Profile of our pipeline.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures here.")
def main(repetitions: int, profile: Profile, json_file: Path | None) -> None:
    """Run TFX's MNIST example and our pipeline in turn, each as a whole process, and compare them."""
    with TemporaryDirectory(prefix="against-tfx-example-") as directory:
        results = _measure(Path(directory), repetitions, profile)
    figures = {name: medians([each.figures for each in runs]) for name, runs in results.items()}
    errors = {name: next((each.serving_error for each in runs), None) for name, runs in results.items()}
    _print_comparison(figures, errors, profile, repetitions)
    if json_file:
        repeated = {name: [each.figures for each in runs] for name, runs in results.items()}
        report = {"profile": profile, "repetitions": repeated, "medians": figures, "serving_errors": errors}
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _measure(directory: Path, repetitions: int, profile: Profile) -> dict[str, list[_Repetition]]:
    data = directory / "data"
    _say("writing MNIST as TFX's example reads it (not measured)")
    run_module("benchmarks.tfx_example", "write-data", str(data))
    pipelines: dict[str, Callable[[Path], _Repetition]] = {
        EXAMPLE: lambda folder: _repeat_example(data, folder),
        OURS: lambda folder: _repeat_ours(profile, folder),
    }
    results: dict[str, list[_Repetition]] = {name: [] for name in pipelines}
    for repetition in range(repetitions):
        # In turn, so that a machine that grows slower or faster meanwhile does so to both.
        for name, repeat in pipelines.items():
            _say(f"{name}, repetition {repetition + 1} of {repetitions}")
            results[name].append(repeat(directory / f"{name}-{repetition}"))
    return results


def _repeat_example(data: Path, folder: Path) -> _Repetition:
    process = run_module("benchmarks.tfx_example", "run", str(data), str(folder))
    return _examine(EXAMPLE, process, tfx_example.metadata_file(folder), tfx_example.serving_directory(folder))


def _repeat_ours(profile: Profile, folder: Path) -> _Repetition:
    process = run_process([DIGITS, "run", "--workspace", str(folder), "--profile", profile])
    settings = load_settings({"workspace": folder})
    return _examine(OURS, process, settings.metadata_file, settings.serving_directory)


def _examine(name: str, process: FinishedProcess, metadata_file: Path, serving_directory: Path) -> _Repetition:
    step_seconds = {step.name: step.seconds for step in list_runs(metadata_file)[-1].steps}
    model = str(list_versions(serving_directory)[-1].directory)
    in_python, in_session = (_ask(name, loader, model) for loader in ("python", "session"))
    figures = {
        **process_figures(step_seconds, process.seconds, process.peak_bytes),
        **accuracy_figures(in_python["accuracy"], in_session.get("accuracy")),
    }
    return _Repetition(figures, in_session.get("error"))


def _ask(name: str, loader: str, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run_module("benchmarks.pushed_model", name, loader, model).stdout)
    return answer


def _print_comparison(
    figures: Mapping[str, Figures], errors: Mapping[str, str | None], profile: Profile, repetitions: int
) -> None:
    title = f"TFX's MNIST example against ours, profile {profile}, median of {repetitions}"
    table = Table("", "TFX's example", "ours", "example / ours", title=title, box=box.SIMPLE_HEAD)
    for row in table_rows(figures[EXAMPLE], figures[OURS]):
        table.add_row(*row)
    for column in table.columns[1:]:
        column.justify = "right"
    console = Console(highlight=False)
    console.print(table)
    for name, error in errors.items():
        if error:
            console.print(f"The model that {name} pushed does not run in TF Serving's loader: {error}", markup=False)
    console.print("Changed in TFX's example:")
    for change in tfx_example.CHANGES:
        console.print(f"- {change}")


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
