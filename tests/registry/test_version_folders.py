import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock

from registry import version_folders
from registry.version_folders import (
    LOCK_FILE,
    PublishingError,
    new_folder,
    remove_folder,
    require_file_system,
    sole_writer,
    write_files,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("url", ["gs://bucket/serving", "s3://bucket", "file:///serving", str(Path("gs://bucket/x"))])
def test_urls_are_refused(url: str) -> None:
    with pytest.raises(PublishingError, match=f"{url}: expected a folder of this machine or a mounted volume"):
        require_file_system(url)


def test_a_url_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PublishingError, match="not a URL"), sole_writer(Path("gs://bucket/serving")):
        pytest.fail("It must not come to this.")
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["serving", "/serving/digits", "./a:b", "10:/serving"])
def test_paths_are_not_urls(path: str) -> None:
    require_file_system(path)


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with new_folder(tmp_path / "17") as folder:
        write_files(folder, {"variables/index": b"weights"})
        assert names(tmp_path) == [".publishing-17"]
    assert names(tmp_path) == ["17"]
    assert (tmp_path / "17" / "variables" / "index").read_bytes() == b"weights"


def test_everything_is_on_the_disk_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "17").exists()))
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("The paths of open files are told by Linux alone.")
    monkeypatch.setattr(os, "fsync", record)
    with new_folder(tmp_path / "17") as folder:
        write_files(folder, {"saved_model.pb": b"graph", "variables/index": b"weights"})
    hidden = tmp_path / ".publishing-17"
    paths = (hidden, hidden / "saved_model.pb", hidden / "variables", hidden / "variables" / "index")
    assert sorted(synced[:-1]) == sorted((str(path), False) for path in paths)
    assert synced[-1] == (str(tmp_path), True)


def test_nothing_remains_of_a_folder_that_cannot_be_filled(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "17") as folder:
        write_files(folder, {"saved_model.pb": b"graph"})
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_disappears_before_its_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    write_files(tmp_path / "17", {"saved_model.pb": b"graph"})
    monkeypatch.setattr(version_folders.shutil, "rmtree", lambda path: seen.append((names(tmp_path), names(path))))
    remove_folder(tmp_path / "17")
    assert seen == [([".removing-17"], ["saved_model.pb"])]


def test_a_removed_folder_is_gone(tmp_path: Path) -> None:
    write_files(tmp_path / "17", {"variables/index": b"weights"})
    remove_folder(tmp_path / "17")
    assert names(tmp_path) == []


def test_a_writer_removes_what_killed_ones_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".publishing-18", ".removing-3", "17", ".snapshot", "notes"):
        write_files(tmp_path / name, {"saved_model.pb": b"graph"})
    with sole_writer(tmp_path):
        pass
    assert names(tmp_path) == [LOCK_FILE, ".snapshot", "17", "notes"]


def test_a_writer_waits_for_another_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_folders, "LOCK_TIMEOUT_SECONDS", 0.1)
    with (
        FileLock(tmp_path / LOCK_FILE),
        pytest.raises(PublishingError, match=f"{tmp_path}: another process has been publishing or pruning"),
        sole_writer(tmp_path),
    ):
        pytest.fail("It must not come to this.")


def test_what_the_system_refuses_is_explained(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "17"))
    message = f"{tmp_path / '17'}: No space left on device; .* Check the path"
    with pytest.raises(PublishingError, match=message), sole_writer(tmp_path):
        raise full


def test_a_serving_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    serving = tmp_path / "file" / "digits"
    with pytest.raises(PublishingError, match=f"{serving}: Not a directory"), sole_writer(serving):
        pytest.fail("It must not come to this.")


def test_copies_are_new_files_that_anybody_may_read_whom_the_process_lets(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    os.utime(source, (0, 0))
    source.chmod(0o600)
    write_files(tmp_path, {"copy/index": source, "copy/text": b"text"})
    copy, text = ((tmp_path / "copy" / name).stat() for name in ("index", "text"))
    assert copy.st_mode == text.st_mode
    assert copy.st_mtime > 0
