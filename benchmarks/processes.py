"""Runs commands as whole processes and says what each took, which is what a user of the command waits and pays for."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# The command of the environment whose Python runs the benchmark, whatever PATH says.
DIGITS = str(Path(sys.executable).with_name("digits"))

# Often enough for what grows over seconds; taking one sample costs about a millisecond.
_SAMPLE_SECONDS = 0.1
_NUM_ERROR_LINES = 30


@dataclass(frozen=True)
class FinishedProcess:
    """A process that ended well.

    Attributes:
        seconds: Wall time from its start to its end.
        peak_bytes: Highest sum of the resident memory of the process and all its descendants.
        stdout: All that it wrote to standard output.
    """

    seconds: float
    peak_bytes: int
    stdout: str


class ProcessFailedError(RuntimeError):
    """A process ended with an exit code other than zero; the message holds the end of its output.

    Attributes:
        exit_code: The exit code, or minus the number of the signal that ended it.
    """

    def __init__(self, command: Sequence[str], exit_code: int, output: str) -> None:
        """Tells which command failed, how, and what it said last."""
        lines = output.strip().splitlines()[-_NUM_ERROR_LINES:]
        super().__init__("\n".join([f"{' '.join(command)}: exit code {exit_code}; the end of its output:", *lines]))
        self.exit_code = exit_code


def run_process(command: Sequence[str]) -> FinishedProcess:
    """Runs a command to its end.

    Memory is sampled, not taken from the kernel's `ru_maxrss`: that is the peak of the largest single process of the
    tree, not of their sum, and starts from the memory of whoever forked it. A sample can miss a peak shorter than a
    tenth of a second. Memory that processes of the tree share is counted once for each.

    Args:
        command: The program and its arguments.

    Returns:
        Its wall time in seconds, its peak memory in bytes, and its standard output.

    Raises:
        ProcessFailedError: Its exit code is not zero.
        OSError: It could not be started.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    )
    try:
        peak_bytes, stdout, stderr = _watch(process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    seconds = time.perf_counter() - start
    if process.returncode:
        raise ProcessFailedError(command, process.returncode, stdout + stderr)
    return FinishedProcess(seconds, peak_bytes, stdout)


def run_module(name: str, *arguments: str) -> FinishedProcess:
    """Runs a module of this project, such as `benchmarks.tfx_example`, as `python -m` does; see `run_process`."""
    return run_process([sys.executable, "-m", name, *arguments])


def _watch(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    root = psutil.Process(process.pid)
    peak_bytes = 0
    while True:
        peak_bytes = max(peak_bytes, _tree_bytes(root))
        try:
            # Unlike `wait`, it empties the pipes, and returns the moment that they close.
            stdout, stderr = process.communicate(timeout=_SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return peak_bytes, stdout, stderr


def _tree_bytes(root: psutil.Process) -> int:
    try:
        return sum(_resident_bytes(process) for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        # It ended since it was listed.
        return 0
