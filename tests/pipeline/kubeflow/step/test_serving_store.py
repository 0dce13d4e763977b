import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.kubeflow.step.serving_store import fetch_versions, serving_directory, upload_versions
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


def contents(store: MemoryFileSystem) -> dict[str, bytes]:
    return {path.removeprefix("/bucket/serving/"): store.cat(path) for path in store.find("/bucket")}


def test_what_one_pod_uploads_the_next_one_fetches(directory: Path, tmp_path: Path) -> None:
    make_version(directory, 7, "a")
    make_version(directory, 8, "b")
    upload_versions(STORE, directory)
    elsewhere = tmp_path / "elsewhere" / "digits"
    fetch_versions(STORE, elsewhere)
    assert [version.number for version in list_versions(elsewhere)] == [7, 8]
    files = {path.relative_to(directory): path.read_text() for path in directory.rglob("*") if path.is_file()}
    assert {path.relative_to(elsewhere): path.read_text() for path in elsewhere.rglob("*") if path.is_file()} == files


def test_an_empty_store_has_no_versions(directory: Path) -> None:
    fetch_versions(STORE, directory)
    assert list_versions(directory) == []


def test_only_complete_versions_of_this_model_are_fetched(store: MemoryFileSystem, directory: Path) -> None:
    for path in ("digits/7/saved_model.pb", "digits/8/variables/variables.index", "digits/latest/saved_model.pb"):
        store.pipe(f"/bucket/serving/{path}", b"content")
    store.pipe("/bucket/serving/other/9/saved_model.pb", b"content")
    store.pipe("/bucket/serving/digits/notes.txt", b"content")
    fetch_versions(STORE, directory)
    assert [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()] == [
        "7/saved_model.pb"
    ]


def test_the_file_that_makes_a_version_comes_last(
    store: MemoryFileSystem, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[str] = []
    put_file = MemoryFileSystem.put_file

    def record(self: MemoryFileSystem, source: str, target: str, *arguments: object, **options: object) -> None:
        uploaded.append(target)
        put_file(self, source, target, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", record)
    make_version(directory, 7, "a")
    upload_versions(STORE, directory)
    assert uploaded[-1].endswith("digits/7/saved_model.pb")
    assert len(uploaded) == 2


def test_what_is_there_is_not_touched(store: MemoryFileSystem, directory: Path) -> None:
    make_version(directory, 7, "a")
    upload_versions(STORE, directory)
    (directory / "7" / "variables" / "variables.index").write_text("changed")
    make_version(directory, 8, "b")
    upload_versions(STORE, directory)
    assert contents(store)["digits/7/variables/variables.index"] == b"a"
    assert contents(store)["digits/8/variables/variables.index"] == b"b"


def test_a_part_of_a_version_is_not_written_over(store: MemoryFileSystem, directory: Path) -> None:
    store.pipe("/bucket/serving/digits/7/variables/variables.index", b"of another upload")
    make_version(directory, 7, "a")
    with pytest.raises(
        KubeflowStepError,
        match=r"^memory://bucket/serving/digits/7: another upload has left a part of a version there; ",
    ):
        upload_versions(STORE, directory)
    assert contents(store) == {"digits/7/variables/variables.index": b"of another upload"}


def test_a_store_that_cannot_be_reached_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "find", refuse)
    with pytest.raises(
        KubeflowStepError,
        match=r"^memory://bucket/serving: the serving store cannot be used \(PermissionError: Access Denied\); check",
    ):
        fetch_versions(STORE, directory)


def test_an_image_without_the_driver_of_the_store_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `fsspec.registry` is a dictionary in the package of this name.
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry.known_implementations, "far", {"class": "absent_driver.Far", "err": "no driver"})
    with pytest.raises(
        KubeflowStepError, match=r"^far://b: this image has no driver for it \(no driver\); build it with"
    ):
        fetch_versions("far://b", directory)


def test_the_folder_is_that_of_the_step() -> None:
    assert serving_directory({"serving_directory": "/digits/serving/digits"}) == Path("/digits/serving/digits")
    for name in ("base_directory", "baseDirectory"):
        destination = json.dumps({"filesystem": {name: "/digits/serving/digits"}})
        assert serving_directory({"push_destination": destination}) == Path("/digits/serving/digits")
    with pytest.raises(KubeflowStepError, match=r"^--serving_store: this step has no serving folder; compile"):
        serving_directory({})
