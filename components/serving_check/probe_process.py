"""Starts the fresh process that loads an export, and survives whatever the export does to it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from components.serving_check import probe
from components.serving_check.exchange import Plan, Report, read_report, write_plan

_PACKAGE_ROOT = Path(probe.__file__).parents[2]
_CHATTER = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} ")
_FATAL = re.compile(r"F\d{4} .*?\] ")


def run_probe(plan: Plan, timeout_s: float, log_file: Path) -> Report:
    """Follows a plan in a fresh process.

    Args:
        plan: What to load and to ask.
        timeout_s: Seconds after which the process is killed.
        log_file: Where its output is kept.

    Returns:
        What it reported; `failure` says so where it was killed or did not end well.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan_file, report_file = Path(folder, "plan.json"), Path(folder, "report.jsonl")
        write_plan(plan, plan_file)
        # -P: a folder `components` where the run was started is not ours.
        command = [sys.executable, "-P", "-m", probe.__name__, str(plan_file), str(report_file)]
        failure = _run(command, timeout_s, log_file)
        report = read_report(report_file)
    # A graph can end its process without an error.
    return replace(report, failure=failure or ("" if report.ended else "it ended before it was done"))


def last_words(log: str) -> str:
    """Returns the line of a process's output that says best why it ended; empty where none does."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _CHATTER.match(line)]
    # The stack trace that follows a fatal error of C++ says nothing to anybody.
    fatal = [_FATAL.sub("", line) for line in lines if _FATAL.match(line)]
    return (fatal or lines or [""])[-1]


def _run(command: list[str], timeout_s: float, log_file: Path) -> str:
    with log_file.open("wb") as log:
        try:
            process = subprocess.run(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it had not ended after {timeout_s:g} s"
    if process.returncode == 0:
        return ""
    words = last_words(log_file.read_text(encoding="utf-8", errors="replace"))
    return f"it was ended by {_cause(process.returncode)}" + (f": {words}" if words else "")


def _environment() -> dict[str, str]:
    search_path = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # A GPU's memory belongs to others, and its arithmetic is another.
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(search_path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _cause(return_code: int) -> str:
    if return_code > 0:
        return f"exit code {return_code}"
    try:
        return signal.Signals(-return_code).name
    except ValueError:
        return f"signal {-return_code}"
