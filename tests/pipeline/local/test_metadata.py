"""Against a real metadata database, with records such as TFX writes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.metadata import (
    MetadataError,
    NoRunsError,
    Run,
    Step,
    list_runs,
    newest_artifacts,
    newest_run,
    open_metadata,
    record_outcome,
)

AddRun = Callable[..., None]

COMPLETE, CACHED, FAILED = (
    metadata_store_pb2.Execution.COMPLETE,
    metadata_store_pb2.Execution.CACHED,
    metadata_store_pb2.Execution.FAILED,
)


def states(run: Run) -> list[tuple[str, str]]:
    return [(step.name, step.state) for step in run.steps]


def test_runs_are_listed_with_steps_and_version(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> None:
    add_run("2026-01-02T03:04:05.000006", {"Trainer": COMPLETE, "Pusher": COMPLETE}, version="17")
    record_outcome(store, "pushed", 0.995)
    add_run("2026-01-03T03:04:05.000006", {"Trainer": CACHED, "Pusher": FAILED})

    first, second = list_runs(open_metadata(tmp_path / "metadata.sqlite"))
    assert first.started == datetime(2026, 1, 2, 3, 4, 5, 6)
    assert first.pipeline == "digits"
    assert states(first) == [("Trainer", "ran"), ("Pusher", "ran")]
    assert (first.outcome, first.test_accuracy, first.version) == ("pushed", 0.995, 17)
    assert states(second) == [("Trainer", "cached"), ("Pusher", "failed")]
    assert (second.outcome, second.test_accuracy, second.version) == ("unfinished", None, None)
    assert isinstance(first.steps[0], Step)
    assert first.steps[0].seconds >= 0


def test_the_newest_run_is_the_one_that_started_last(store: MetadataStore, add_run: AddRun) -> None:
    add_run("2026-01-02T03:04:05.000006", {"Pusher": COMPLETE}, version="17")
    add_run("2026-01-03T03:04:05.000006", {"Pusher": COMPLETE}, version="18")
    assert newest_run(store).version == 18
    assert [artifact.uri for artifact in newest_artifacts(store, "PushedModel")] == ["pushed/18"]
    record_outcome(store, "refused")
    assert [run.outcome for run in list_runs(store)] == ["unfinished", "refused"]


def test_artifacts_that_the_newest_run_lacks(store: MetadataStore, add_run: AddRun) -> None:
    add_run("2026-01-02T03:04:05.000006", {"Pusher": COMPLETE}, version="17")
    add_run("2026-01-03T03:04:05.000006", {"Pusher": FAILED})
    assert newest_artifacts(store, "PushedModel") == []


def test_nothing_has_run(store: MetadataStore, tmp_path: Path) -> None:
    assert list_runs(store) == []
    with pytest.raises(LookupError, match="no run"):
        newest_run(store)
    with pytest.raises(LookupError, match="no run"):
        newest_artifacts(store, "digits.Verdict")
    with pytest.raises(
        NoRunsError, match="empty: no pipeline has run in this workspace yet; start one with `digits run`"
    ):
        open_metadata(tmp_path / "empty" / "metadata.sqlite")


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").write_text("no database")
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: cannot be read as a metadata database .* move it away"):
        open_metadata(tmp_path / "metadata.sqlite")
