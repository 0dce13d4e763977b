"""Compares ExampleGen, StatisticsGen and Transform of this checkout with those of an older one."""

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.flink_scaling import write_images
from benchmarks.processes import run_process
from components.verdict import render_table

STEPS = ("MnistExampleGen", "StatisticsGen", "Transform")
TOGETHER = "together"

_SCRIPT = Path(__file__).with_name("step_costs.py")
_HERE = Path(__file__).parents[1]
_GIBIBYTE = 2**30


@dataclass(frozen=True)
class StepCosts:
    """Time and memory of a step.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of all threads.
        peak_bytes: Peak of the resident memory of the process, which has imported all libraries.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: float


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
    results: dict[Path, list[Mapping[str, StepCosts]]] = {before: [], _HERE: []}
    with TemporaryDirectory(prefix="data-steps-") as name:
        source = Path(name, "mnist.npz")
        write_images(source, num_images)
        for repetition in range(repetitions):
            # In turn, so that a change in the speed of the machine affects both.
            for number, (checkout, costs) in enumerate(results.items()):
                click.echo(f"{checkout}, repetition {repetition + 1} of {repetitions}", err=True)
                costs.append(_measure(checkout, source, Path(name, f"{repetition}-{number}")))
    click.echo(f"{num_images:,} images, median of {repetitions}\n")
    rows = table_rows(*(medians(costs) for costs in results.values()))
    click.echo(render_table(("", "before", "now", "before / now"), rows))


def _measure(checkout: Path, source: Path, folder: Path) -> dict[str, StepCosts]:
    run = f"import runpy; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')"
    process = run_process([sys.executable, "-c", run, str(folder), f"data.uri={source}"], checkout)
    return parse_costs(process.stdout.splitlines())


def parse_costs(lines: Iterable[str]) -> dict[str, StepCosts]:
    """Reads the output of `step_costs.py`.

    Returns:
        The costs of each of `STEPS`, and their sum, or the maximum of the memory, as `TOGETHER`.
    """
    # Libraries may print, too.
    found = {line.pop("step"): line for line in map(json.loads, (line for line in lines if line.startswith("{")))}
    costs = {step: StepCosts(**found[step]) for step in STEPS}
    seconds, cpu_seconds = (sum(getattr(each, name) for each in costs.values()) for name in ("seconds", "cpu_seconds"))
    return {**costs, TOGETHER: StepCosts(seconds, cpu_seconds, max(each.peak_bytes for each in costs.values()))}


def medians(repetitions: Sequence[Mapping[str, StepCosts]]) -> dict[str, StepCosts]:
    """Returns the median of each figure."""

    def median(step: str, name: str) -> float:
        return statistics.median(getattr(costs[step], name) for costs in repetitions)

    return {step: StepCosts(*(median(step, name) for name in StepCosts.__annotations__)) for step in repetitions[0]}


def table_rows(before: Mapping[str, StepCosts], now: Mapping[str, StepCosts]) -> list[tuple[str, str, str, str]]:
    """Returns a row per step and figure: its name, both values, and their ratio."""
    figures = {"wall (s)": ("seconds", 1.0), "CPU (s)": ("cpu_seconds", 1.0), "memory (GiB)": ("peak_bytes", _GIBIBYTE)}
    rows = []
    for step in before:
        for figure, (name, unit) in figures.items():
            old, new = (getattr(costs[step], name) / unit for costs in (before, now))
            rows.append((f"{step}: {figure}", f"{old:.2f}", f"{new:.2f}", f"{old / new:.2f}"))
    return rows


if __name__ == "__main__":
    main()
