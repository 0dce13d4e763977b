"""Measures time, memory and output of each step of a run, and finds the hot spots of one step."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click
import numpy as np

from benchmarks.data_steps import MEGABYTE, StepCosts, medians, size_of
from benchmarks.hot_spots import print_hot_spots
from benchmarks.processes import GIBIBYTE, FinishedProcess, Sample, run_pipeline
from components.verdict import render_table
from pipeline.local.metadata import list_runs, open_metadata
from pipeline.settings.settings import Profile, load_settings

START = "start of the process"
REST = "between and after steps"
TOTAL = "whole process"

_MISSING = "-"


@dataclass(frozen=True)
class Period:
    """When a step ran.

    Attributes:
        step: Name of the step.
        start: Seconds since the epoch.
        seconds: Its duration.
    """

    step: str
    start: float
    seconds: float


@click.command(context_settings={"show_default": True})
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", help="Profile of the pipeline.")
@click.option("--repetitions", type=click.IntRange(min=1), default=1, help="Number of runs; medians are printed.")
@click.option("--hot-spots", "step", metavar="STEP", help="Instead, run once and print where a step spends its time.")
def main(profile: Profile, repetitions: int, step: str | None) -> None:
    """Run the pipeline in a new workspace and print what each step costs."""
    if step is not None:
        print_hot_spots(step, profile)
        return
    results = []
    for repetition in range(repetitions):
        click.echo(f"repetition {repetition + 1} of {repetitions}", err=True)
        with TemporaryDirectory(prefix="profile-run-") as workspace:
            results.append(_measure(Path(workspace), profile))
    click.echo(f"Profile {profile}, median of {repetitions}\n")
    header = ("", "wall (s)", "CPU (s)", "peak memory (GiB)", "written (MB)")
    click.echo(render_table(header, table_rows(medians(results))))


def _measure(workspace: Path, profile: Profile) -> dict[str, StepCosts]:
    process = run_pipeline(workspace, profile, {})
    settings = load_settings({"workspace": workspace, "profile": profile}, file=Path(os.devnull))
    periods = _read_periods(settings.metadata_file)
    written = {period.step: size_of(settings.pipeline_root / period.step) for period in periods}
    return run_costs(process, periods, {**written, TOTAL: size_of(workspace)})


def _read_periods(metadata_file: Path) -> list[Period]:
    """Returns when each step of the only run in a database ran, in order."""
    [run] = list_runs(metadata_file)
    with open_metadata(metadata_file) as store:
        executions = sorted(store.get_executions(), key=lambda execution: execution.id)
    return [
        Period(step.name, execution.create_time_since_epoch / 1000, step.seconds)
        for step, execution in zip(run.steps, executions, strict=True)
    ]


def run_costs(
    process: FinishedProcess, periods: Sequence[Period], written: Mapping[str, float]
) -> dict[str, StepCosts]:
    """Divides the costs of a run among its steps, which run one after the other.

    Args:
        process: The run, with its samples.
        periods: When each step ran, in order.
        written: Bytes in the folder of each step, and as `TOTAL` in the workspace.

    Returns:
        Costs by step, and as `START` until the first step, `REST`, whose memory is not a number, and `TOTAL`.
    """
    start = process.samples[0].time
    costs = {START: _costs_between(process.samples, start, periods[0].start, 0)}
    for period in periods:
        end = period.start + period.seconds
        costs[period.step] = _costs_between(process.samples, period.start, end, written[period.step])
    total = _costs_between(process.samples, start, start + process.seconds, written[TOTAL])
    seconds, cpu_seconds, written_bytes = (
        getattr(total, name) - sum(getattr(each, name) for each in costs.values())
        for name in ("seconds", "cpu_seconds", "written_bytes")
    )
    return {**costs, REST: StepCosts(seconds, cpu_seconds, math.nan, written_bytes), TOTAL: total}


def _costs_between(samples: Sequence[Sample], start: float, end: float, written_bytes: float) -> StepCosts:
    times = np.array([sample.time for sample in samples])
    # The time of a child that ends during a sample may be missing in it.
    cpu_seconds = np.maximum.accumulate([sample.cpu_seconds for sample in samples])
    resident_bytes = np.array([sample.resident_bytes for sample in samples])
    # A step may be shorter than the time between two samples.
    cpu_start, cpu_end = np.interp([start, end], times, cpu_seconds)
    at_ends = np.interp([start, end], times, resident_bytes)
    peak_bytes = max([*at_ends, *resident_bytes[(times >= start) & (times <= end)]])
    return StepCosts(end - start, float(cpu_end - cpu_start), float(peak_bytes), written_bytes)


def table_rows(costs: Mapping[str, StepCosts]) -> list[tuple[str, str, str, str, str]]:
    """Returns a row per step: its name, wall and CPU time (s), peak memory (GiB) and output (MB)."""
    return [
        (
            name,
            f"{each.seconds:.1f}",
            f"{each.cpu_seconds:.1f}",
            _MISSING if math.isnan(each.peak_bytes) else f"{each.peak_bytes / GIBIBYTE:.2f}",
            f"{each.written_bytes / MEGABYTE:.1f}",
        )
        for name, each in costs.items()
    ]


if __name__ == "__main__":
    main()
