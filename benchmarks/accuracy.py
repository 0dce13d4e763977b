"""Trains with several seeds and checks the mean test accuracy and the peak memory against their limits."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click

from benchmarks.processes import NO_BASELINE, exit_with, run_pipeline
from components.verdict import render_table
from pipeline.settings.settings import Profile

MIN_MEAN_ACCURACY = 0.995
MAX_PEAK_BYTES = 4 * 2**30


@dataclass(frozen=True)
class SeedResult:
    """The result of one seed.

    Attributes:
        seed: The seed.
        accuracy: Test accuracy of the pushed model, 0 to 1.
        lowest_class: The class with the lowest accuracy.
        lowest_accuracy: The accuracy of that class, 0 to 1.
        seconds: Wall time of the whole process.
        peak_bytes: Peak memory of its process tree.
    """

    seed: int
    accuracy: float
    lowest_class: str
    lowest_accuracy: float
    seconds: float
    peak_bytes: int


def _parse_seeds(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected whole numbers separated by commas, such as 0,1,2.") from error


@click.command(context_settings={"show_default": True})
@click.option("--seeds", default="0,1,2", callback=_parse_seeds, help="Seeds of the training, separated by commas.")
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", help="Profile of the pipeline.")
def main(seeds: list[int], profile: Profile) -> None:
    """Run the pipeline once per seed; exit with 1 if the mean accuracy is too low or a run took too much memory."""
    with TemporaryDirectory(prefix="accuracy-") as workspace:
        results = [_run(seed, profile, Path(workspace)) for seed in seeds]
    click.echo(f"Profile {profile}; data steps ran once, for the first seed\n\n{_table(results)}")
    exit_with(limit_failures(results))


def limit_failures(results: Sequence[SeedResult]) -> Iterator[str]:
    """Yields each limit that the results break, as a sentence."""
    mean = _mean(results, "accuracy")
    if mean < MIN_MEAN_ACCURACY:
        yield f"the mean test accuracy is {mean:.3%}, expected at least {MIN_MEAN_ACCURACY:.3%}."
    for result in results:
        if result.peak_bytes > MAX_PEAK_BYTES:
            peak, limit = _gibibytes(result.peak_bytes), _gibibytes(MAX_PEAK_BYTES)
            yield f"seed {result.seed} took {peak} of memory, expected at most {limit}."


def _run(seed: int, profile: Profile, workspace: Path) -> SeedResult:
    click.echo(f"seed {seed}", err=True)
    # The runs share a workspace, but no seed is compared with the one before.
    process = run_pipeline(workspace, profile, {"trainer.seed": seed, **NO_BASELINE})
    run = json.loads(process.stdout)
    name, accuracy = min(run["class_accuracy"].items(), key=lambda item: item[1])
    return SeedResult(seed, run["test_accuracy"], name, accuracy, process.seconds, process.peak_bytes)


def _table(results: Sequence[SeedResult]) -> str:
    rows = [
        (
            str(result.seed),
            f"{result.accuracy:.2%}",
            f"{result.lowest_class}, {result.lowest_accuracy:.2%}",
            f"{result.seconds:.0f} s",
            _gibibytes(result.peak_bytes),
        )
        for result in results
    ]
    mean = (
        "mean",
        f"{_mean(results, 'accuracy'):.2%}",
        f"{_mean(results, 'lowest_accuracy'):.2%}",
        f"{_mean(results, 'seconds'):.0f} s",
        _gibibytes(_mean(results, "peak_bytes")),
    )
    return render_table(("seed", "test accuracy", "lowest class", "wall time", "peak memory"), [*rows, mean])


def _mean(results: Sequence[SeedResult], name: str) -> float:
    return statistics.fmean(getattr(result, name) for result in results)


def _gibibytes(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


if __name__ == "__main__":
    main()
