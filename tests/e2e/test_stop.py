"""A run that is asked to end stops as with Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.local.metadata import list_runs

PROJECT_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_stops(tmp_path: Path, number: signal.Signals) -> None:
    temporary, workspace = tmp_path / "temporary", tmp_path / "workspace"
    temporary.mkdir()
    command = [sys.executable, "-m", "pipeline.cli.main", "run", "--profile", "smoke", "--workspace", str(workspace)]
    with subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if "MnistExampleGen" in line:
                break
        process.send_signal(number)
        shown = process.communicate(timeout=60)[0]
    assert process.returncode == 1, shown
    [run] = list_runs(workspace / "metadata.sqlite")
    assert run.outcome == "stopped"
    assert list(temporary.iterdir()) == []
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(workspace) in (each.info["cmdline"] or ())]
