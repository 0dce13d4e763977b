"""The command but for `digits run`: lists, checks of data, wrong use. Whole runs are in tests/e2e."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.cli.main import main
from pipeline.local.metadata import record_outcome

COMPLETE, CACHED, FAILED = (
    metadata_store_pb2.Execution.COMPLETE,
    metadata_store_pb2.Execution.CACHED,
    metadata_store_pb2.Execution.FAILED,
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def workspace(store: MetadataStore, add_run: Callable[..., None], tmp_path: Path) -> Path:
    """Three runs: of the first two came versions, of the last a failure."""
    add_run("2026-01-02T03:04:05.000006", {"Trainer": COMPLETE, "Evaluator": COMPLETE, "Pusher": COMPLETE}, "17")
    record_outcome(store, "pushed", 0.9925)
    add_run("2026-01-03T03:04:05.000006", {"Trainer": CACHED, "Pusher": COMPLETE}, "18")
    record_outcome(store, "pushed", 0.9875)
    add_run("2026-01-04T03:04:05.000006", {"Trainer": CACHED, "Evaluator": CACHED, "Pusher": FAILED})
    record_outcome(store, "failed")
    return tmp_path


def digits(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def table_rows(table: str) -> list[list[str]]:
    """The words of each line of a table, its header first, without rules and empty lines."""
    return [words for line in table.splitlines() if (words := line.split()) and not set(line) <= {" ", "─"}]


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from pipeline.cli.main import main
for arguments in (["--help"], ["run", "--help"], ["rollback", "--help"], ["prune", "--help"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0
heavy = {"tensorflow", "tfx", "apache_beam", "keras", "numpy", "pydantic", "rich", "ml_metadata"}
print(sorted(heavy & set(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
    assert "--profile" in output


def test_runs_of_an_empty_workspace() -> None:
    result = digits("runs", "--workspace", "nothing-here")
    assert result.exit_code == 0
    assert "No pipeline has run in " in result.output
    assert json.loads(digits("runs", "--workspace", "nothing-here", "--json").output) == []


def test_runs(workspace: Path) -> None:
    result = digits("runs", "--workspace", workspace)
    assert result.exit_code == 0
    header, *table = table_rows(result.output)
    assert header == ["started", "pipeline", "outcome", "took", "steps", "run", "accuracy", "version"]
    assert table == [
        ["2026-01-02", "03:04", "digits", "pushed", "0", "s", "3", "of", "3", "99.25", "%", "17"],
        ["2026-01-03", "03:04", "digits", "pushed", "0", "s", "1", "of", "2", "98.75", "%", "18"],
        ["2026-01-04", "03:04", "digits", "failed", "0", "s", "0", "of", "3"],
    ]


def test_runs_as_json(workspace: Path) -> None:
    result = digits("runs", "--workspace", workspace, "--json")
    assert result.exit_code == 0
    first, second, third = json.loads(result.output)
    assert first["run_id"] == first["started"] == "2026-01-02T03:04:05.000006"
    assert [(step["name"], step["state"]) for step in first["steps"]] == [
        ("Trainer", "ran"),
        ("Evaluator", "ran"),
        ("Pusher", "ran"),
    ]
    assert first["seconds"] == sum(step["seconds"] for step in first["steps"])
    assert [step["state"] for step in third["steps"]] == ["cached", "cached", "failed"]
    keys = ("outcome", "test_accuracy", "version")
    assert [[run[key] for key in keys] for run in (first, second, third)] == [
        ["pushed", 0.9925, 17],
        ["pushed", 0.9875, 18],
        ["failed", None, None],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--set", "trainer.epoch=3"), "Error: trainer.epoch: no such setting; did you mean 'epochs'?"),
        (("run", "--profile", "slow"), "Error: profile: Input should be 'smoke', 'fast' or 'default', not 'slow'."),
        (("run", "--config", "absent.toml"), "Error: absent.toml: cannot be read: No such file or directory."),
        (("runs", "--config", "absent.toml"), "Error: absent.toml: cannot be read"),
        (("verify-data",), "Missing argument 'URI'"),
        (("run", "--fast"), "No such option"),
    ],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...], message: str) -> None:
    result = digits(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("workspace").exists()


def test_a_workspace_in_use_is_left_alone(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with FileLock(workspace / ".lock"):
        command = [sys.executable, "-m", "pipeline.cli.main", "run", "--workspace", str(workspace)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert f"Error: {workspace}: another run is using this workspace; wait for it" in process.stderr
    assert not (workspace / "metadata.sqlite").exists()
