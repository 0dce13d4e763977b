"""Measures how long a person waits for the commands that only look things up, and holds them to their limits."""

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.processes import DIGITS, run_process

NUM_REPETITIONS = 7
HELP_LIMIT_SECONDS = 0.5
LISTING_LIMIT_SECONDS = 3.0


@dataclass(frozen=True)
class Latency:
    """Wall times of one command, in seconds, and what their median may be."""

    command: str
    seconds: Sequence[float]
    limit: float

    @property
    def median(self) -> float:
        """The median of the wall times."""
        return statistics.median(self.seconds)

    @property
    def too_slow(self) -> bool:
        """Whether the median is above the limit."""
        return self.median > self.limit


@click.command()
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Workspace to list.  [default: that of one smoke run, made for this]",
)
def main(workspace: Path | None) -> None:
    """Measure `digits --help`, `digits versions` and `digits runs`; exit with 1 if a median is above its limit."""
    with _workspace(workspace) as directory:
        latencies = [
            _measure("--help", HELP_LIMIT_SECONDS),
            _measure("versions", LISTING_LIMIT_SECONDS, "--workspace", str(directory)),
            _measure("runs", LISTING_LIMIT_SECONDS, "--workspace", str(directory)),
        ]
    _print_latencies(latencies)
    sys.exit(1 if any(latency.too_slow for latency in latencies) else 0)


@contextmanager
def _workspace(given: Path | None) -> Iterator[Path]:
    if given:
        yield given
        return
    with TemporaryDirectory(prefix="command-latency-") as directory:
        click.echo("making a workspace with one smoke run (not measured)", err=True)
        run_process([DIGITS, "run", "--workspace", directory, "--profile", "smoke"])
        yield Path(directory)


def _measure(name: str, limit: float, *options: str) -> Latency:
    command = [DIGITS, name, *options]
    return Latency(f"digits {name}", [run_process(command).seconds for _ in range(NUM_REPETITIONS)], limit)


def _print_latencies(latencies: Sequence[Latency]) -> None:
    title = f"Whole processes, {NUM_REPETITIONS} of each"
    table = Table("command", "median", "min", "max", "limit", "", title=title, box=box.SIMPLE_HEAD)
    for latency in latencies:
        seconds = (latency.median, min(latency.seconds), max(latency.seconds), latency.limit)
        verdict = "too slow" if latency.too_slow else "ok"
        table.add_row(latency.command, *(f"{value:.2f} s" for value in seconds), verdict)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
