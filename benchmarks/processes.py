"""Runs commands as whole processes and measures the time and the memory that a user of the command pays for."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from registry.versions import list_versions

# The command of the environment whose Python runs the benchmark, whatever PATH says.
DIGITS = str(Path(sys.executable).with_name("digits"))

GIBIBYTE = 2**30

NO_BOUNDS: Mapping[str, bool] = {"evaluation.enforced": False, "robustness.enforced": False}
"""Settings with which the gates measure a model and never refuse it."""

_SAMPLE_SECONDS = 0.1
_NUM_ERROR_LINES = 30


@dataclass(frozen=True)
class Sample:
    """What a process and all its descendants use at one moment.

    Attributes:
        time: Seconds since the epoch.
        cpu_seconds: CPU time of all their threads until then, including descendants that have ended.
        resident_bytes: Sum of their resident memory.
    """

    time: float
    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True)
class FinishedProcess:
    """A process that succeeded.

    Attributes:
        seconds: Wall time from its start to its end.
        peak_bytes: Highest sum of the resident memory of the process and all its descendants.
        stdout: All of its standard output.
        samples: What they used, about ten times a second, from the start to the end.
    """

    seconds: float
    peak_bytes: int
    stdout: str
    samples: Sequence[Sample] = ()


class ProcessFailedError(RuntimeError):
    """A process ended with an exit code other than zero; the message holds the end of its output."""


def run_process(command: Sequence[str], directory: Path | None = None) -> FinishedProcess:
    """Runs a command to its end.

    Memory is sampled: the kernel's `ru_maxrss` is the peak of the largest single process, not of their sum. A sample
    can miss a peak shorter than a tenth of a second, and counts memory that processes share once for each.

    Args:
        command: The program and its arguments.
        directory: Its working directory; by default that of this process.

    Raises:
        ProcessFailedError: Its exit code is not zero.
        OSError: It cannot be started.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        samples, stdout, stderr = _watch(process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    seconds = time.perf_counter() - start
    if process.returncode:
        lines = (stdout + stderr).strip().splitlines()[-_NUM_ERROR_LINES:]
        failure = f"{' '.join(command)}: exit code {process.returncode}; the end of its output:"
        raise ProcessFailedError("\n".join([failure, *lines]))
    return FinishedProcess(seconds, max(sample.resident_bytes for sample in samples), stdout, samples)


def run_module(name: str, *arguments: str) -> FinishedProcess:
    """Runs a module of this project, such as `benchmarks.tfx_example`; see `run_process`."""
    return run_process([sys.executable, "-m", name, *arguments])


def measure_model(*arguments: str) -> dict[str, Any]:
    """Runs a command of `benchmarks.pushed_model` and returns the JSON that it prints."""
    # Libraries may print before it.
    values: dict[str, Any] = json.loads(run_module("benchmarks.pushed_model", *arguments).stdout.splitlines()[-1])
    return values


def run_pipeline(workspace: Path, profile: str, settings: Mapping[str, Any]) -> FinishedProcess:
    """Runs `digits run --json` in a workspace; see `run_process`."""
    options = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    return run_process([DIGITS, "run", "--workspace", str(workspace), "--profile", profile, "--json", *options])


def newest_version() -> Path:
    """Returns the folder of the newest version that the default workspace has.

    Raises:
        click.UsageError: There is none.
    """
    serving_directory = Path("workspace", "serving", "digits")
    versions = list_versions(serving_directory)
    if not versions:
        raise click.UsageError(
            f"no version has been pushed to {serving_directory}; run `digits run` first, or name a folder with --model."
        )
    return versions[-1].directory


model_option = click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=newest_version,
    show_default="the newest in workspace/serving/digits",
    help="Folder of a pushed version.",
)


def exit_with(failures: Iterable[str]) -> None:
    """Prints the missed targets and exits with 1 if there is any, else with 0."""
    missed = list(failures)
    for failure in missed:
        click.echo(f"Error: {failure}", err=True)
    sys.exit(1 if missed else 0)


def _watch(process: "subprocess.Popen[str]") -> tuple[list[Sample], str, str]:
    root = psutil.Process(process.pid)
    samples = []
    while True:
        samples.append(_sample(root))
        try:
            # Unlike `wait`, it empties the pipes, and returns as soon as they close.
            stdout, stderr = process.communicate(timeout=_SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return samples, stdout, stderr


def _sample(root: psutil.Process) -> Sample:
    moment = time.time()
    cpu_seconds, resident_bytes = 0.0, 0
    for process in [root, *root.children(recursive=True)]:
        # A process may end after it was listed; its CPU time is then among that of its parent's children.
        with suppress(psutil.NoSuchProcess):
            # User and system time of the process, and both of its children that have ended.
            cpu_seconds += sum(process.cpu_times()[:4])
            resident_bytes += process.memory_info().rss
    return Sample(moment, cpu_seconds, resident_bytes)
