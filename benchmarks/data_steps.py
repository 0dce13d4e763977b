"""Measures ExampleGen, StatisticsGen and Transform, and compares those of this checkout with those of an older one."""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.flink_scaling import write_images
from benchmarks.processes import GIBIBYTE, FinishedProcess, run_process
from components.verdict import render_table

STEPS = ("MnistExampleGen", "StatisticsGen", "Transform")
TOGETHER = "together"

HERE = Path(__file__).parents[1]
"""This checkout."""

MEGABYTE = 10**6

_SCRIPT = Path(__file__).with_name("step_costs.py")


@dataclass(frozen=True)
class StepCosts:
    """Time, memory and output of a step.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of all threads.
        peak_bytes: Peak of the resident memory of the process, which has imported all libraries.
        written_bytes: Size of the files that the step has left in its folder.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: float
    written_bytes: float


@click.command(context_settings={"show_default": True})
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    required=True,
    help="Another checkout; it runs in the environment of this one.",
)
@click.option("--repetitions", type=click.IntRange(min=1), default=3, help="Runs of each; medians are printed.")
@click.option("--num-images", type=click.IntRange(min=700), default=70_000, help="MNIST's, of both splits.")
def main(before: Path, repetitions: int, num_images: int) -> None:
    """Run the data steps of both checkouts in turn, each in a new process, and compare their time and memory."""
    results: dict[Path, list[Mapping[str, StepCosts]]] = {before: [], HERE: []}
    with TemporaryDirectory(prefix="data-steps-") as name:
        source = Path(name, "mnist.npz")
        write_images(source, num_images)
        for repetition in range(repetitions):
            # In turn, so that a change in the speed of the machine affects both.
            for number, (checkout, costs) in enumerate(results.items()):
                click.echo(f"{checkout}, repetition {repetition + 1} of {repetitions}", err=True)
                costs.append(measure_steps(checkout, source, Path(name, f"{repetition}-{number}")))
    click.echo(f"{num_images:,} images, median of {repetitions}\n")
    rows = table_rows(*(medians(costs) for costs in results.values()))
    click.echo(render_table(("", "before", "now", "before / now"), rows))


def measure_steps(checkout: Path, source: Path, folder: Path, *assignments: str) -> dict[str, StepCosts]:
    """Runs the steps in a new process.

    Args:
        checkout: Their sources; they run in the environment of this checkout.
        source: The data.
        folder: Receives their output.
        assignments: Settings such as `data.num_shards=8`.

    Returns:
        See `parse_costs`.

    Raises:
        ProcessFailedError: A step failed.
    """
    run = f"import runpy; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')"
    process = run_process([sys.executable, "-c", run, str(folder), f"data.uri={source}", *assignments], checkout)
    return parse_costs(process, folder)


def parse_costs(process: FinishedProcess, folder: Path) -> dict[str, StepCosts]:
    """Reads the output of a process that ran `step_costs.py`.

    Returns:
        The costs of each of `STEPS`, and as `TOGETHER` their sum and the peak memory of the process and its children.
    """
    # Libraries may print, too.
    lines = (json.loads(line) for line in process.stdout.splitlines() if line.startswith("{"))
    found = {line.pop("step"): line for line in lines}
    costs = {step: StepCosts(**found[step], written_bytes=size_of(folder / step)) for step in STEPS}
    seconds, cpu_seconds, written_bytes = (
        sum(getattr(each, name) for each in costs.values()) for name in ("seconds", "cpu_seconds", "written_bytes")
    )
    peak_bytes = max(process.peak_bytes, *(each.peak_bytes for each in costs.values()))
    return {**costs, TOGETHER: StepCosts(seconds, cpu_seconds, peak_bytes, written_bytes)}


def size_of(folder: Path) -> int:
    """Returns the size of all files below a folder, in bytes; 0 if there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def medians(repetitions: Sequence[Mapping[str, StepCosts]]) -> dict[str, StepCosts]:
    """Returns the median of each figure."""

    def median(step: str, name: str) -> float:
        return statistics.median(getattr(costs[step], name) for costs in repetitions)

    return {step: StepCosts(*(median(step, name) for name in StepCosts.__annotations__)) for step in repetitions[0]}


def table_rows(before: Mapping[str, StepCosts], now: Mapping[str, StepCosts]) -> list[tuple[str, str, str, str]]:
    """Returns a row per step and figure: its name, both values, and their ratio."""
    figures = {
        "wall (s)": ("seconds", 1.0),
        "CPU (s)": ("cpu_seconds", 1.0),
        "memory (GiB)": ("peak_bytes", GIBIBYTE),
        "written (MB)": ("written_bytes", MEGABYTE),
    }
    rows = []
    for step in before:
        for figure, (name, unit) in figures.items():
            old, new = (getattr(costs[step], name) / unit for costs in (before, now))
            rows.append((f"{step}: {figure}", f"{old:.2f}", f"{new:.2f}", f"{old / new:.2f}"))
    return rows


if __name__ == "__main__":
    main()
