"""Pushes that are killed, that the system refuses, and that happen at once."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import publishing, version_folders
from registry.provenance import Origin
from registry.publishing import PublishingError, publish
from registry.versions import Version, list_versions

NOW = 1_800_000_000

# Publishes the model of argument 1 into the folder of argument 2, and stops for good in the midst of its files.
STUCK_PUSH = """
    import pathlib, shutil, sys, time
    from registry.provenance import Origin
    from registry.publishing import publish
    copyfile, copied = shutil.copyfile, []
    def copy(source, destination):
        if copied:
            pathlib.Path(destination).write_bytes(b"half a fi")
            print("copying", flush=True)
            time.sleep(600)
        copied.append(copyfile(source, destination))
    shutil.copyfile = copy
    publish(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), {}, Origin())
"""

PUSHES = """
    import pathlib, sys
    from registry.provenance import Origin
    from registry.publishing import publish
    for _ in range(5):
        print(publish(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), {}, Origin()).number)
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pushes of this process happen in one second."""
    monkeypatch.setattr(publishing.time, "time", lambda: NOW)


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


def make_model(directory: Path, weights: str) -> Path:
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "variables.index").write_text(weights)
    return directory


def push(serving: Path, weights: str) -> Version:
    model = serving.parent.parent / "models" / weights
    return publish(model if model.exists() else make_model(model, weights), serving, {}, Origin())


def weights_of(version: Version) -> str:
    return (version.directory / "variables" / "variables.index").read_text()


def numbers(serving: Path) -> list[int]:
    return [version.number for version in list_versions(serving)]


def start(script: str, model: Path, serving: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(script), str(model), str(serving)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_push_leaves_no_version_and_the_next_one_cleans_up(serving: Path, tmp_path: Path) -> None:
    before = push(serving, "a")
    process = start(STUCK_PUSH, make_model(tmp_path / "model", "b"), serving)
    assert process.stdout
    assert process.stdout.readline() == "copying\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = sorted(path.name for path in serving.iterdir())
    assert [name for name in left if not name.startswith(".")] == [str(before.number)]
    assert any(name.startswith(".publishing-") for name in left)
    assert list_versions(serving) == [before]
    after = push(serving, "b")
    assert numbers(serving) == [before.number, after.number]
    assert weights_of(after) == "b"
    assert not list(serving.glob(".publishing-*"))


def test_a_full_disk_leaves_nothing(serving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = push(serving, "a")

    def copy(source: Path, destination: Path) -> None:
        destination.write_bytes(b"half a fi")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(destination))

    with monkeypatch.context() as patch:
        patch.setattr(version_folders.shutil, "copyfile", copy)
        with pytest.raises(PublishingError, match="No space left on device; a server sees the complete versions only"):
            push(serving, "b")
    assert sorted(path.name for path in serving.iterdir()) == [".lock", str(before.number)]
    assert weights_of(push(serving, "b")) == "b"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_must_not_be_written_is_named(serving: Path) -> None:
    serving.mkdir(parents=True)
    serving.chmod(0o555)
    with pytest.raises(PublishingError, match=f"{serving}.*: Permission denied; "):
        push(serving, "a")
    assert list(serving.iterdir()) == []


def test_threads_that_push_at_once_get_numbers_of_their_own(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    with ThreadPoolExecutor(8) as threads:
        pushed = list(threads.map(lambda _: publish(model, serving, {}, Origin()).number, range(16)))
    assert sorted(pushed) == numbers(serving) == list(range(NOW, NOW + 16))


def test_processes_that_push_at_once_get_rising_numbers_of_their_own(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    processes = [start(PUSHES, model, serving) for _ in range(3)]
    pushed = [[int(line) for line in process.communicate()[0].split()] for process in processes]
    assert all(each == sorted(each) for each in pushed)
    assert sorted(number for each in pushed for number in each) == numbers(serving)
    assert len(numbers(serving)) == 15
