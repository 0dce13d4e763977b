"""`digits report`; tests/pipeline/local/test_reports.py has what it reports."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Execution

from pipeline.local import reports
from pipeline.local.metadata import Run
from pipeline.settings.settings import Settings

FIRST, SECOND = "2026-01-02T03:04:05.000006", "2026-01-03T03:04:05.000006"

Digits = Callable[..., Result]


@pytest.fixture
def workspace(
    store: MetadataStore, add_run: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Two runs: the first one has written a report, that of the other one has to be made."""
    add_run(FIRST, {"Pusher": Execution.COMPLETE}, "1700")
    add_run(SECOND, {"Pusher": Execution.COMPLETE}, "1800")

    def find(settings: Settings, run: Run) -> Path | None:
        return _write(tmp_path / "artifact") if run.run_id == FIRST else None

    monkeypatch.setattr(reports, "find_report", find)
    monkeypatch.setattr(reports, "make_report", lambda settings, run: _write(tmp_path / "made"))
    return tmp_path


def _write(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "report.html").touch()
    (folder / "report.json").write_text(json.dumps({"missing": ["No data: lost."]}))
    return folder


@pytest.mark.parametrize(
    ("name", "folder"), [((), "made"), ((FIRST,), "artifact"), (("1700",), "artifact"), (("1800",), "made")]
)
def test_the_path_of_the_report_is_printed(digits: Digits, workspace: Path, name: tuple[str, ...], folder: str) -> None:
    result = digits("report", *name, "--workspace", workspace)
    assert (result.exit_code, result.output) == (0, f"{workspace / folder / 'report.html'}\n")


def test_the_report_as_json(digits: Digits, workspace: Path) -> None:
    assert json.loads(digits("report", "1700", "--workspace", workspace, "--json").output) == {
        "run_id": FIRST,
        "outcome": "unfinished",
        "html": str(workspace / "artifact" / "report.html"),
        "json": str(workspace / "artifact" / "report.json"),
        "missing": ["No data: lost."],
    }


def test_the_report_is_opened(digits: Digits, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = workspace / "made" / "report.html"
    exit_codes = {page.as_uri(): 0}
    monkeypatch.setattr(click, "launch", exit_codes.pop)
    assert digits("report", "--open", "--workspace", workspace).exit_code == 0
    assert exit_codes == {}
    monkeypatch.setattr(click, "launch", lambda url: 1)
    result = digits("report", "--open", "--workspace", workspace)
    assert result.exit_code == 1
    assert result.stderr == f"Error: No program opens web pages here; open {page} yourself.\n"


def test_an_unknown_run_is_refused_with_the_nearest_names(digits: Digits, workspace: Path) -> None:
    result = digits("report", "1701", "--workspace", workspace)
    assert result.exit_code == 2
    assert "; the nearest are 1700, 1800, 2026-" in result.stderr


def test_two_runs_are_compared_in_a_page(digits: Digits, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = workspace / "reports" / f"{FIRST}_{SECOND}.html"
    exit_codes = {page.as_uri(): 0}
    monkeypatch.setattr(click, "launch", exit_codes.pop)
    result = digits("report", "--compare", "1700", "1800", "--workspace", workspace, "--open")
    assert (result.output, exit_codes) == (f"{page}\n", {})
    assert "<!doctype html>" in page.read_text()
    values = json.loads(digits("report", "--compare", "1700", "1800", "--workspace", workspace, "--json").output)
    assert (values["run_ids"], values["html"]) == ([FIRST, SECOND], str(page))
    assert f"{FIRST}: its settings and software are not recorded." in values["missing"]


def test_a_report_is_either_of_a_run_or_compares_two(digits: Digits, workspace: Path) -> None:
    result = digits("report", "1700", "--compare", "1700", "1800", "--workspace", workspace)
    assert result.exit_code == 2
    assert "Error: Give either 1700 or --compare, not both." in result.stderr


def test_there_is_no_report_before_the_first_run(digits: Digits, tmp_path: Path) -> None:
    result = digits("report", "--workspace", tmp_path / "empty")
    assert result.exit_code == 2
    assert result.stderr == f"Error: No pipeline has run in {tmp_path / 'empty'} yet; start one with `digits run`.\n"
