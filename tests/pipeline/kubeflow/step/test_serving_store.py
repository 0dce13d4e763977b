import importlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.kubeflow.step.serving_store import mirrored_versions
from registry.versions import list_versions

STORE = "memory://bucket/serving"


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryFileSystem]:
    """An empty object store."""
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    yield file_system
    file_system.store.clear()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


def make_version(directory: Path, number: int, weights: str) -> None:
    (directory / str(number) / "variables").mkdir(parents=True)
    (directory / str(number) / "saved_model.pb").write_text("graph")
    (directory / str(number) / "variables" / "variables.index").write_text(weights)


def push(directory: Path, **new_versions: str) -> None:
    """Runs a step that adds versions."""
    with mirrored_versions(STORE, {"serving_directory": str(directory)}) as uris:
        assert uris == {str(directory): f"{STORE}/digits"}
        for number, weights in new_versions.items():
            make_version(directory, int(number.removeprefix("v")), weights)


def download(directory: Path, store: str = STORE) -> list[str]:
    """Runs another step; returns the files that it finds."""
    with mirrored_versions(store, {"serving_directory": str(directory)}):
        return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def contents(store: MemoryFileSystem) -> dict[str, bytes]:
    return {path.removeprefix("/bucket/serving/"): store.cat(path) for path in store.find("/bucket")}


def test_the_next_pod_downloads_what_pusher_uploads(directory: Path, tmp_path: Path) -> None:
    assert download(directory) == []
    push(directory, v7="a", v8="b")
    elsewhere = tmp_path / "elsewhere" / "digits"
    assert len(download(elsewhere)) == 4
    assert [version.number for version in list_versions(elsewhere)] == [7, 8]
    assert (elsewhere / "8" / "variables" / "variables.index").read_text() == "b"


def test_only_complete_versions_of_this_model_are_downloaded(store: MemoryFileSystem, directory: Path) -> None:
    for path in ("digits/7/saved_model.pb", "digits/8/variables/variables.index", "digits/latest/saved_model.pb"):
        store.pipe(f"/bucket/serving/{path}", b"content")
    store.pipe("/bucket/serving/other/9/saved_model.pb", b"content")
    store.pipe("/bucket/serving/digits/notes.txt", b"content")
    assert download(directory) == ["7/saved_model.pb"]


def test_saved_model_is_uploaded_last(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[str] = []
    put_file = MemoryFileSystem.put_file

    def record(self: MemoryFileSystem, source: str, target: str, *arguments: object, **options: object) -> None:
        uploaded.append(target)
        put_file(self, source, target, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", record)
    push(directory, v7="a")
    assert uploaded[-1].endswith("digits/7/saved_model.pb")
    assert len(uploaded) == 2


def test_stored_versions_are_not_changed(store: MemoryFileSystem, directory: Path) -> None:
    push(directory, v7="a")
    store.pipe("/bucket/serving/digits/7/variables/variables.index", b"stored")
    push(directory, v8="b")
    assert contents(store)["digits/7/variables/variables.index"] == b"stored"
    assert contents(store)["digits/8/variables/variables.index"] == b"b"


def test_a_failed_step_uploads_nothing(store: MemoryFileSystem, directory: Path) -> None:
    make_version(directory, 7, "a")
    with pytest.raises(FileExistsError):
        push(directory, v8="b", v7="again")
    assert contents(store) == {}


def test_part_of_a_version_is_not_overwritten(store: MemoryFileSystem, directory: Path) -> None:
    store.pipe("/bucket/serving/digits/7/variables/variables.index", b"of another upload")
    message = r"^memory://bucket/serving/digits/7: another upload left part of a version there; nothing was overwritten"
    with pytest.raises(KubeflowStepError, match=message):
        push(directory, v7="a")
    assert contents(store) == {"digits/7/variables/variables.index": b"of another upload"}


def test_unreachable_store_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "find", refuse)
    message = r"^memory://bucket/serving/digits: the serving store cannot be used \(PermissionError: Access Denied\); "
    with pytest.raises(KubeflowStepError, match=message):
        download(directory)


def test_image_without_the_driver_of_the_store(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package `fsspec` hides this module behind a dictionary of the same name.
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry.known_implementations, "far", {"class": "absent_driver.Far", "err": "no driver"})
    message = r"^far://b/digits: this image has no driver for it \(no driver\); build the image with"
    with pytest.raises(KubeflowStepError, match=message):
        download(directory, "far://b")


def test_step_without_a_serving_folder() -> None:
    with pytest.raises(KubeflowStepError, match=r"^--serving_store: this step has no serving folder; compile"):
        mirrored_versions(STORE, {}).__enter__()
