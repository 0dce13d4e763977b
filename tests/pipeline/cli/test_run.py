"""`digits run` up to the start of the pipeline, and `digits runs`. Whole runs are in tests/e2e."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from filelock import FileLock
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.metadata import record_outcome
from pipeline.settings.settings import PROJECT_ROOT, Settings
from registry.signing import prepare_private_key

COMPLETE, CACHED, FAILED = (
    metadata_store_pb2.Execution.COMPLETE,
    metadata_store_pb2.Execution.CACHED,
    metadata_store_pb2.Execution.FAILED,
)
FIRST, SECOND, THIRD = (f"2026-01-0{day}T03:04:05.000006" for day in (2, 3, 4))

Digits = Callable[..., Result]


@pytest.fixture
def workspace(store: MetadataStore, add_run: Callable[..., None], tmp_path: Path) -> Path:
    """Three runs: the first two pushed a version, the last failed."""
    add_run(FIRST, {"Trainer": COMPLETE, "Evaluator": COMPLETE, "Pusher": COMPLETE}, "17")
    record_outcome(store, FIRST, "pushed", 0.9925)
    add_run(SECOND, {"Trainer": CACHED, "Pusher": COMPLETE}, "18")
    record_outcome(store, SECOND, "pushed", 0.9875)
    add_run(THIRD, {"Trainer": CACHED, "Evaluator": CACHED, "Pusher": FAILED})
    record_outcome(store, THIRD, "failed")
    return tmp_path


def test_runs_of_an_empty_workspace(digits: Digits, tmp_path: Path) -> None:
    result = digits("runs", "--workspace", tmp_path / "empty")
    assert (result.exit_code, result.output) == (0, f"No pipeline has run in {tmp_path / 'empty'} yet.\n")
    assert json.loads(digits("runs", "--workspace", tmp_path / "empty", "--json").output) == []


def test_runs_as_a_table(digits: Digits, table_rows: Callable[[str], list[list[str]]], workspace: Path) -> None:
    assert table_rows(digits("runs", "--workspace", workspace).output) == [
        ["started", "pipeline", "outcome", "took", "steps run", "accuracy", "version"],
        ["2026-01-02 03:04", "digits", "pushed", "0 s", "3 of 3", "99.25 %", "17"],
        ["2026-01-03 03:04", "digits", "pushed", "0 s", "1 of 2", "98.75 %", "18"],
        ["2026-01-04 03:04", "digits", "failed", "0 s", "0 of 3"],
    ]


def test_runs_as_json(digits: Digits, workspace: Path) -> None:
    runs = json.loads(digits("runs", "--workspace", workspace, "--json").output)
    assert [run["run_id"] for run in runs] == [run["started"] for run in runs] == [FIRST, SECOND, THIRD]
    assert [[run[key] for key in ("pipeline", "outcome", "test_accuracy", "version")] for run in runs] == [
        ["digits", "pushed", 0.9925, 17],
        ["digits", "pushed", 0.9875, 18],
        ["digits", "failed", None, None],
    ]
    assert [[(step["name"], step["state"]) for step in run["steps"]] for run in runs[1:]] == [
        [("Trainer", "cached"), ("Pusher", "ran")],
        [("Trainer", "cached"), ("Evaluator", "cached"), ("Pusher", "failed")],
    ]
    assert runs[0]["seconds"] == sum(step["seconds"] for step in runs[0]["steps"])


def test_two_runs_are_compared(digits: Digits, workspace: Path) -> None:
    result = digits("runs", "--workspace", workspace, "--compare", "17", "2026-01-04 03", "--json")
    assert [run["run_id"] for run in json.loads(result.output)["runs"]] == [FIRST, THIRD]
    assert "test accuracy   99.25 %" in digits("runs", "--workspace", workspace, "--compare", "17", "18").output


def test_an_unknown_run_is_not_compared(digits: Digits, workspace: Path) -> None:
    result = digits("runs", "--workspace", workspace, "--compare", "17", "19")
    assert result.exit_code == 2
    assert "Error: '19': no run has this version number" in result.stderr
    assert "; the nearest are 18, 17, 2026-01-04T03:04:05.000006; 2 others exist; " in result.stderr


def test_a_second_run_of_a_workspace_is_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"):
        command = [sys.executable, "-m", "pipeline.cli.main", "run", "--workspace", str(tmp_path)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert f"Error: {tmp_path}: another run is using this workspace; wait for it" in process.stderr
    assert not (tmp_path / "metadata.sqlite").exists()


def test_new_data_is_accepted_for_one_run(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = []

    def refuse(settings: Settings, *_: object, verbose: bool) -> SimpleNamespace:
        accepted.append(settings.evaluation.accept_new_data)
        return SimpleNamespace(run=SimpleNamespace(outcome="refused"))

    monkeypatch.setattr("pipeline.cli.run.run_and_show", refuse)
    for options in ((), ("--accept-new-data",), ("--set", "evaluation.accept_new_data=false", "--accept-new-data")):
        assert digits("run", "--workspace", tmp_path, "--config", os.devnull, *options).exit_code == 3
    assert accepted == [False, True, True]


# Standard output and error are redirected, which needs a process of its own; its run logs, and gets signals.
RUN_SCRIPT = """
import os, signal, sys
import pipeline.local.runner
from pipeline.cli.main import main

def run_pipeline(settings, display, search):
    display.step_started("Trainer")
    os.write(2, b"log of C++\\n")
    try:
        for name in sys.argv[1].split(","):
            os.kill(os.getpid(), signal.Signals[name])
    except KeyboardInterrupt:
        for name in filter(None, sys.argv[2].split(",")):
            os.kill(os.getpid(), signal.Signals[name])
    raise pipeline.local.runner.StepFailedError("Stopped in Trainer.")

pipeline.local.runner.run_pipeline = run_pipeline
main(["run", *sys.argv[3:]])
"""


def run_with_signals(workspace: Path, first: str, then: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", RUN_SCRIPT, first, then, "--workspace", str(workspace), *options]
    # A run that ends at once leaves its temporary files.
    environment = {**os.environ, "TMPDIR": str(workspace)}
    return subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("then", ["", "SIGHUP"])
@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_a_run_and_a_shell_may_repeat_it(tmp_path: Path, first: str, then: str) -> None:
    result = run_with_signals(tmp_path, first, then)
    assert (result.returncode, result.stderr) == (1, "Error: Stopped in Trainer.\n")
    assert result.stdout.splitlines()[-1].startswith("Log  ")


@pytest.mark.parametrize("then", ["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, then: str) -> None:
    result = run_with_signals(tmp_path, "SIGINT", then)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.splitlines()[1:] == [
        "    ended; run again to continue; `digits clean` removes what this run has left",
    ]


def test_the_log_is_shown_on_request(tmp_path: Path) -> None:
    [quiet, verbose] = (run_with_signals(tmp_path, "SIGINT", "", "--json", *option) for option in ((), ("--verbose",)))
    assert quiet.stdout == verbose.stdout == ""
    assert "log of C++" not in quiet.stderr
    assert "log of C++" in verbose.stderr.splitlines()


@pytest.fixture
def no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.mark.usefixtures("no_temporary_files")
def test_clean_lists_what_it_removes(digits: Digits, workspace: Path) -> None:
    attempt = workspace / "pipeline_root" / "Trainer" / "model" / "3"
    attempt.mkdir(parents=True)
    (attempt / "weights").write_bytes(bytes(1_250_000))
    reason = "its step failed or was stopped, or a file was damaged"
    shown = f"{attempt}, 1.2 MB: {reason}"
    dry = digits("clean", "--workspace", workspace, "--dry-run")
    assert (dry.exit_code, dry.output) == (0, f"would remove {shown}\nwould remove 1.2 MB\n")
    removed = [{"path": str(attempt), "reason": reason, "bytes": 1_250_000}]
    values = {"removed": removed, "bytes": 1_250_000, "dry_run": True}
    assert json.loads(digits("clean", "--workspace", workspace, "--dry-run", "--json").output) == values
    assert attempt.exists()
    assert digits("clean", "--workspace", workspace).output == f"removed {shown}\nremoved 1.2 MB\n"
    assert not attempt.exists()
    for folder in (workspace, workspace / "none"):
        assert digits("clean", "--workspace", folder).output == f"Nothing to clean in {folder}.\n"
    assert not (workspace / "none").exists()


@pytest.mark.usefixtures("no_temporary_files")
@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_clean_is_refused_while_a_run_is_in_progress(digits: Digits, workspace: Path, option: tuple[str, ...]) -> None:
    with FileLock(workspace / ".lock"):
        result = digits("clean", "--workspace", workspace, *option)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {workspace}: another run is using this workspace; wait for it")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("private_key=text.pem",), "text.pem: cannot be used as a key; expected an elliptic-curve key"),
        (("public_key=ours.pub",), "ours.pub: not the public half of "),
        (("private_key=none.pem",), "signing.private_key: Path does not point to a file"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_before_any_work(
    tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    (tmp_path / "text.pem").write_text("key")
    prepare_private_key(tmp_path / "ours.pem", None, is_development=True, say=print)
    options = [option for each in settings for option in ("--set", f"signing.{each}")]
    command = [sys.executable, "-m", "pipeline.cli.main", "run", "--profile", "smoke", *options]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "workspace" / "metadata.sqlite").exists()


@pytest.mark.parametrize(
    ("run", "hint"),
    [
        ("Namespace(is_search=False)", ["Report         `digits report` shows what there is"]),
        ("Namespace(is_search=True, run_id='17')", ["Report         `digits report 17` shows what there is"]),
        ("None", []),
    ],
)
def test_a_failed_run_points_to_its_report_if_there_is_something_to_report(
    tmp_path: Path, run: str, hint: list[str]
) -> None:
    script = f"""
from types import SimpleNamespace as Namespace
from pipeline.cli.main import main
from pipeline.local import reports, runner

def fail(settings, display, search):
    raise runner.StepFailedError("Trainer failed: no memory")

runner.run_pipeline = fail
reports.find_reportable_run = lambda settings, since: {run}
main(["run", "--workspace", {str(tmp_path)!r}])
"""
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (1, "Error: Trainer failed: no memory\n")
    assert [line for line in process.stdout.splitlines() if line.startswith("Report")] == hint
