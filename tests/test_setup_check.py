import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import setup_check

GOOD: dict[str, Any] = {
    "python": (3, 11),
    "glibc": (2, 36),
    "machine": "Linux x86_64",
    "free_bytes": 50e9,
    "has_compiler": True,
    "has_headers": True,
    "has_venv": True,
}


@pytest.mark.parametrize(
    "machine",
    [
        {},
        {"python": (3, 13), "glibc": (2, 39)},
        {"python": (3, 13), "glibc": None, "machine": "Darwin arm64"},
    ],
)
def test_a_machine_that_will_do(machine: dict[str, Any]) -> None:
    assert setup_check.problems(**{**GOOD, **machine}) == []


@pytest.mark.parametrize(
    ("lack", "message"),
    [
        ({"python": (3, 10)}, "Python 3.10 is not supported: install Python 3.11, 3.12 or 3.13"),
        ({"python": (3, 14)}, "Python 3.14 is not supported"),
        ({"python": (3, 12)}, "Python 3.12 needs glibc 2.39, this is 2.36: use Python 3.11"),
        ({"machine": "Linux aarch64"}, "this is Linux aarch64"),
        ({"machine": "Darwin arm64", "glibc": None}, "On macOS TFX needs Python 3.12 or 3.13"),
        ({"glibc": None}, "needs a Linux with glibc"),
        ({"has_compiler": False}, r"No C\+\+ compiler .*install g\+\+"),
        ({"has_headers": False}, "headers of Python 3.11 are missing .*python3.11-dev"),
        ({"has_venv": False}, "lacks ensurepip .*python3.11-venv"),
        ({"free_bytes": 2.5e9}, "2.5 GB of disk space are free, but 6 GB are needed"),
    ],
)
def test_missing_prerequisites_are_named(lack: dict[str, Any], message: str) -> None:
    (problem,) = setup_check.problems(**{**GOOD, **lack})
    assert re.search(message, problem)


def test_this_machine_is_good_enough_to_run_the_tests() -> None:
    script = Path(setup_check.__file__)
    process = subprocess.run([sys.executable, script, "--quiet"], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
