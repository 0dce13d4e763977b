"""A run that is asked to end stops as on Ctrl-C, and nothing is lost if it is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.local.metadata import list_runs

PROJECT_ROOT = Path(__file__).parents[2]


COMMAND = [sys.executable, "-m", "pipeline.cli.main"]


@contextmanager
def started_run(workspace: Path, temporary: Path) -> "Iterator[subprocess.Popen[str]]":
    temporary.mkdir()
    command = [*COMMAND, "run", "--profile", "smoke", "--config", os.devnull, "--workspace", str(workspace)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,
    ) as process:
        yield process


def _heed_signals() -> None:
    # Commands in the background and below `nohup` ignore these, and so do their children.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def read_until(text: str, process: "subprocess.Popen[str]") -> str:
    """Returns what the process has shown when it shows the text."""
    assert process.stdout
    shown = ""
    for line in process.stdout:
        shown += line
        if text in line:
            break
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_stops(tmp_path: Path, number: signal.Signals) -> None:
    temporary, workspace = tmp_path / "temporary", tmp_path / "workspace"
    with started_run(workspace, temporary) as process:
        read_until("MnistExampleGen", process)
        process.send_signal(number)
        shown = process.communicate(timeout=60)[0]
    assert process.returncode == 1, shown
    [run] = list_runs(workspace / "metadata.sqlite")
    assert run.outcome == "stopped"
    assert list(temporary.iterdir()) == []
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(workspace) in (each.info["cmdline"] or ())]


@pytest.mark.slow
def test_a_killed_run_in_a_copied_workspace_loses_nothing(
    first_run: Any, run_digits: Callable[..., Any], tmp_path: Path
) -> None:
    workspace, temporary = tmp_path / "workspace", tmp_path / "temporary"
    shutil.copytree(first_run.workspace, workspace)
    with started_run(workspace, temporary) as process:
        shown = read_until("epoch 1/4", process)
        process.kill()
    origin = f"workspace moved or copied from {first_run.workspace}, according to its records; all steps run again"
    assert origin in shown
    assert "cached" not in shown
    assert [run.outcome for run in list_runs(workspace / "metadata.sqlite")][-1] == "unfinished"
    report = [*COMMAND, "report", "--config", os.devnull, "--workspace", str(workspace), "--json"]
    reported = json.loads(subprocess.run(report, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout)
    assert Path(reported["html"]).is_relative_to(workspace / "reports")
    assert "No decision of Evaluator: Evaluator did not complete." in reported["missing"]
    assert not [sentence for sentence in reported["missing"] if sentence.startswith("No statistics")]

    examples = max((workspace / "pipeline_root/MnistExampleGen/examples").iterdir(), key=lambda path: int(path.name))
    lost = next(examples.glob("Split-train/*.gz"))
    lost.write_bytes(lost.read_bytes()[:-1000])
    again = run_digits(workspace)
    assert again.exit_code == 0, again.shown
    assert f"{lost} is missing or has changed; its step runs again" in again.shown
    assert "moved or copied" not in again.shown
    assert {"MnistExampleGen", "Transform", "Trainer", "Pusher"} <= set(again.steps_that_ran)
    assert "ImportSchemaGen" not in again.steps_that_ran

    command = [*COMMAND, "clean", "--config", os.devnull, "--workspace", str(workspace), "--json"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    cleaned = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=True)
    removed = {item["path"] for item in json.loads(cleaned.stdout)["removed"]}
    assert str(examples) in removed
    assert any(path.startswith(f"{workspace}/pipeline_root/Trainer/model/") for path in removed), "of the killed run"
    assert [path for path in removed if path.startswith(str(temporary))]
    assert list(temporary.iterdir()) == []
    unchanged = run_digits(workspace)
    assert (unchanged.result["outcome"], unchanged.steps_that_ran) == ("unchanged", [])
