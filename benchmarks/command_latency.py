"""Measures how long the commands that only print something take, and checks them against their limits."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.processes import DIGITS, exit_with, run_pipeline, run_process
from components.verdict import render_table

NUM_REPETITIONS = 7
LIMIT_SECONDS: Mapping[str, float] = {"--help": 0.5, "versions": 3.0, "runs": 3.0}


@click.command()
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Workspace to list.  [default: that of a smoke run, which is made first]",
)
def main(workspace: Path | None) -> None:
    """Measure `digits --help`, `digits versions` and `digits runs`; exit with 1 if a median is above its limit."""
    with TemporaryDirectory(prefix="command-latency-") as directory:
        if workspace is None:
            workspace = Path(directory)
            click.echo("making a workspace with one smoke run (not measured)", err=True)
            run_pipeline(workspace, "smoke", {})
        listed = ["--workspace", str(workspace)]
        commands = {"--help": ["--help"], "versions": ["versions", *listed], "runs": ["runs", *listed]}
        seconds = {
            name: [run_process([DIGITS, *arguments]).seconds for _ in range(NUM_REPETITIONS)]
            for name, arguments in commands.items()
        }
    rows = []
    for name, times in seconds.items():
        values = (statistics.median(times), min(times), max(times), LIMIT_SECONDS[name])
        rows.append((f"digits {name}", *(f"{value:.2f} s" for value in values)))
    click.echo(f"Whole processes, {NUM_REPETITIONS} of each\n")
    click.echo(render_table(("command", "median", "min", "max", "limit"), rows))
    exit_with(too_slow(seconds))


def too_slow(seconds: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yields each command whose median wall time is above its limit, as a sentence."""
    for name, times in seconds.items():
        median = statistics.median(times)
        if median > LIMIT_SECONDS[name]:
            yield f"digits {name} takes {median:.2f} s, expected at most {LIMIT_SECONDS[name]} s."


if __name__ == "__main__":
    main()
