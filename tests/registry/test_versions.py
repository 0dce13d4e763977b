import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.provenance import PROVENANCE_FILE, Origin, model_fingerprint
from registry.publishing import PublishingError, existing_version, publish
from registry.signing import TrustPolicy, prepare_private_key, read_public_key
from registry.versions import (
    TRAIN_STATISTICS_FILE,
    find_baseline,
    find_other_data,
    list_versions,
    read_version,
    version_fingerprint,
    version_number,
)
from tests.support.saved_models import make_model


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
    assert (versions[0].directory, versions[0].model) == (tmp_path / "9", tmp_path.name)


def test_a_version_was_pushed_when_its_provenance_says(tmp_path: Path) -> None:
    version = publish(make_model(tmp_path / "model", "a"), tmp_path / "serving", {}, Origin())
    os.utime(version.directory / "saved_model.pb", (0, 0))
    assert read_version(version.directory).pushed == version.pushed > datetime(2020, 1, 1, tzinfo=UTC)
    (version.directory / PROVENANCE_FILE).unlink()
    assert read_version(version.directory).pushed == datetime(1970, 1, 1, tzinfo=UTC)


def test_without_versions_nothing_is_found_and_other_models_are_named(tmp_path: Path) -> None:
    serving = tmp_path / "digits"
    assert (list_versions(serving), find_baseline(serving, "any", UNKEYED), find_other_data(serving, b"any")) == (
        [],
        None,
        None,
    )
    nothing = f"{serving}: no version of digits has been pushed there yet"
    with pytest.raises(PublishingError, match=f"^{nothing}; push one with `digits run`.$"):
        existing_version(serving, None)
    for model in ("digits-smoke", "fashion"):
        make_model(tmp_path / model / "3", model)
    (tmp_path / "empty").mkdir()
    other = "or use another model: `--model digits-smoke`, `--model fashion`"
    with pytest.raises(PublishingError, match=f"^{nothing}; push one with `digits run`, {other}.$"):
        existing_version(serving, None)


def test_a_version_that_is_pruned_at_the_same_time_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        make_model(tmp_path / name, name)

    def read(directory: Path) -> object:
        if directory.name == "1":
            (directory / "saved_model.pb").unlink()
        return read_version(directory)

    monkeypatch.setattr("registry.versions.read_version", read)
    assert [version.number for version in list_versions(tmp_path)] == [2]


UNKEYED = TrustPolicy()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("17", 17),
        ("9223372036854775807", 2**63 - 1),
        # A date and time is beyond int64.
        ("20261122110434822193", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        (".publishing-17", None),
        ("", None),
    ],
)
def test_version_numbers_are_int64(name: str, number: int | None) -> None:
    assert version_number(name) == number


def test_the_baseline_is_the_newest_other_model(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    models = {name: make_model(tmp_path / name, name) for name in ("a", "b", "c")}
    first = publish(models["a"], serving, {}, Origin()).number
    assert find_baseline(serving, model_fingerprint(models["a"]), UNKEYED) is None
    newest = publish(models["b"], serving, {}, Origin()).number
    # It has no provenance, so no pipeline has pushed it.
    make_model(serving / str(newest + 1), "c")
    found = {name: find_baseline(serving, model_fingerprint(model), UNKEYED) for name, model in models.items()}
    assert {name: version.number for name, version in found.items() if version} == {
        "a": newest,
        "b": first,
        "c": newest,
    }


def test_changed_versions_are_not_the_baseline(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    old, new = (
        publish(make_model(tmp_path / name, name), serving, {TRAIN_STATISTICS_FILE: name.encode()}, Origin())
        for name in "ab"
    )
    (new.directory / TRAIN_STATISTICS_FILE).write_bytes(b"changed")
    assert find_baseline(serving, "other", UNKEYED) == old
    assert find_other_data(serving, b"other") == (old, b"a")


def test_with_a_key_only_versions_signed_with_it_are_the_baseline(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    ours, theirs = (
        prepare_private_key(tmp_path / f"{name}.pem", None, is_development=True, say=print) for name in "ab"
    )
    signed = publish(make_model(tmp_path / "a", "a"), serving, {}, Origin(), ours)
    for name, key in (("b", theirs), ("c", None)):
        publish(make_model(tmp_path / name, name), serving, {}, Origin(), key)
    policy = TrustPolicy(read_public_key(ours))
    assert find_baseline(serving, "other", policy) == signed
    assert find_baseline(serving, "other", replace(policy, allow_unverified=True)) == list_versions(serving)[-1]


def test_a_damaged_provenance_does_not_hide_the_model(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    version = publish(model, tmp_path / "serving", {}, Origin())
    (version.directory / PROVENANCE_FILE).write_text("{")
    assert version_fingerprint(version) == model_fingerprint(model)


def test_other_data_is_the_newest_with_other_statistics(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first, second, third = (
        publish(model, tmp_path / "serving", {TRAIN_STATISTICS_FILE: data}, Origin()) for data in (b"x", b"y", b"y")
    )
    # A version without statistics.
    publish(model, tmp_path / "serving", {}, Origin())
    found = {data: find_other_data(tmp_path / "serving", data) for data in (b"x", b"y", b"z", b"")}
    assert found == {b"x": (third, b"y"), b"y": (first, b"x"), b"z": (third, b"y"), b"": (third, b"y")}
    for version in (second, third):
        (version.directory / TRAIN_STATISTICS_FILE).unlink()
    assert find_other_data(tmp_path / "serving", b"x") is None
