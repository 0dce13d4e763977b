"""Measures small requests that cause a server much work, on one core and in the session of TF Serving."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.processes import exit_with, model_option, run_process
from components.verdict import render_table

MAX_CPU_SECONDS = 1.0
MAX_MEGABYTES = 300


@dataclass(frozen=True)
class BombResult:
    """The cost of one request.

    Attributes:
        name: What it contains.
        num_bytes: Its size.
        cpu_seconds: CPU time of all threads.
        megabytes: Peak of the resident memory over that of the loaded model; TensorFlow keeps some for later requests.
        answer: `ok`, or the error.
    """

    name: str
    num_bytes: int
    cpu_seconds: float
    megabytes: float
    answer: str


def measure_bombs(model: str, python: str = sys.executable) -> list[BombResult]:
    """Sends all bombs to a SavedModel in a fresh process.

    Args:
        model: Folder of the SavedModel.
        python: Interpreter of an environment with TensorFlow, which may be that of TF Serving.

    Raises:
        ProcessFailedError: The process was killed, or the model cannot be loaded.
    """
    process = run_process([python, "-m", "benchmarks.bomb_requests", model])
    return [BombResult(**json.loads(line)) for line in process.stdout.splitlines() if line.startswith("{")]


def missed_targets(results: Iterable[BombResult]) -> Iterator[str]:
    """Yields each missed target, as a sentence."""
    for result in results:
        if result.cpu_seconds > MAX_CPU_SECONDS:
            yield f"{result.name}: {result.cpu_seconds:.2f} s of CPU, expected at most {MAX_CPU_SECONDS:g}."
        if result.megabytes > MAX_MEGABYTES:
            yield f"{result.name}: {result.megabytes:.0f} MB of memory, expected at most {MAX_MEGABYTES}."


@click.command()
@model_option
@click.option("--python", default=sys.executable, help="Python with TensorFlow.  [default: this one]")
def main(model: Path, python: str) -> None:
    """Measure the CPU time and memory of each bomb; exit with 1 if a target is missed."""
    results = measure_bombs(str(model), python)
    rows = [
        (each.name, f"{each.num_bytes:,}", f"{each.cpu_seconds:.2f}", f"{each.megabytes:.0f}", each.answer)
        for each in results
    ]
    click.echo(render_table(("request", "bytes", "CPU (s)", "memory (MB)", "answer"), rows))
    exit_with(missed_targets(results))


if __name__ == "__main__":
    main()
