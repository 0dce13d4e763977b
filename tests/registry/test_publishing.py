import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from registry import publishing
from registry.model_card import MODEL_CARD_FILE
from registry.provenance import (
    PROVENANCE_FILE,
    GateRecord,
    Origin,
    Provenance,
    hash_files,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import (
    PublishingError,
    UnverifiedVersionError,
    WrongRequestError,
    prunable_versions,
    prune,
    publish,
    require_file_system,
    roll_back,
)
from registry.signing import TrustPolicy
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions
from tests.support.saved_models import make_model, weights_of

NOW = 1_800_000_000
ANY = TrustPolicy(allow_unverified=True)
ORIGIN = Origin(
    pipeline_run="run 1", gates=(GateRecord(gate="Evaluator", passed=True, metrics={"accuracy": {"all": 0.99}}),)
)

# Publishes the model of argument 1 into the folder of argument 2, and hangs in the middle of the second file.
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

FIVE_PUSHES = """
    import pathlib, sys
    from registry.provenance import Origin
    from registry.publishing import publish
    for _ in range(5):
        print(publish(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), {}, Origin()).number)
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `publish` sees; tests set it."""
    now = [NOW + 0.5]
    monkeypatch.setattr(publishing.time, "time", lambda: now[0])
    return now


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


def push(serving: Path, weights: str, data: bytes | None = None) -> Version:
    model = serving.parent.parent / "models" / weights
    extra = {} if data is None else {TRAIN_STATISTICS_FILE: data}
    # Without a run, a model is published as often as it is pushed.
    origin = ORIGIN.model_copy(update={"pipeline_run": None})
    return publish(model if model.exists() else make_model(model, weights), serving, extra, origin)


def numbers(serving: Path) -> list[int]:
    return [version.number for version in list_versions(serving)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def provenance_of(version: Version) -> Provenance:
    provenance = read_provenance(version.directory)
    assert provenance
    return provenance


def start(script: str, model: Path, serving: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(script), str(model), str(serving)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_version_holds_the_model_the_extra_files_and_the_provenance(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    (tmp_path / "statistics").write_bytes(b"statistics")
    extra: dict[str, bytes | Path] = {
        TRAIN_STATISTICS_FILE: tmp_path / "statistics",
        "assets.extra/notes.txt": b"notes",
    }
    version = publish(model, serving, extra, ORIGIN)
    assert (version.number, version.directory) == (NOW, serving / str(NOW))
    assert list_versions(serving) == [version]
    assert weights_of(version.directory) == "a"
    assert (version.directory / TRAIN_STATISTICS_FILE).read_bytes() == b"statistics"
    provenance = provenance_of(version)
    assert (provenance.version, provenance.origin, provenance.rolled_back_to) == (NOW, ORIGIN, None)
    assert provenance.model_fingerprint == model_fingerprint(model)
    assert provenance.files == hash_files(version.directory)
    assert set(provenance.files) == {"saved_model.pb", "variables/variables.index", MODEL_CARD_FILE, *extra}
    assert f"# digits, version {NOW}" in (version.directory / MODEL_CARD_FILE).read_text()


def test_a_run_publishes_a_model_once(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first = publish(model, serving, {}, ORIGIN)
    assert publish(model, serving, {}, ORIGIN) == first
    second = push(serving, "b")
    roll_back(serving, first.number, ANY)
    assert publish(model, serving, {}, ORIGIN) == first
    assert len(numbers(serving)) == 3
    other_model = publish(make_model(tmp_path / "other", "c"), serving, {}, ORIGIN)
    assert other_model.number > second.number, "another model of the same run"
    other_run = publish(model, serving, {}, ORIGIN.model_copy(update={"pipeline_run": "run 2"}))
    assert other_run.number > other_model.number, "the same model of another run"


def test_a_model_is_published_once_by_the_runs_that_reuse_it(serving: Path, tmp_path: Path) -> None:
    """As after a run that was killed before its push was recorded."""
    model, other = make_model(tmp_path / "model", "a"), make_model(tmp_path / "other", "b")

    def run(number: int, pushed: Path = model) -> Version:
        return publish(pushed, serving, {}, ORIGIN.model_copy(update={"pipeline_run": f"run {number}"}))

    run(1, other)
    first = run(2)
    assert run(3) == first
    rolled_back = roll_back(serving, None, ANY)
    assert weights_of(rolled_back.directory) == "b"
    assert run(4) == first, "does not undo the rollback"
    assert numbers(serving)[-1] == rolled_back.number
    second = run(5, other)
    assert second.number > rolled_back.number
    returned = run(6)
    assert returned.number > second.number, "another model has been pushed since"
    (returned.directory / PROVENANCE_FILE).write_text("damaged")
    assert run(7).number > returned.number


@pytest.mark.parametrize("pipeline_run", ["run 1", None])
def test_a_push_that_cannot_be_identified_is_a_new_one(pipeline_run: str | None, serving: Path, tmp_path: Path) -> None:
    model, origin = make_model(tmp_path / "model", "a"), ORIGIN.model_copy(update={"pipeline_run": pipeline_run})
    first = publish(model, serving, {}, origin)
    if pipeline_run:
        (first.directory / PROVENANCE_FILE).write_text("damaged")
    assert publish(model, serving, {}, origin).number > first.number


def test_version_numbers_always_increase(serving: Path, clock: list[float]) -> None:
    assert [push(serving, "a").number, push(serving, "b").number] == [NOW, NOW + 1]
    clock[0] -= 86_400
    assert push(serving, "c").number == NOW + 2
    clock[0] += 2 * 86_400
    assert push(serving, "d").number == NOW + 86_400
    for name in (str(NOW + 86_407), "20261122110434822193"):
        (serving / name).mkdir()
    assert push(serving, "e").number == NOW + 86_408, "a folder without a model has taken the number before"


def test_only_a_saved_model_is_published(serving: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match=f"{tmp_path}: expected a SavedModel, but there is no saved_model.pb"):
        publish(tmp_path, serving, {}, ORIGIN)
    assert list_versions(serving) == []


def test_copies_are_readable_whatever_the_permissions_of_the_original(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    (model / "saved_model.pb").chmod(0o600)
    os.utime(model / "saved_model.pb", (0, 0))
    version = publish(model, serving, {"assets.extra/notes.txt": b"notes"}, ORIGIN)
    copy, notes = ((version.directory / name).stat() for name in ("saved_model.pb", "assets.extra/notes.txt"))
    assert copy.st_mode == notes.st_mode
    assert copy.st_mtime > 0


def test_everything_is_synced_before_the_version_appears(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("Only Linux tells the paths of open files.")
    synced, fsync = [], os.fsync
    hidden, inodes = serving / f".publishing-{NOW}", []

    def record(descriptor: int) -> None:
        if hidden.exists():
            inodes.append(hidden.stat().st_ino)
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (serving / str(NOW)).exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    version = publish(make_model(tmp_path / "model", "a"), serving, {}, ORIGIN)
    assert {version.directory.stat().st_ino} == set(inodes), "renamed, not copied"
    paths = {hidden, *(hidden / path.relative_to(version.directory) for path in version.directory.rglob("*"))}
    assert sorted(synced[:-1]) == sorted((str(path), False) for path in paths)
    assert synced[-1] == (str(serving), True)


def test_a_killed_push_leaves_no_version_and_the_next_push_cleans_up(serving: Path, tmp_path: Path) -> None:
    before = push(serving, "a")
    process = start(STUCK_PUSH, make_model(tmp_path / "model", "b"), serving)
    assert process.stdout
    assert process.stdout.readline() == "copying\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(name.startswith(".publishing-") for name in names(serving))
    assert list_versions(serving) == [before]
    for name in (".removing-3", ".snapshot", "notes"):
        (serving / name).mkdir()
    (serving / ".publishing-5").write_text("a plain file")
    after = push(serving, "b")
    assert weights_of(after.directory) == "b"
    assert names(serving) == [".lock", ".snapshot", str(before.number), str(after.number), "notes"]


def test_after_the_highest_version_number_a_push_names_the_folder(serving: Path, tmp_path: Path) -> None:
    (serving / "9223372036854775807").mkdir(parents=True)
    with pytest.raises(PublishingError, match=r"/9223372036854775807: no version can be newer"):
        publish(make_model(tmp_path / "model", "a"), serving, {}, ORIGIN)
    assert names(serving) == [".lock", "9223372036854775807"]


def fail_with(error: BaseException) -> Callable[..., None]:
    def copy(source: Path, destination: Path) -> None:
        destination.write_bytes(b"half a fi")
        raise error

    return copy


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the file"),
            PublishingError,
            "the file: No space left on device; servers see complete versions only. Check the path",
        ),
        (
            # As `shutil.copyfile` raises it.
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the source", None, "the copy"),
            PublishingError,
            "^/.*/serving/digits: No space left on device; servers see complete versions only. Check the path",
        ),
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
    ],
)
def test_an_interrupted_push_leaves_nothing(
    error: BaseException, raised: Any, message: str, serving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = push(serving, "a")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail_with(error))
        with pytest.raises(raised, match=message):
            push(serving, "b")
    assert names(serving) == [".lock", str(before.number)]
    assert weights_of(push(serving, "b").directory) == "b"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_serving_directory_is_named(serving: Path) -> None:
    serving.mkdir(parents=True)
    serving.chmod(0o555)
    with pytest.raises(PublishingError, match=f"{serving}.*: Permission denied; "):
        push(serving, "a")
    assert list(serving.iterdir()) == []


def test_a_serving_directory_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    serving = tmp_path / "file" / "digits"
    with pytest.raises(PublishingError, match=f"{serving}: Not a directory"):
        publish(make_model(tmp_path / "model", "a"), serving, {}, ORIGIN)


def test_a_writer_waits_only_so_long_for_another(serving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_LOCK_TIMEOUT_SECONDS", 0.1)
    serving.mkdir(parents=True)
    with (
        FileLock(serving / ".lock"),
        pytest.raises(PublishingError, match=f"{serving}: another process has been publishing or pruning"),
    ):
        push(serving, "a")


def test_concurrent_threads_publish_distinct_numbers(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    with ThreadPoolExecutor(8) as threads:
        pushed = list(threads.map(lambda _: publish(model, serving, {}, Origin()).number, range(16)))
    assert sorted(pushed) == numbers(serving) == list(range(NOW, NOW + 16))


def test_concurrent_processes_publish_distinct_increasing_numbers(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    processes = [start(FIVE_PUSHES, model, serving) for _ in range(3)]
    pushed = [[int(line) for line in process.communicate()[0].split()] for process in processes]
    assert all(each == sorted(each) for each in pushed)
    assert sorted(number for each in pushed for number in each) == numbers(serving)
    assert len(numbers(serving)) == 15


@pytest.mark.parametrize("url", ["gs://bucket/serving", "s3://bucket", "file:///serving"])
def test_an_object_store_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PublishingError, match=f"{url}: expected a folder of this machine or a mounted volume, not a U"):
        require_file_system(url)
    # `Path` turns gs:// into gs:/.
    with pytest.raises(PublishingError, match="not a URL"):
        publish(make_model(tmp_path / "model", "a"), Path(url), {}, ORIGIN)
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("path", ["serving", "/serving/digits", "./a:b", "10:/serving"])
def test_a_path_is_accepted(path: str) -> None:
    require_file_system(path)


def test_a_rollback_goes_to_the_newest_other_model_and_back(serving: Path) -> None:
    first, second = push(serving, "a"), push(serving, "b")
    push(serving, "b")
    rolled_back = roll_back(serving, None, ANY)
    assert weights_of(rolled_back.directory) == "a"
    assert rolled_back.number == max(numbers(serving))
    provenance, original = provenance_of(rolled_back), provenance_of(first)
    assert (provenance.version, provenance.rolled_back_to) == (rolled_back.number, first.number)
    assert (provenance.origin, provenance.model_fingerprint) == (original.origin, original.model_fingerprint)
    again = roll_back(serving, None, ANY)
    assert weights_of(again.directory) == "b"
    assert provenance_of(again).rolled_back_to == second.number + 1
    assert len(numbers(serving)) == 5


def test_a_rollback_to_a_given_version_includes_its_extra_files(serving: Path) -> None:
    first = push(serving, "a", b"statistics of a")
    for weights in ("b", "c"):
        push(serving, weights)
    rolled_back = roll_back(serving, first.number, ANY)
    assert weights_of(rolled_back.directory) == "a"
    assert (rolled_back.directory / TRAIN_STATISTICS_FILE).read_bytes() == b"statistics of a"
    copied, original = ({**provenance_of(version).files} for version in (rolled_back, first))
    assert copied.pop(MODEL_CARD_FILE) != original.pop(MODEL_CARD_FILE)
    assert copied == original
    card = (rolled_back.directory / MODEL_CARD_FILE).read_text()
    assert f"# digits, version {rolled_back.number}" in card
    assert f"- Copy of version {first.number}, after a rollback" in card


def test_a_rollback_accepts_versions_without_provenance(serving: Path) -> None:
    make_model(serving / "5", "a")
    push(serving, "b")
    rolled_back = roll_back(serving, None, ANY)
    assert weights_of(rolled_back.directory) == "a"
    assert (provenance_of(rolled_back).rolled_back_to, provenance_of(rolled_back).origin) == (5, Origin())


@pytest.mark.parametrize("file", ["variables/variables.index", PROVENANCE_FILE])
def test_a_rollback_refuses_a_damaged_version(serving: Path, file: str) -> None:
    damaged = push(serving, "a")
    push(serving, "b")
    (damaged.directory / file).write_bytes(b"bits that have rotted")
    before = numbers(serving)
    for number in (damaged.number, None):
        with pytest.raises(UnverifiedVersionError, match=f"{damaged.directory / file}: "):
            roll_back(serving, number, TrustPolicy())
    assert numbers(serving) == before


def test_an_impossible_rollback_lists_the_choices(serving: Path) -> None:
    with pytest.raises(PublishingError, match=f"{serving}: no version of digits has been pushed there yet"):
        roll_back(serving, None, ANY)
    assert not serving.exists()
    first, second = push(serving, "a"), push(serving, "a")
    with pytest.raises(PublishingError, match=f"{serving}: nothing to roll back to; every version holds the same"):
        roll_back(serving, None, ANY)
    with pytest.raises(WrongRequestError, match=f"17: no such version of digits; there are {NOW + 1}, {first.number}."):
        roll_back(serving, 17, ANY)
    with pytest.raises(WrongRequestError, match=f"{second.number}: this is already the newest version of digits"):
        roll_back(serving, second.number, ANY)
    assert numbers(serving) == [first.number, second.number]


@pytest.mark.parametrize(
    ("models", "keep", "removed"),
    [
        ("abc", 1, [0]),
        ("abc", 2, [0]),
        ("abc", 3, []),
        ("abc", 9, []),
        ("abcdef", 3, [0, 1, 2]),
        # The baseline is far back.
        ("abbbb", 1, [1, 2, 3]),
        ("aabbb", 2, [0, 2]),
        ("aaaa", 1, [0, 1, 2]),
        ("a", 1, []),
    ],
)
def test_prune_keeps_the_newest_and_the_baseline(serving: Path, models: str, keep: int, removed: list[int]) -> None:
    versions = [push(serving, weights) for weights in models]
    expected = [versions[index] for index in removed]
    assert prunable_versions(serving, keep, ANY) == expected
    assert list_versions(serving) == versions
    assert prune(serving, keep, ANY) == expected
    assert list_versions(serving) == [version for version in versions if version not in expected]
    assert prune(serving, keep, ANY) == []
    if len(set(models)) > 1:
        assert weights_of(roll_back(serving, None, ANY).directory) == models.replace(models[-1], "")[-1]


@pytest.mark.parametrize(
    ("data", "removed"),
    [
        pytest.param("xyyyy", [1, 2], id="baseline of the current data"),
        pytest.param("xyzzz", [0, 2], id="newest other data only"),
        pytest.param("xyzzw", [0, 1, 2], id="among the versions that are kept anyway"),
        pytest.param("xxxxx", [0, 1, 2], id="no other data"),
        pytest.param("xyy--", [1], id="the newest versions have no statistics"),
        pytest.param("-----", [0, 1, 2], id="no version has statistics"),
    ],
)
def test_prune_keeps_the_baselines_of_the_data(serving: Path, data: str, removed: list[int]) -> None:
    pushed = zip("abcde", data, strict=True)
    versions = [push(serving, weights, None if of == "-" else of.encode()) for weights, of in pushed]
    assert prune(serving, 1, ANY) == [versions[index] for index in removed]


def test_a_version_disappears_before_its_files_do(serving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for weights in "abc":
        push(serving, weights)
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil, "rmtree", lambda path: seen.append((numbers(serving), path.name, "variables" in names(path)))
        )
        prune(serving, 1, ANY)
    assert seen == [([NOW + 1, NOW + 2], f".removing-{NOW}", True)]


def test_an_impossible_prune_is_explained(serving: Path) -> None:
    with pytest.raises(PublishingError, match="no version of digits has been pushed there yet"):
        prune(serving, 1, ANY)
    assert not serving.exists()
    push(serving, "a")
    for keep in (0, -1):
        with pytest.raises(WrongRequestError, match=f"keep: expected 1 or more, not {keep}"):
            prune(serving, keep, ANY)
    assert numbers(serving) == [NOW]
