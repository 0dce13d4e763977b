"""Against a real metadata database, with records such as TFX writes."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.metadata import (
    MetadataError,
    Run,
    UnknownRunError,
    artifact_folders,
    check_files,
    drop_damaged_artifacts,
    drop_moved_artifacts,
    find_run,
    has_records,
    list_runs,
    live_artifacts,
    read_run,
    record_outcome,
    record_peak_memory,
    run_outputs,
)

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
    description = {"settings": {"trainer": {"epochs": 8}}, "software": {"version": "0.1.0"}}
    record_outcome(store, FIRST, "pushed", 0.995, description)
    record_peak_memory(store, FIRST, 2**33)
    record_outcome(store, SECOND, "failed", reason="Pusher failed: no space.")

    first, second = list_runs(tmp_path / "metadata.sqlite")
    assert first == read_run(store, FIRST)
    assert (first.pipeline, first.started) == ("digits", datetime(2026, 1, 2, 3, 4, 5, 6))
    assert states(first) == [("Trainer", "ran"), ("Pusher", "ran")]
    assert [(step.execution_id, step.peak_bytes) for step in first.steps] == [(1, None), (2, 2**33)]
    assert (first.outcome, first.test_accuracy, first.version) == ("pushed", 0.995, 17)
    assert {"settings": first.settings, "software": first.software} == description
    assert first.seconds == sum(step.seconds for step in first.steps) >= 0
    assert states(second) == [("Trainer", "cached"), ("Pusher", "failed")]
    assert (second.outcome, second.test_accuracy, second.version) == ("failed", None, None)
    assert (first.reason, second.reason) == ("", "Pusher failed: no space.")
    assert artifact_folders(store, FIRST, "PushedModel") == ["pushed/17"]
    assert artifact_folders(store, SECOND, "PushedModel") == []


@pytest.mark.parametrize("name", [SECOND, "2026-01-03", "2026-01-03 03:04", "18"])
def test_a_run_is_found_by_version_or_start_of_its_id(
    store: MetadataStore, add_run: AddRun, tmp_path: Path, name: str
) -> None:
    add_run(FIRST, {"Pusher": COMPLETE}, version="17")
    add_run(SECOND, {"Pusher": COMPLETE}, version="18")
    add_run("2026-01-04T03:04:05.000006", {"Pusher": CACHED}, version="18")
    assert find_run(list_runs(tmp_path / "metadata.sqlite"), name).run_id == SECOND


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2026-01-0", f"'2026-01-0' fits 2 runs; there are {SECOND}, {FIRST}; give more characters"),
        (
            "2026-01-05",
            f"'2026-01-05': no run has this .*; there are {FIRST[:9]}.*, 1700; `digits runs --json`",
        ),
        ("1701", "'1701': no run has this .*; there are 1700, 2026"),
        ("", "'' fits 2 runs"),
    ],
)
def test_a_name_that_fits_no_run_or_several_is_refused(
    store: MetadataStore, add_run: AddRun, tmp_path: Path, name: str, message: str
) -> None:
    add_run(FIRST, {"Pusher": COMPLETE}, version="1700")
    add_run(SECOND, {"Trainer": FAILED})
    with pytest.raises(UnknownRunError, match=message):
        find_run(list_runs(tmp_path / "metadata.sqlite"), name)


def test_no_run_is_found_before_the_first_one() -> None:
    with pytest.raises(UnknownRunError, match="'17': no run has this .*; nothing has run here yet"):
        find_run([], "17")


def test_outputs_are_found_by_step_and_key(store: MetadataStore, add_run: AddRun) -> None:
    add_run(FIRST, {"Trainer": COMPLETE, "Pusher": COMPLETE}, version="17")
    add_run(SECOND, {"Trainer": COMPLETE, "Pusher": CACHED}, version="18")
    assert {key: artifact.uri for key, artifact in run_outputs(store, FIRST).items()} == {
        ("Pusher", "pushed_model"): "pushed/17"
    }


def test_the_outcome_of_a_run_without_a_record_is_ignored(
    store: MetadataStore, add_run: AddRun, tmp_path: Path
) -> None:
    add_run(FIRST, {"Pusher": COMPLETE}, version="17")
    record_outcome(store, SECOND, "failed")
    assert [run.outcome for run in list_runs(tmp_path / "metadata.sqlite")] == ["unfinished"]


def add_artifact(store: MetadataStore, folder: Path) -> metadata_store_pb2.Artifact:
    """Adds an artifact with two files to the first run."""
    (folder / "Split-test").mkdir(parents=True)
    for name in ("Split-test/a.gz", "b.gz"):
        (folder / name).write_text("records")
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))
    live = metadata_store_pb2.Artifact.LIVE
    [number] = store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=str(folder), state=live)])
    context = store.get_context_by_type_and_name("pipeline_run", FIRST)
    store.put_attributions_and_associations(
        [metadata_store_pb2.Attribution(artifact_id=number, context_id=context.id)], []
    )
    [artifact] = store.get_artifacts_by_id([number])
    return artifact


@pytest.fixture
def examples(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> metadata_store_pb2.Artifact:
    """Examples whose files are recorded."""
    add_run(FIRST, {"MnistExampleGen": COMPLETE})
    artifact = add_artifact(store, tmp_path / "examples")
    record_outcome(store, FIRST, "pushed")
    return artifact


def test_the_files_of_a_killed_run_are_recorded_after_each_step(
    store: MetadataStore, add_run: AddRun, tmp_path: Path
) -> None:
    assert check_files(store, FIRST) is None, "before the first step"
    add_run(FIRST, {"MnistExampleGen": COMPLETE})
    for name in ("examples", "statistics"):
        add_artifact(store, tmp_path / name)
        assert check_files(store, FIRST) is None
    for name in ("examples", "statistics"):
        lost = tmp_path / name / "b.gz"
        lost.unlink()
        assert check_files(store, FIRST) == lost
        assert drop_damaged_artifacts(store) == [lost]
        lost.write_text("records")


def test_a_file_that_a_failed_run_lost_stays_recorded(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> None:
    add_run(FIRST, {"MnistExampleGen": COMPLETE})
    add_artifact(store, tmp_path / "examples")
    check_files(store, FIRST)
    lost = tmp_path / "examples" / "b.gz"
    lost.unlink()
    record_outcome(store, FIRST, "failed")
    assert drop_damaged_artifacts(store) == [lost]


def test_artifacts_in_another_workspace_are_not_used(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> None:
    add_run(FIRST, {"MnistExampleGen": COMPLETE})
    old, new = (tmp_path / name / "pipeline_root" for name in ("old", "new"))
    folders = [old / "MnistExampleGen" / "examples" / "1", new / "Trainer" / "model" / "2", tmp_path / "external"]
    for folder in folders:
        add_artifact(store, folder)
    assert drop_moved_artifacts(store, new) == tmp_path / "old"
    assert list(live_artifacts(store)) == folders[1:]
    assert drop_moved_artifacts(store, new) is None


@pytest.mark.parametrize("content", [None, "", "changed"])
def test_a_damaged_artifact_is_not_used_again(
    store: MetadataStore, examples: metadata_store_pb2.Artifact, content: str | None
) -> None:
    file = Path(examples.uri, "Split-test/a.gz")
    file.unlink() if content is None else file.write_text(content)
    assert drop_damaged_artifacts(store) == [file]
    [artifact] = store.get_artifacts_by_id([examples.id])
    assert artifact.state == metadata_store_pb2.Artifact.DELETED
    assert drop_damaged_artifacts(store) == []


def test_a_copied_artifact_is_used_again(store: MetadataStore, examples: metadata_store_pb2.Artifact) -> None:
    os.utime(Path(examples.uri, "b.gz"), (0, 0))
    assert drop_damaged_artifacts(store) == []
    # TFX's cache keys contain all properties of the inputs.
    assert store.get_artifacts_by_id([examples.id]) == [examples]


@pytest.fixture
def database(store: MetadataStore, add_run: AddRun, tmp_path: Path) -> Path:
    """A database with two runs."""
    add_run(FIRST, {"Trainer": COMPLETE, "Pusher": COMPLETE}, version="17")
    add_run(SECOND, {"Trainer": CACHED, "Pusher": FAILED})
    return tmp_path / "metadata.sqlite"


def test_a_write_that_a_crash_has_interrupted_is_undone(database: Path, tmp_path: Path) -> None:
    runs = list_runs(database)
    crashed = tmp_path / "crashed" / "metadata.sqlite"
    crashed.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE Context SET name = name || hex(zeroblob(100000))")
        # What a crash leaves on the disk: changed pages, and the journal with the old ones.
        shutil.copy(database, crashed)
        shutil.copy(f"{database}-journal", f"{crashed}-journal")
    assert crashed.read_bytes() != database.read_bytes()
    assert list_runs(crashed) == runs


def test_a_database_without_a_record_has_no_runs(store: MetadataStore, tmp_path: Path) -> None:
    assert not has_records(tmp_path / "metadata.sqlite")
    assert list_runs(tmp_path / "metadata.sqlite") == []
    (tmp_path / "empty.sqlite").touch()
    assert list_runs(tmp_path / "empty.sqlite") == []


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_told_in_one_message(database: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    content = np.frombuffer(database.read_bytes(), np.uint8).copy()
    # Half of the pages, so that every seed breaks something.
    start = random.integers(100, len(content) // 2)
    content[start : start + len(content) // 2] = random.integers(0, 256, len(content) // 2)
    database.write_bytes(content.tobytes())
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: cannot be read as a metadata database .* move it away"):
        list_runs(database)


def test_no_database_and_a_damaged_one(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "empty" / "metadata.sqlite") == []
    (tmp_path / "metadata.sqlite").write_text("no database")
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: cannot be read as a metadata database .* move it away"):
        list_runs(tmp_path / "metadata.sqlite")
