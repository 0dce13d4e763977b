"""Trains with several seeds and holds the mean test accuracy and the memory to their limits: luck is no result."""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.bounds import NO_BASELINE, set_options
from benchmarks.processes import DIGITS, run_process
from pipeline.settings.settings import Profile

MIN_MEAN_ACCURACY = 0.995
MAX_PEAK_BYTES = 4 * 2**30


@dataclass(frozen=True)
class SeedResult:
    """What came of one seed.

    Attributes:
        seed: The seed.
        accuracy: Of the pushed model on the test split, 0 to 1.
        lowest_digit: The digit that it knows least.
        lowest_accuracy: Its accuracy on that digit, 0 to 1.
        seconds: Wall time of the whole process.
        peak_bytes: Peak memory of its process tree.
    """

    seed: int
    accuracy: float
    lowest_digit: str
    lowest_accuracy: float
    seconds: float
    peak_bytes: int


def _parse_seeds(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected whole numbers with commas between, such as 0,1,2.") from error


@click.command(context_settings={"show_default": True})
@click.option("--seeds", default="0,1,2", callback=_parse_seeds, help="Seeds of the training, with commas between.")
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", help="Profile of the pipeline.")
def main(seeds: list[int], profile: Profile) -> None:
    """Run the pipeline once per seed; exit with 1 if the mean accuracy is too low or a run took too much memory."""
    with TemporaryDirectory(prefix="accuracy-") as workspace:
        results = [_run(seed, profile, Path(workspace)) for seed in seeds]
    _print_results(results, profile)
    failures = list(limit_failures(results))
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    sys.exit(1 if failures else 0)


def limit_failures(results: Sequence[SeedResult]) -> Iterator[str]:
    """Says which limits the results break, one sentence each."""
    mean = statistics.fmean(result.accuracy for result in results)
    if mean < MIN_MEAN_ACCURACY:
        yield f"the mean test accuracy is {mean:.3%}, at least {MIN_MEAN_ACCURACY:.3%} is wanted."
    for result in results:
        if result.peak_bytes > MAX_PEAK_BYTES:
            peak, limit = _gibibytes(result.peak_bytes), _gibibytes(MAX_PEAK_BYTES)
            yield f"seed {result.seed} took {peak} of memory, at most {limit} is allowed."


def _run(seed: int, profile: Profile, workspace: Path) -> SeedResult:
    click.echo(f"seed {seed}", err=True)
    command = [DIGITS, "run", "--workspace", str(workspace), "--profile", profile, "--json"]
    # The runs share a workspace: a seed must be judged on its own, not against the seed before it.
    process = run_process([*command, *set_options({"trainer.seed": seed, **NO_BASELINE})])
    run = json.loads(process.stdout)
    digit, accuracy = min(run["digit_accuracy"].items(), key=lambda item: item[1])
    return SeedResult(seed, run["test_accuracy"], digit, accuracy, process.seconds, process.peak_bytes)


def _print_results(results: Sequence[SeedResult], profile: Profile) -> None:
    title = f"Profile {profile}; data steps run once, for the first seed"
    table = Table("seed", "test accuracy", "lowest digit", "wall time", "peak memory", title=title, box=box.SIMPLE_HEAD)
    for result in results:
        table.add_row(
            str(result.seed),
            f"{result.accuracy:.2%}",
            f"{result.lowest_digit}, {result.lowest_accuracy:.2%}",
            f"{result.seconds:.0f} s",
            _gibibytes(result.peak_bytes),
        )
    table.add_section()
    table.add_row(
        "mean",
        f"{statistics.fmean(result.accuracy for result in results):.2%}",
        f"{statistics.fmean(result.lowest_accuracy for result in results):.2%}",
        f"{statistics.fmean(result.seconds for result in results):.0f} s",
        _gibibytes(statistics.fmean(result.peak_bytes for result in results)),
    )
    Console(highlight=False).print(table)


def _gibibytes(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


if __name__ == "__main__":
    main()
