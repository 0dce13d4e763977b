"""Against a real metadata database, with records such as TFX writes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.metadata import MetadataError, Run, artifact_folders, list_runs, read_run, record_outcome

AddRun = Callable[..., None]

COMPLETE, CACHED, FAILED = (
    metadata_store_pb2.Execution.COMPLETE,
    metadata_store_pb2.Execution.CACHED,
    metadata_store_pb2.Execution.FAILED,
)
FIRST, SECOND = "2026-01-02T03:04:05.000006", "2026-01-03T03:04:05.000006"


def states(run: Run) -> list[tuple[str, str]]:
    return [(step.name, step.state) for step in run.steps]


def test_runs_are_listed_with_steps_outcome_and_version(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> None:
    assert list_runs(tmp_path / "metadata.sqlite") == []
    add_run(FIRST, {"Trainer": COMPLETE, "Pusher": COMPLETE}, version="17")
    add_run(SECOND, {"Trainer": CACHED, "Pusher": FAILED})
    record_outcome(store, FIRST, "pushed", 0.995)

    first, second = list_runs(tmp_path / "metadata.sqlite")
    assert first == read_run(store, FIRST)
    assert (first.pipeline, first.started) == ("digits", datetime(2026, 1, 2, 3, 4, 5, 6))
    assert states(first) == [("Trainer", "ran"), ("Pusher", "ran")]
    assert (first.outcome, first.test_accuracy, first.version) == ("pushed", 0.995, 17)
    assert first.seconds == sum(step.seconds for step in first.steps) >= 0
    assert states(second) == [("Trainer", "cached"), ("Pusher", "failed")]
    assert (second.outcome, second.test_accuracy, second.version) == ("unfinished", None, None)
    assert artifact_folders(store, FIRST, "PushedModel") == ["pushed/17"]
    assert artifact_folders(store, SECOND, "PushedModel") == []


def test_the_outcome_of_a_run_without_a_record_is_ignored(
    store: MetadataStore, add_run: AddRun, tmp_path: Path
) -> None:
    add_run(FIRST, {"Pusher": COMPLETE}, version="17")
    record_outcome(store, SECOND, "failed")
    assert [run.outcome for run in list_runs(tmp_path / "metadata.sqlite")] == ["unfinished"]


def test_no_database_and_a_damaged_one(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "empty" / "metadata.sqlite") == []
    (tmp_path / "metadata.sqlite").write_text("no database")
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: cannot be read as a metadata database .* move it away"):
        list_runs(tmp_path / "metadata.sqlite")
