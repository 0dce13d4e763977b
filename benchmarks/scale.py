"""Measures how time and memory of the data steps grow with the number of records."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.data_steps import HERE, STEPS, TOGETHER, StepCosts, measure_steps, medians
from benchmarks.deformations import vary_affinely
from benchmarks.flink_scaling import num_shards
from benchmarks.mnist import NUM_MNIST, Split, load_mnist
from benchmarks.processes import GIBIBYTE, exit_with
from components.example_gen.sources.idx import MAGICS
from components.verdict import render_table

MAX_TIME_RATIO = 1.15
MAX_PEAK_BYTES = 3 * GIBIBYTE

Costs = Mapping[int, Mapping[str, StepCosts]]
"""Costs by number of records and step."""

_IMAGES_MAGIC, _LABELS_MAGIC, *_ = MAGICS
_CHUNK = 2_000
_SEED = 0
# Names of MNIST's own files.
_PREFIXES: Mapping[Split, str] = {"train": "train", "test": "t10k"}


def _parse_sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    sizes = sorted({int(size) if size.strip().isdecimal() else 0 for size in text.split(",")})
    if sizes[0] < NUM_MNIST // 100 or len(sizes) < 2:
        raise click.BadParameter(f"{text!r}: expected two or more numbers from {NUM_MNIST // 100}, such as 7000,14000.")
    return sizes


@click.command(context_settings={"show_default": True})
@click.option("--sizes", default="70000,350000,700000", callback=_parse_sizes, help="Numbers of records.")
@click.option("--repetitions", type=click.IntRange(min=1), default=1, help="Runs of each; medians are printed.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures to this PNG or SVG.")
def main(sizes: list[int], repetitions: int, plot: Path | None) -> None:
    """Run the data steps on more and more records; exit with 1 if their time or memory grows too much."""
    costs = {size: _measure(size, repetitions) for size in sizes}
    click.echo(f"Median of {repetitions}\n")
    header = ("", *(f"{size:,}" for size in sizes), "last / first")
    click.echo(render_table(header, table_rows(costs)))
    if plot:
        draw(costs, plot)
    exit_with(missed_targets(costs))


def _measure(num_records: int, repetitions: int) -> dict[str, StepCosts]:
    with TemporaryDirectory(prefix="scale-") as name:
        source = Path(name, "source")
        click.echo(f"writing {num_records:,} records (not measured)", err=True)
        write_variations(source, num_records)
        results = []
        for repetition in range(repetitions):
            click.echo(f"{num_records:,} records, repetition {repetition + 1} of {repetitions}", err=True)
            shards = f"data.num_shards={num_shards(num_records)}"
            results.append(measure_steps(HERE, source, Path(name, str(repetition)), shards))
    return medians(results)


def write_variations(folder: Path, num_records: int) -> None:
    """Writes affine variations of MNIST as IDX files, in its proportion of train to test, in little memory.

    Args:
        folder: A new folder, for files with the names of MNIST's own.
        num_records: Number of images in both splits.
    """
    folder.mkdir()
    for split, prefix in _PREFIXES.items():
        images, labels = load_mnist(split)
        count = num_records * len(images) // NUM_MNIST
        generator = np.random.default_rng([_SEED, len(images)])
        with (folder / f"{prefix}-images-idx3-ubyte").open("wb") as file:
            file.write(_IMAGES_MAGIC + struct.pack(">3I", count, *images.shape[1:]))
            for start in range(0, count, _CHUNK):
                numbers = np.arange(start, min(start + _CHUNK, count)) % len(images)
                file.write(vary_affinely(images[numbers], generator).tobytes())
        header = _LABELS_MAGIC + struct.pack(">I", count)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + np.resize(labels, count).tobytes())


def table_rows(costs: Costs) -> list[tuple[str, ...]]:
    """Returns a row per step and figure: its name, its value at each size, and the ratio of the last to the first."""
    steps = (*STEPS, TOGETHER)
    rows = {f"{step}: time per record (µs)": _microseconds_per_record(costs, step) for step in steps}
    rows |= {f"{step}: peak memory (GiB)": _peak_gibibytes(costs, step) for step in steps}
    decimals = {name: 1 if "µs" in name else 2 for name in rows}
    return [
        (name, *(f"{value:.{decimals[name]}f}" for value in values), f"{values[-1] / values[0]:.2f}")
        for name, values in rows.items()
    ]


def missed_targets(costs: Costs) -> Iterator[str]:
    """Yields each missed target, as a sentence."""
    for step in STEPS:
        first, *_, last = _microseconds_per_record(costs, step)
        if last / first > MAX_TIME_RATIO:
            yield (
                f"{step} takes {last / first:.2f} times as long per record for {max(costs):,} records as for "
                f"{min(costs):,}, expected at most {MAX_TIME_RATIO}."
            )
    for size, steps in costs.items():
        if (peak_bytes := steps[TOGETHER].peak_bytes) > MAX_PEAK_BYTES:
            yield (
                f"{size:,} records took {peak_bytes / GIBIBYTE:.2f} GiB of memory, expected at most "
                f"{MAX_PEAK_BYTES / GIBIBYTE:.2f}."
            )


def draw(costs: Costs, file: Path) -> None:
    """Draws time per record and peak memory of each step by the number of records."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    for step in STEPS:
        time_axes.plot(list(costs), _microseconds_per_record(costs, step), "o-", label=step)
        memory_axes.plot(list(costs), _peak_gibibytes(costs, step), "o-", label=step)
    memory_axes.axhline(MAX_PEAK_BYTES / GIBIBYTE, color="gray", linestyle="--", label="target")
    labels: Mapping[Any, str] = {time_axes: "wall time per record (µs)", memory_axes: "peak memory (GiB)"}
    for axes, label in labels.items():
        axes.set(xlabel="records", ylabel=label, ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend()
    figure.savefig(file)


def _microseconds_per_record(costs: Costs, step: str) -> list[float]:
    return [1e6 * steps[step].seconds / size for size, steps in costs.items()]


def _peak_gibibytes(costs: Costs, step: str) -> list[float]:
    return [steps[step].peak_bytes / GIBIBYTE for steps in costs.values()]


if __name__ == "__main__":
    main()
