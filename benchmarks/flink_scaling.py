"""Compares the data steps on Flink with two TaskManagers and on Beam's own runner, on one machine."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from benchmarks.mnist import NUM_MNIST, Split, load_mnist
from benchmarks.processes import GIBIBYTE
from tests.support.flink_cluster import FlinkCluster, find_job_server, find_libraries, standalone_cluster

# One pixel in eight directions, two in one, and none: the margins of MNIST's images are wide enough.
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 2))
"""Rows and columns by which each copy of MNIST is moved, so that all records differ."""

_RECORDS_PER_SHARD = 10_000
_NUM_TRAINED_ON = 7_000
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class EngineFigures:
    """Time and memory of the data steps on one engine.

    Attributes:
        seconds: Wall time of each step.
        total_seconds: Wall time of the process that ran them, with its imports.
        peak_bytes: Peak memory by the role of the process, see `_watched_memory`.
    """

    seconds: Mapping[str, float]
    total_seconds: float
    peak_bytes: Mapping[str, int]


@click.command()
@click.option("--num-records", default=700_000, show_default=True, help="Number of images, at most ten times MNIST.")
@click.option(
    "--job-server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Beam's job server, a jar; by default, Beam downloads its own from Maven Central.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures to this file."
)
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
    """Writes moved copies of MNIST, in its proportion of train to test.

    Args:
        file: The npz file to write, uncompressed: 784 bytes per record.
        num_records: Number of images in both splits.

    Raises:
        ValueError: `num_records` is more than ten times the size of MNIST.
    """
    if num_records > len(SHIFTS) * NUM_MNIST:
        raise ValueError(f"{num_records} records: expected at most {len(SHIFTS) * NUM_MNIST}.")
    arrays: dict[str, Any] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        images, labels = load_mnist(split)
        count = num_records * len(images) // NUM_MNIST
        copies = [np.roll(images, shift, axis=(1, 2)) for shift in SHIFTS[: -(-count // len(images))]]
        arrays[f"x_{split}"] = np.concatenate(copies)[:count]
        arrays[f"y_{split}"] = np.tile(labels, len(copies))[:count]
    np.savez(file, **arrays)


def num_shards(num_records: int) -> int:
    """Returns the number of shards per split that docs/scaling.md recommends for a number of records."""
    return max(2, num_records // _RECORDS_PER_SHARD)


def table(num_records: int, direct: EngineFigures, flink: EngineFigures) -> str:
    """Renders both engines as a Markdown table: times in seconds, memory in GiB."""
    lines = [f"| {num_records:,} records | direct | Flink, 2 TaskManagers |", "|---|---|---|"]
    for step in direct.seconds:
        lines.append(f"| {step} (s) | {direct.seconds[step]:.1f} | {flink.seconds[step]:.1f} |")
    lines.append(f"| whole process (s) | {direct.total_seconds:.1f} | {flink.total_seconds:.1f} |")
    for name in dict.fromkeys([*direct.peak_bytes, *flink.peak_bytes]):
        sizes = [figures.peak_bytes.get(name) for figures in (direct, flink)]
        cells = ["-" if size is None else f"{size / GIBIBYTE:.2f}" for size in sizes]
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
        _watched_memory(process.pid, cluster) as peak_bytes,
    ):
        output, _ = process.communicate()
    total_seconds = time.perf_counter() - start
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)}:\n{log.read_text()[-3000:]}")
    return EngineFigures(json.loads(output), total_seconds, dict(peak_bytes))


@contextmanager
def _watched_memory(steps: int, cluster: FlinkCluster | None) -> Iterator[Mapping[str, int]]:
    """Samples the memory of processes while the `with` statement runs; Linux only.

    Shared memory is divided among the processes that share it (proportional set size), because forked workers share
    all modules.

    Args:
        steps: ID of the process that runs the steps.
        cluster: The cluster, if any.

    Yields:
        Peaks in bytes by the role of the process, complete at the end.
    """
    peaks: dict[str, int] = {}
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(_SAMPLE_SECONDS):
            sizes = list(_sizes(steps, cluster))
            for name, size in [*sizes, ("total", sum(size for _, size in sizes))]:
                peaks[name] = max(peaks.get(name, 0), size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stopped.set()
        thread.join()


def _sizes(steps: int, cluster: FlinkCluster | None) -> Iterator[tuple[str, int]]:
    roots = {"steps": steps, **(cluster.process_ids if cluster else {})}
    for name, root in roots.items():
        for process in _tree(root):
            # A process may end after it was listed.
            with suppress(psutil.NoSuchProcess):
                # Workers are grandchildren of the pool: it forks them from a process of its own.
                is_worker = name == "worker-pool" and root not in (process.pid, process.ppid())
                role = "Python worker, the largest" if is_worker else name.replace("-", " ")
                yield role, int(process.memory_full_info().pss)


def _tree(process_id: int) -> Iterable[psutil.Process]:
    try:
        root = psutil.Process(process_id)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _command(
    folder: Path, source: Path, num_records: int, options: Sequence[str], model: Path | None = None
) -> list[str]:
    command = [sys.executable, "-m", "tests.support.data_steps", str(folder)]
    for option in (f"data.uri={source}", f"data.num_shards={num_shards(num_records)}", *options):
        command += ["--set", option]
    return command if model is None else [*command, "--model", str(model)]


if __name__ == "__main__":
    main()
