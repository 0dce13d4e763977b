"""A search takes the data steps of an earlier run from the cache, and a later run trains with its result."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def tune(workspace: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Returns the result of `digits tune`, and what it shows."""
    command = [sys.executable, "-m", "pipeline.cli.main", "tune", "--profile", "smoke", "--workspace", str(workspace)]
    short = ("--epochs", "1", "--max-images", "300", "--json")
    process = subprocess.run([*command, *short, *options], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), process.stderr


def test_a_search_and_a_run_share_the_data_steps(run_digits: Callable[..., Any], tmp_path: Path) -> None:
    first, shown = tune(tmp_path, "--trials", "1")
    assert first["outcome"] == "tuned"
    assert "trial   eval loss" in shown

    second, shown = tune(tmp_path, "--trials", "3", "--parallel", "2")
    assert {step["name"] for step in second["steps"] if step["state"] == "ran"} == {"Tuner"}
    assert shown.count(": eval loss ") == 2, "the first trial does not run again"
    assert len(second["trials"]) == 3
    assert first["trials"][0] in second["trials"]

    unchanged, _ = tune(tmp_path, "--trials", "3", "--parallel", "2")
    assert {step["state"] for step in unchanged["steps"]} == {"cached"}
    assert unchanged["trials"] == second["trials"]

    run = run_digits(tmp_path, "--tuned")
    assert not set(run.steps_that_ran) & {step["name"] for step in first["steps"]}
    report = json.loads((Path(run.result["report"]).parent / "report.json").read_text())
    assert report["trials"] == second["trials"]
    changed = {setting["name"]: setting["value"] for setting in report["settings"]}
    assert changed["tuned"] is True
