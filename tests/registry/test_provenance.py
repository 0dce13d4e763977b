import hashlib
import importlib.metadata
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.provenance import (
    PROVENANCE_FILE,
    DamagedVersionError,
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    Provenance,
    combine_hashes,
    hash_files,
    installed_software,
    model_fingerprint,
    read_provenance,
    verify_files,
)

ORIGIN = Origin(
    pipeline_run="2026-01-02T03:04:05.000006",
    model_uri="/root/Trainer/model/7",
    ingredients=Ingredients(data=DataOrigin(uri="/data", span=3, fingerprint="ab"), code={"Trainer": "cd"}),
    gates=(GateRecord(gate="Evaluator", passed=True, metrics={"accuracy": {"all": 0.995}}),),
)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "17"
    for path in ("saved_model.pb", "variables/variables.index", "assets.extra/train_statistics.pb"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"content of {path}")
    return directory


def write_provenance(directory: Path) -> Provenance:
    hashes = hash_files(directory)
    provenance = Provenance(
        version=17,
        published=datetime(2026, 1, 2, tzinfo=UTC),
        rolled_back_to=None,
        model_fingerprint=combine_hashes(hashes),
        origin=ORIGIN,
        files=hashes,
    )
    (directory / PROVENANCE_FILE).write_text(provenance.model_dump_json())
    return provenance


def test_the_software_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    software = installed_software()
    assert software.packages["tfx"] == importlib.metadata.version("tfx")
    assert "s3fs" not in software.packages, "extras are not required"
    monkeypatch.setenv("PATH", "")
    assert installed_software().revision is None
    monkeypatch.setenv("CODE_REVISION", "v1-3-gabc")
    assert installed_software().revision == "v1-3-gabc"


def test_provenance_survives_the_file_and_ignores_fields_of_later_releases(version: Path) -> None:
    assert read_provenance(version) is None
    written = write_provenance(version)
    assert read_provenance(version) == written
    text = (version / PROVENANCE_FILE).read_text()
    (version / PROVENANCE_FILE).write_text(text.replace('{"version"', '{"signed_by":"somebody","version"', 1))
    assert "signed_by" in (version / PROVENANCE_FILE).read_text()
    assert read_provenance(version) == written


def test_the_provenance_of_an_earlier_release_is_readable(version: Path) -> None:
    values = write_provenance(version).model_dump(mode="json")
    del values["origin"]["baseline_version"], values["origin"]["ingredients"]["transform_graph"]
    (version / PROVENANCE_FILE).write_text(json.dumps(values))
    provenance = read_provenance(version)
    assert provenance is not None
    assert provenance.origin == ORIGIN


@pytest.mark.parametrize("content", ["", "{}", '{"version": 17', "\0\0\0"])
def test_a_damaged_provenance_is_named(version: Path, content: str) -> None:
    (version / PROVENANCE_FILE).write_text(content)
    with pytest.raises(DamagedVersionError, match=f"{version / PROVENANCE_FILE}: not the provenance of a version"):
        read_provenance(version)


def test_all_files_except_the_provenance_are_hashed(version: Path) -> None:
    write_provenance(version)
    hashes = hash_files(version)
    assert set(hashes) == {"saved_model.pb", "variables/variables.index", "assets.extra/train_statistics.pb"}
    assert hashes["saved_model.pb"] == hashlib.sha256(b"content of saved_model.pb").hexdigest()


def test_copies_of_a_model_have_the_same_fingerprint(version: Path, tmp_path: Path) -> None:
    fingerprint = model_fingerprint(version)
    assert len(fingerprint) == 64
    assert write_provenance(version).model_fingerprint == fingerprint
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    assert model_fingerprint(version) == fingerprint
    version = version.rename(version.with_name("18"))
    assert model_fingerprint(version) == fingerprint
    (version / "variables").rename(tmp_path / "elsewhere")
    (version / "variables").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert model_fingerprint(version) == fingerprint, "files in a linked folder count"


def test_every_path_and_content_changes_the_fingerprint(version: Path) -> None:
    fingerprints = [model_fingerprint(version)]
    (version / "variables" / "variables.index").write_bytes(b"other weights")
    fingerprints.append(model_fingerprint(version))
    (version / "variables" / "variables.index").rename(version / "variables" / "variables.other")
    fingerprints.append(model_fingerprint(version))
    (version / "assets").mkdir()
    (version / "assets" / "vocabulary").write_bytes(b"")
    fingerprints.append(model_fingerprint(version))
    assert len(set(fingerprints)) == 4


def test_a_missing_model_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        model_fingerprint(tmp_path / "absent")


def test_verification_names_each_kind_of_damage(version: Path) -> None:
    provenance = write_provenance(version)
    verify_files(version, provenance)
    weights, added = version / "variables" / "variables.index", version / "notes.txt"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(DamagedVersionError, match=f"{weights}: has changed since version 17 was pushed"):
        verify_files(version, provenance)
    weights.unlink()
    with pytest.raises(DamagedVersionError, match=f"{weights}: is missing since version 17 was pushed"):
        verify_files(version, provenance)
    weights.write_bytes(content)
    added.touch()
    with pytest.raises(DamagedVersionError, match=f"{added}: was added since version 17 was pushed"):
        verify_files(version, provenance)
