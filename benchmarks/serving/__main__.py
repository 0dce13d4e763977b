"""Measures `digits serve` under load and checks it against its targets."""

import asyncio
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.processes import exit_with, model_option
from benchmarks.serving.measurements import (
    measure_throughput,
    send_large_messages,
    swap_under_load,
    time_first_requests,
    warm_up,
)
from benchmarks.serving.report import Report
from benchmarks.serving.server import LoopProcess, ServerError, make_two_models, run_server
from benchmarks.serving.traffic import INPUTS
from registry.signatures import DEFAULT_MODEL_NAME

PARTS = ("throughput", "first", "swaps", "memory")


@click.command()
@model_option
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Measure only this; repeatable.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Per measurement.")
@click.option("--repetitions", type=click.IntRange(min=1), default=3, show_default=True, help="Of each measurement.")
@click.option(
    "--swaps", "num_swaps", type=click.IntRange(min=1), default=20, show_default=True, help="Versions to push."
)
def main(model: Path, parts: tuple[str, ...], seconds: float, repetitions: int, num_swaps: int) -> None:
    """Measure throughput, swaps, first requests and memory of `digits serve`; exit with 1 if a target is missed."""
    try:
        with TemporaryDirectory(prefix="serving-") as directory:
            report = asyncio.run(_measure(model, Path(directory), parts or PARTS, seconds, repetitions, num_swaps))
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    for table in report.tables():
        click.echo(table)
    exit_with(report.missed_targets())


async def _measure(
    model: Path, workspace: Path, parts: Collection[str], seconds: float, repetitions: int, num_swaps: int
) -> Report:
    report = Report()
    version = 1
    with closing(LoopProcess(model)) as loop:
        expected = {signature: await loop.expected(signature) for signature in INPUTS}
        models = make_two_models(model, workspace)
        models.push(version, workspace / "serving" / DEFAULT_MODEL_NAME)
        with run_server(workspace) as server:
            await warm_up(server, expected)
            if "throughput" in parts:
                report.throughputs = await measure_throughput(
                    server, loop, expected, version, seconds=seconds, num_repetitions=repetitions
                )
            if "first" in parts:
                versions = range(version + 1, version + 1 + num_swaps)
                report.first_requests = await time_first_requests(server, models, expected, versions)
                version = versions[-1]
            if "swaps" in parts:
                versions = range(version + 1, version + 1 + num_swaps)
                report.swaps = await swap_under_load(server, models, expected, versions)
                version = versions[-1]
            if "memory" in parts:
                report.large_messages = await send_large_messages(server, expected, version)
    return report


if __name__ == "__main__":
    main()
