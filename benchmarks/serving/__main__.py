"""Measures `digits serve` under load and holds it to its targets."""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from benchmarks.newest_version import SERVING_DIRECTORY, newest_version
from benchmarks.serving.measurement import PARTS, Extent, measure
from benchmarks.serving.report import Report
from benchmarks.serving.server_process import ServerError


@click.command()
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help=f"Folder of a pushed version.  [default: the newest in {SERVING_DIRECTORY}]",
)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Measure this only; repeatable.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Per measurement.")
@click.option("--repetitions", type=click.IntRange(min=1), default=3, show_default=True, help="Of each measurement.")
@click.option(
    "--swaps", "num_swaps", type=click.IntRange(min=1), default=20, show_default=True, help="Versions pushed."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Also write the figures to this file.")
def main(
    model: Path | None,
    parts: tuple[str, ...],
    seconds: float,
    repetitions: int,
    num_swaps: int,
    json_file: str | None,
) -> None:
    """Measure throughput, swaps, first requests and memory of `digits serve`; exit with 1 if a target is missed."""
    extent = Extent(parts or PARTS, seconds, repetitions, num_swaps)
    try:
        report = asyncio.run(_measure(model or newest_version(), extent))
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    report.print_tables(Console(highlight=False))
    if json_file:
        Path(json_file).write_text(json.dumps(report.values(), indent=2) + "\n", encoding="utf-8")
    failures = list(report.missed_targets())
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    sys.exit(1 if failures else 0)


async def _measure(model: Path, extent: Extent) -> Report:
    # In its own folder: versions that were pushed elsewhere are left alone.
    with TemporaryDirectory(prefix="serving-") as directory:
        return await measure(model, Path(directory), extent)


if __name__ == "__main__":
    main()
