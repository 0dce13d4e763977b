"""Data steps on more images than MNIST has: Flink with two TaskManagers beside Beam's own runner, on one machine."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.flink_cluster import FlinkCluster, find_job_server, find_libraries, standalone_cluster
from benchmarks.flink_memory import watched_memory
from benchmarks.mnist_examples import Split, load_mnist

# One pixel to eight sides, two to one, and none: margins of MNIST are wide enough to lose no ink.
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 2))
"""By how many rows and columns each copy of MNIST is moved, so that no two records are the same."""

_NUM_MNIST = 70_000
_RECORDS_PER_SHARD = 10_000
# A model is only there to be evaluated.
_NUM_TRAINED_ON = 7_000
_GIBIBYTE = 2**30


@dataclass(frozen=True)
class EngineFigures:
    """What the data steps took on one engine.

    Attributes:
        seconds: Wall time of each step.
        total_seconds: Wall time of the process that ran them, with its imports.
        peak_bytes: Memory by what the process is there for, as `watched_memory` counts it.
    """

    seconds: Mapping[str, float]
    total_seconds: float
    peak_bytes: Mapping[str, int]


@click.command()
@click.option("--num-records", default=700_000, show_default=True, help="Images; MNIST ten times.")
@click.option(
    "--job-server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Beam's, a jar; if not given, Beam takes its own from Maven Central.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
def main(num_records: int, job_server: Path | None, json_file: Path | None) -> None:
    """Run the data steps on both engines and print time and memory of each process as Markdown."""
    libraries = find_libraries()
    job_server = job_server or find_job_server()
    with tempfile.TemporaryDirectory(prefix="flink-scaling-") as name:
        folder = Path(name)
        model = _train(folder)
        source = folder / "many.npz"
        write_images(source, num_records)
        direct = _measure(folder / "direct", source, num_records, model)
        with standalone_cluster(libraries, job_server, folder / "cluster") as cluster:
            flink = _measure(folder / "flink", source, num_records, model, cluster)
    figures = {"direct": direct, "flink": flink}
    if json_file is not None:
        json_file.write_text(json.dumps({name: vars(figure) for name, figure in figures.items()}, indent=2))
    click.echo(table(num_records, direct, flink))


def write_images(file: Path, num_records: int) -> None:
    """Writes moved copies of MNIST, six parts train and one part test as there.

    Args:
        file: The npz file to write, uncompressed: 784 bytes per record.
        num_records: How many in all, up to ten times MNIST's.

    Raises:
        ValueError: That is more than ten times MNIST.
    """
    if num_records > len(SHIFTS) * _NUM_MNIST:
        raise ValueError(f"{num_records} records: expected at most {len(SHIFTS) * _NUM_MNIST}.")
    arrays: dict[str, Any] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        images, labels = load_mnist(split)
        count = num_records * len(images) // _NUM_MNIST
        copies = [np.roll(images, shift, axis=(1, 2)) for shift in SHIFTS[: -(-count // len(images))]]
        arrays[f"x_{split}"] = np.concatenate(copies)[:count]
        arrays[f"y_{split}"] = np.tile(labels, len(copies))[:count]
    np.savez(file, **arrays)


def table(num_records: int, direct: EngineFigures, flink: EngineFigures) -> str:
    """Renders both engines as a Markdown table: times in seconds, memory in GiB."""
    lines = [f"| {num_records:,} records | direct | Flink, 2 TaskManagers |", "|---|---|---|"]
    for step in direct.seconds:
        lines.append(f"| {step} (s) | {direct.seconds[step]:.1f} | {flink.seconds[step]:.1f} |")
    lines.append(f"| whole process (s) | {direct.total_seconds:.1f} | {flink.total_seconds:.1f} |")
    for name in dict.fromkeys([*direct.peak_bytes, *flink.peak_bytes]):
        sizes = [figures.peak_bytes.get(name) for figures in (direct, flink)]
        cells = ["-" if size is None else f"{size / _GIBIBYTE:.2f}" for size in sizes]
        lines.append(f"| peak memory: {name} (GiB) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _train(folder: Path) -> Path:
    source = folder / "few.npz"
    write_images(source, _NUM_TRAINED_ON)
    command = _command(folder / "trained", source, _NUM_TRAINED_ON, ["trainer.epochs=1"])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "trained" / "Trainer" / "model"


def _measure(
    folder: Path,
    source: Path,
    num_records: int,
    model: Path,
    cluster: FlinkCluster | None = None,
) -> EngineFigures:
    options = []
    if cluster is not None:
        options = ["beam.engine=flink", "beam.flink_parallelism=2", f"beam.job_endpoint={cluster.job_endpoint}"]
        options.append(f"beam.worker_pool={cluster.worker_pool}")
    command = _command(folder, source, num_records, options, model)
    log = folder.with_suffix(".log")
    start = time.perf_counter()
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        watched_memory(process.pid, cluster) as peak_bytes,
    ):
        output, _ = process.communicate()
    total_seconds = time.perf_counter() - start
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)}:\n{log.read_text()[-3000:]}")
    return EngineFigures(json.loads(output), total_seconds, dict(peak_bytes))


def _command(
    folder: Path, source: Path, num_records: int, options: Sequence[str], model: Path | None = None
) -> list[str]:
    num_shards = max(2, num_records // _RECORDS_PER_SHARD)
    command = [sys.executable, "-m", "benchmarks.data_steps", str(folder)]
    for option in (f"data.uri={source}", f"data.num_shards={num_shards}", *options):
        command += ["--set", option]
    return command if model is None else [*command, "--model", str(model)]


if __name__ == "__main__":
    main()
