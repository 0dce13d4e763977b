import subprocess
import sys
from pathlib import Path

import pytest

from registry.provenance import PROVENANCE_FILE, Origin, model_fingerprint
from registry.publishing import publish
from registry.versions import (
    TRAIN_STATISTICS_FILE,
    find_baseline,
    find_other_data,
    list_versions,
    no_versions,
    read_version,
    version_fingerprint,
    version_number,
)


def make_model(directory: Path, weights: str) -> Path:
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "variables.index").write_text(weights)
    return directory


def test_nothing_heavy_is_imported() -> None:
    script = "import sys, registry.versions, registry.publishing; print(sorted({'tensorflow', 'tfx', 'numpy'} & "
    script += "set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"


def test_complete_versions_are_listed_by_number(tmp_path: Path) -> None:
    for name in ("10", "9", "100", "notes", ".publishing-11"):
        make_model(tmp_path / name, "12345")
    (tmp_path / "12" / "variables").mkdir(parents=True)
    versions = list_versions(tmp_path)
    assert [(version.number, version.num_bytes) for version in versions] == [(9, 10), (10, 10), (100, 10)]
    assert versions[0].directory == tmp_path / "9"
    assert versions[0].model == tmp_path.name


def test_nothing_pushed_yet(tmp_path: Path) -> None:
    assert list_versions(tmp_path / "serving" / "digits") == []
    assert find_baseline(tmp_path / "serving" / "digits", "any") is None
    assert find_other_data(tmp_path / "serving" / "digits", b"any") is None


def test_who_finds_nothing_is_told_of_the_models_beside_it(tmp_path: Path) -> None:
    nothing = f"{tmp_path}/digits: no version of digits has been pushed there yet"
    assert no_versions(tmp_path / "digits") == f"{nothing}."
    for model in ("digits-smoke", "fashion"):
        (tmp_path / model / "3").mkdir(parents=True)
        (tmp_path / model / "3" / "saved_model.pb").touch()
    (tmp_path / "empty").mkdir()
    assert no_versions(tmp_path / "digits") == f"{nothing}; there are versions of digits-smoke, fashion."


def test_a_version_that_is_pruned_meanwhile_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2"):
        make_model(tmp_path / name, name)

    def read(directory: Path) -> object:
        if directory.name == "1":
            (directory / "saved_model.pb").unlink()
        return read_version(directory)

    monkeypatch.setattr("registry.versions.read_version", read)
    assert [version.number for version in list_versions(tmp_path)] == [2]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("17", 17),
        ("9223372036854775807", 2**63 - 1),
        # A server reads int64; such a name, of a date and time, would stand above all later versions.
        ("20261122110434822193", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        (".publishing-17", None),
        ("", None),
    ],
)
def test_version_numbers_are_those_that_a_server_reads(name: str, number: int | None) -> None:
    assert version_number(name) == number


def test_the_baseline_is_the_newest_other_model(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    models = {name: make_model(tmp_path / name, name) for name in ("a", "b", "c")}
    fingerprints = {name: model_fingerprint(model) for name, model in models.items()}
    # Two came from a Pusher that keeps no provenance.
    make_model(serving / "1", "a")
    make_model(serving / "2", "b")
    publish(models["b"], serving, {}, Origin())
    numbers = [version.number for version in list_versions(serving)]
    found = {name: find_baseline(serving, fingerprint) for name, fingerprint in fingerprints.items()}
    assert {name: version.number for name, version in found.items() if version} == {
        "a": numbers[-1],
        "b": 1,
        "c": numbers[-1],
    }


def test_a_model_alone_has_no_baseline(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    for _ in range(2):
        publish(model, tmp_path / "serving", {}, Origin())
    assert find_baseline(tmp_path / "serving", model_fingerprint(model)) is None


def test_a_damaged_provenance_does_not_hide_the_model(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    version = publish(model, tmp_path / "serving", {}, Origin())
    (version.directory / PROVENANCE_FILE).write_text("{")
    assert version_fingerprint(version) == model_fingerprint(model)


def test_other_data_is_the_newest_that_is_not_the_same(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first, second, third = (
        publish(model, tmp_path / "serving", {TRAIN_STATISTICS_FILE: data}, Origin()) for data in (b"x", b"y", b"y")
    )
    # This one does not tell.
    publish(model, tmp_path / "serving", {}, Origin())
    found = {data: find_other_data(tmp_path / "serving", data) for data in (b"x", b"y", b"z", b"")}
    assert found == {b"x": (third, b"y"), b"y": (first, b"x"), b"z": (third, b"y"), b"": (third, b"y")}
    for version in (second, third):
        (version.directory / TRAIN_STATISTICS_FILE).unlink()
    assert find_other_data(tmp_path / "serving", b"x") is None
