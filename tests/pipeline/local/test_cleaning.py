import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.local.cleaning import find_leftovers, remove
from pipeline.local.metadata import MetadataError
from pipeline.settings.settings import Settings, load_settings


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this machine."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def settings(store: MetadataStore, add_run: Callable[..., None], temporary: Path, tmp_path: Path) -> Settings:
    """A workspace with the records of a run."""
    add_run("2026-01-02T03:04:05.000006", {"Trainer": metadata_store_pb2.Execution.COMPLETE})
    return load_settings({"workspace": str(tmp_path)}, file=Path("/dev/null"))


def write(folder: Path, size: int = 10) -> Path:
    (folder / "nested").mkdir(parents=True)
    (folder / "nested" / "file").write_bytes(bytes(size))
    return folder


def add_artifact(store: MetadataStore, uri: Path, state: int = metadata_store_pb2.Artifact.LIVE) -> None:
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=str(uri), state=state)])


def clean(settings: Settings, *, old_roots: bool = False) -> list[tuple[Path, int]]:
    found = find_leftovers(settings, old_roots=old_roots)
    remove(found, settings)
    assert not [leftover for leftover in found if leftover.path.exists()]
    assert find_leftovers(settings, old_roots=old_roots) == []
    return [(leftover.path, leftover.num_bytes) for leftover in found]


def test_only_what_the_cache_and_lineage_need_stays(settings: Settings, store: MetadataStore, tmp_path: Path) -> None:
    root = settings.pipeline_root
    model, failed, damaged, unfinished = (write(root / "Trainer" / "model" / str(number)) for number in range(4))
    value = write(root / "Counter" / "count" / "7")
    # Of this workspace before it was renamed.
    renamed = write(root / "Trainer" / "model" / "8")
    add_artifact(store, model)
    add_artifact(store, value / "value")
    add_artifact(store, tmp_path / "old" / "pipeline_root" / "Trainer" / "model" / "8")
    add_artifact(store, damaged, metadata_store_pb2.Artifact.DELETED)
    add_artifact(store, failed, metadata_store_pb2.Artifact.ABANDONED)
    working_files = write(root / "Trainer" / ".system" / "executor_execution", size=20).parent
    (root / "Pusher" / ".system" / "stateful_working_dir").mkdir(parents=True)
    kept = [write(settings.log_directory), write(settings.serving_directory / "17"), model, value, renamed]

    assert clean(settings) == [(working_files, 20), (failed, 10), (damaged, 10), (unfinished, 10)]
    assert all((folder / "nested" / "file").exists() for folder in kept)


def test_artifacts_stay_if_there_are_no_records(settings: Settings) -> None:
    settings.metadata_file.unlink()
    artifact = write(settings.pipeline_root / "Trainer" / "model" / "1")
    assert clean(settings) == []
    settings.metadata_file.write_text("no database")
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: cannot be read"):
        find_leftovers(settings, old_roots=False)
    assert artifact.exists()


def test_interrupted_publishing(settings: Settings) -> None:
    versions = settings.serving_root / "another-model"
    version, leftover = write(versions / "17"), write(versions / ".publishing-18")
    assert clean(settings) == [(leftover, 10)]
    assert version.exists()


def test_temporary_folders_of_killed_runs(settings: Settings, temporary: Path) -> None:
    killed, alive, unknown, other = (write(temporary / name) for name in ("digits-1", "digits-2", "digits-3", "other"))
    for folder in (killed, alive, other):
        (folder / ".lock").touch()
    with FileLock(alive / ".lock"):
        assert clean(settings) == [(killed, 10)]
    assert alive.exists()
    assert unknown.exists()
    assert other.exists()


def test_artifacts_that_were_moved_aside_are_removed_on_request(settings: Settings) -> None:
    old = write(settings.workspace / "pipeline_root-20260102-030405" / "Trainer" / "model" / "1")
    assert clean(settings) == []
    assert old.exists()
    assert clean(settings, old_roots=True) == [(old.parents[2], 10)]
