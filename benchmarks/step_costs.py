"""Measures the first data steps of the checkout in the working directory, which may be an older one.

Prints a line of JSON per step. Uses only what older checkouts have, too: python .../step_costs.py FOLDER SETTING...
"""

import ctypes
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

# It imports TFX first, as it must.
from tests.support.data_steps import run_data_steps

# isort: split
from pipeline.beam.options import beam_args
from pipeline.settings.settings import load_settings, parse_assignments

_LAST_STEP = "Transform"


def main(folder: Path, assignments: Sequence[str]) -> None:
    """Runs the steps up to Transform into a folder, in this process."""
    settings = load_settings(parse_assignments(tuple(assignments)), file=Path(os.devnull))
    _forget_peak()
    cpu_seconds = _cpu_seconds()
    for step, seconds in run_data_steps(settings, beam_args(settings), folder):
        costs = {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu_seconds, "peak_bytes": _peak_bytes()}
        print(json.dumps({"step": step, **costs}), flush=True)
        if step == _LAST_STEP:
            return
        _forget_peak()
        cpu_seconds = _cpu_seconds()


def _cpu_seconds() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _forget_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)
    # man 5 proc
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
