from pathlib import Path

import pytest

from registry import publishing, version_folders
from registry.provenance import (
    PROVENANCE_FILE,
    DamagedVersionError,
    GateRecord,
    Origin,
    Provenance,
    hash_files,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import PublishingError, WrongRequestError, prunable_versions, prune, publish, roll_back
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions

NOW = 1_800_000_000
ORIGIN = Origin(
    pipeline_run="run 1", gates=(GateRecord(gate="Evaluator", passed=True, metrics={"accuracy": {"all": 0.99}}),)
)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `publish` sees; tests set it."""
    now = [NOW + 0.5]
    monkeypatch.setattr(publishing.time, "time", lambda: now[0])
    return now


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


def make_model(directory: Path, weights: str) -> Path:
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "variables.index").write_text(weights)
    return directory


def push(serving: Path, weights: str, data: bytes | None = None) -> Version:
    model = serving.parent.parent / "models" / weights
    extra = {} if data is None else {TRAIN_STATISTICS_FILE: data}
    origin = ORIGIN.model_copy(update={"pipeline_run": f"run after {max(numbers(serving), default=0)}"})
    return publish(model if model.exists() else make_model(model, weights), serving, extra, origin)


def weights_of(version: Version) -> str:
    return (version.directory / "variables" / "variables.index").read_text()


def numbers(serving: Path) -> list[int]:
    return [version.number for version in list_versions(serving)]


def provenance_of(version: Version) -> Provenance:
    provenance = read_provenance(version.directory)
    assert provenance
    return provenance


def test_a_run_pushes_a_model_once_whatever_was_done_since(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first = publish(model, serving, {}, ORIGIN)
    assert publish(model, serving, {}, ORIGIN) == first
    second = push(serving, "b")
    roll_back(serving, first.number)
    assert publish(model, serving, {}, ORIGIN) == first
    assert len(numbers(serving)) == 3
    other_model = publish(make_model(tmp_path / "other", "c"), serving, {}, ORIGIN)
    assert other_model.number > second.number, "another model of the same run is no repetition"
    other_run = publish(model, serving, {}, ORIGIN.model_copy(update={"pipeline_run": "run 2"}))
    assert other_run.number > other_model.number, "nor is the same model of another run"


@pytest.mark.parametrize("pipeline_run", ["run 1", None])
def test_what_nobody_can_tell_to_be_the_same_push_is_pushed(
    pipeline_run: str | None, serving: Path, tmp_path: Path
) -> None:
    model, origin = make_model(tmp_path / "model", "a"), ORIGIN.model_copy(update={"pipeline_run": pipeline_run})
    first = publish(model, serving, {}, origin)
    if pipeline_run:
        (first.directory / PROVENANCE_FILE).write_text("damaged")
    assert publish(model, serving, {}, origin).number > first.number


def test_a_version_holds_the_model_and_says_what_it_is(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    (tmp_path / "statistics").write_bytes(b"statistics")
    extra: dict[str, bytes | Path] = {
        TRAIN_STATISTICS_FILE: tmp_path / "statistics",
        "assets.extra/notes.txt": b"notes",
    }
    version = publish(model, serving, extra, ORIGIN)
    assert (version.number, version.directory) == (NOW, serving / str(NOW))
    assert list_versions(serving) == [version]
    assert weights_of(version) == "a"
    assert (version.directory / TRAIN_STATISTICS_FILE).read_bytes() == b"statistics"
    provenance = provenance_of(version)
    assert provenance.version == NOW
    assert provenance.origin == ORIGIN
    assert provenance.rolled_back_to is None
    assert provenance.model_fingerprint == model_fingerprint(model)
    assert provenance.files == hash_files(version.directory)
    assert set(provenance.files) == {"saved_model.pb", "variables/variables.index", *extra}


def test_two_pushes_in_one_second_are_two_versions(serving: Path) -> None:
    assert [push(serving, "a").number, push(serving, "b").number] == [NOW, NOW + 1]


def test_a_clock_that_went_back_does_not_make_a_version_old(serving: Path, clock: list[float]) -> None:
    push(serving, "a")
    clock[0] -= 86_400
    assert push(serving, "b").number == NOW + 1
    clock[0] += 2 * 86_400
    assert push(serving, "c").number == NOW + 86_400


def test_numbers_of_folders_without_a_model_are_not_taken_again(serving: Path) -> None:
    (serving / str(NOW + 7)).mkdir(parents=True)
    (serving / "20261122110434822193").mkdir()
    assert push(serving, "a").number == NOW + 8


def test_what_is_no_model_is_refused(serving: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match=f"{tmp_path}: expected a SavedModel, but there is no saved_model.pb"):
        publish(tmp_path, serving, {}, ORIGIN)
    assert list_versions(serving) == []


def test_a_rollback_goes_to_the_newest_other_model_and_back(serving: Path) -> None:
    first, second = push(serving, "a"), push(serving, "b")
    push(serving, "b")
    rolled_back = roll_back(serving, None)
    assert weights_of(rolled_back) == "a"
    assert rolled_back.number == max(numbers(serving))
    provenance = provenance_of(rolled_back)
    assert provenance.rolled_back_to == first.number
    assert provenance.version == rolled_back.number
    assert provenance.origin == provenance_of(first).origin
    assert provenance.model_fingerprint == provenance_of(first).model_fingerprint
    again = roll_back(serving, None)
    assert weights_of(again) == "b"
    assert provenance_of(again).rolled_back_to == second.number + 1
    assert len(numbers(serving)) == 5


def test_a_rollback_to_a_version_brings_what_was_shipped_with_it(serving: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first = publish(model, serving, {TRAIN_STATISTICS_FILE: b"statistics of a"}, ORIGIN)
    for weights in ("b", "c"):
        push(serving, weights)
    rolled_back = roll_back(serving, first.number)
    assert weights_of(rolled_back) == "a"
    assert (rolled_back.directory / TRAIN_STATISTICS_FILE).read_bytes() == b"statistics of a"
    assert provenance_of(rolled_back).files == provenance_of(first).files


def test_a_rollback_takes_versions_without_provenance(serving: Path) -> None:
    make_model(serving / "5", "a")
    push(serving, "b")
    rolled_back = roll_back(serving, None)
    assert weights_of(rolled_back) == "a"
    assert provenance_of(rolled_back).rolled_back_to == 5
    assert provenance_of(rolled_back).origin == Origin()


@pytest.mark.parametrize("file", ["variables/variables.index", PROVENANCE_FILE])
def test_a_rollback_refuses_a_damaged_version(serving: Path, file: str) -> None:
    damaged = push(serving, "a")
    push(serving, "b")
    (damaged.directory / file).write_bytes(b"bits that have rotted")
    before = numbers(serving)
    with pytest.raises(DamagedVersionError, match=f"{damaged.directory / file}: "):
        roll_back(serving, damaged.number)
    assert numbers(serving) == before


def test_a_rollback_that_cannot_be_says_what_can(serving: Path) -> None:
    with pytest.raises(PublishingError, match=f"{serving}: no version of digits has been pushed there yet"):
        roll_back(serving, None)
    assert not serving.exists()
    first, second = push(serving, "a"), push(serving, "a")
    with pytest.raises(PublishingError, match=f"{serving}: nothing to roll back to; every version holds the same"):
        roll_back(serving, None)
    with pytest.raises(WrongRequestError, match=f"17: no such version of digits; there are {first.number}, {NOW + 1}."):
        roll_back(serving, 17)
    with pytest.raises(WrongRequestError, match=f"{second.number}: this is the current version of digits already"):
        roll_back(serving, second.number)
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
    assert prunable_versions(serving, keep) == expected
    assert list_versions(serving) == versions
    assert prune(serving, keep) == expected
    assert list_versions(serving) == [version for version in versions if version not in expected]
    assert prune(serving, keep) == []
    if len(set(models)) > 1:
        assert weights_of(roll_back(serving, None)) == models.replace(models[-1], "")[-1]


@pytest.mark.parametrize(
    ("data", "removed"),
    [
        pytest.param("xyyyy", [1, 2], id="what the current data was compared with"),
        pytest.param("xyzzz", [0, 2], id="no more than the newest other data"),
        pytest.param("xyzzw", [0, 1, 2], id="among those kept anyway"),
        pytest.param("xxxxx", [0, 1, 2], id="never any other data"),
        pytest.param("xyy--", [1], id="the newest do not tell"),
        pytest.param("-----", [0, 1, 2], id="none tells"),
    ],
)
def test_prune_keeps_what_data_is_compared_with(serving: Path, data: str, removed: list[int]) -> None:
    pushed = zip("abcde", data, strict=True)
    versions = [push(serving, weights, None if of == "-" else of.encode()) for weights, of in pushed]
    assert prune(serving, 1) == [versions[index] for index in removed]


def test_a_version_that_is_removed_is_never_seen_in_part(serving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for weights in "abc":
        push(serving, weights)
    seen = []
    monkeypatch.setattr(version_folders.shutil, "rmtree", lambda path: seen.append(numbers(serving)))
    prune(serving, 1)
    assert seen == [[NOW + 1, NOW + 2]]
    monkeypatch.undo()
    push(serving, "d")
    assert not list(serving.glob(".removing-*"))


def test_prune_that_cannot_be_is_explained(serving: Path) -> None:
    with pytest.raises(PublishingError, match="no version of digits has been pushed there yet"):
        prune(serving, 1)
    assert not serving.exists()
    push(serving, "a")
    for keep in (0, -1):
        with pytest.raises(WrongRequestError, match=f"keep: expected 1 or more, not {keep}"):
            prune(serving, keep)
    assert numbers(serving) == [NOW]


@pytest.mark.parametrize("url", ["gs://bucket/serving", "s3://bucket/digits"])
def test_an_object_store_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match="expected a folder of this machine or a mounted volume, not a URL"):
        publish(make_model(tmp_path / "model", "a"), Path(url), {}, ORIGIN)
