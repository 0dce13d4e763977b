"""`digits lineage`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from registry.provenance import SIGNATURE_FILE, DataOrigin, GateRecord, Ingredients, Origin
from registry.publishing import publish
from registry.signing import prepare_private_key
from registry.versions import Version
from tests.support.saved_models import make_model

RUN = "2026-01-02T03:04:05.000006"

Digits = Callable[..., Result]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # The database of the tests is in `tmp_path`.
    (tmp_path / "digits.toml").write_text(f'workspace = "{tmp_path}"\n')
    return tmp_path


def push(workspace: Path, weights: str, model: str = "digits") -> Version:
    data = DataOrigin(uri="/data/span-3", span=3, fingerprint="ab")
    origin = Origin(
        pipeline_run=RUN,
        ingredients=Ingredients(data=data, code={"Trainer": "cd"}, transform_graph="ef"),
        gates=(GateRecord(gate="Evaluator", passed=True, metrics={}),),
    )
    key = prepare_private_key(workspace / "development-signing-key.pem", None, is_development=True, say=print)
    source = make_model(workspace / "models" / model / weights, weights)
    return publish(source, workspace / "serving" / model, {}, origin, key)


def test_the_current_version_is_the_default(digits: Digits, workspace: Path) -> None:
    older, version, unsigned = (push(workspace, weights) for weights in "abc")
    (unsigned.directory / SIGNATURE_FILE).unlink()
    result = digits("lineage")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"digits {version.number}: current, development key\n")
    assert "data /data/span-3; span 3; fingerprint ab" in result.output
    assert "made from, according to the provenance in the version" in result.output
    assert f"{workspace / 'metadata.sqlite'}: there is no ML Metadata of any run." in result.output
    assert digits("lineage", older.number).output.startswith(f"digits {older.number}: development key\n")
    assert digits("lineage", unsigned.number).output.startswith(f"digits {unsigned.number}: unsigned\n")


def test_as_json(digits: Digits, workspace: Path) -> None:
    version = push(workspace, "a")
    found = json.loads(digits("lineage", "--json").output)
    assert (found["model"], found["version"]) == ("digits", version.number)
    assert (found["directory"], found["metadata"]) == (str(version.directory), None)
    assert found["origin"]["ingredients"]["data"] == {"uri": "/data/span-3", "span": 3, "fingerprint": "ab"}
    assert found["artifacts"][-1]["type"] == "PushedModel"
    assert found["users"] == {"current": True, "labels": [], "copies": [], "baseline_of": []}


def test_as_a_flowchart(digits: Digits, workspace: Path) -> None:
    version = push(workspace, "a")
    lines = digits("lineage", "--mermaid").output.splitlines()
    assert lines[0] == "flowchart LR"
    assert f'    version["digits {version.number}<br>{version.directory}"]' in lines
    result = digits("lineage", "--mermaid", "--json")
    assert (result.exit_code, "Give either --json or --mermaid, not both." in result.output) == (2, True)


def test_a_copied_version_needs_no_workspace(digits: Digits, workspace: Path, tmp_path: Path) -> None:
    version = push(workspace, "a")
    shutil.copytree(version.directory, "copy")
    result = digits("lineage", "copy", "--workspace", tmp_path / "none")
    assert result.exit_code == 0, result.output
    # Without a key, the signature cannot be checked.
    assert result.output.startswith(f"digits {version.number}: not checked\n")
    assert "data /data/span-3; span 3; fingerprint ab" in result.output
    assert not (tmp_path / "none").exists()


def record_push(store: MetadataStore, version: str) -> None:
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="PushedModel"))
    push = metadata_store_pb2.Artifact(type_id=kind, uri="pushed")
    push.custom_properties["pushed"].int_value = 1
    push.custom_properties["pushed_destination"].string_value = f"/serving/digits/{version}"
    step = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Step"))
    event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
    store.put_execution(metadata_store_pb2.Execution(type_id=step), [(push, event)], [])


def test_a_removed_version_is_known_from_ml_metadata(digits: Digits, workspace: Path, store: MetadataStore) -> None:
    record_push(store, "17")
    push(workspace, "a")
    result = digits("lineage", 17)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("digits 17: removed\n")
    assert f"{workspace / 'serving' / 'digits' / '17'}: the version has been removed" in result.output
    assert "ML Metadata does not lead back to the data." in result.output


def test_what_does_not_exist_is_refused_with_what_does(digits: Digits, workspace: Path) -> None:
    result = digits("lineage")
    assert result.exit_code == 1
    assert "no version of digits has been pushed there yet; push one with `digits run`" in result.output
    version = push(workspace, "a")
    push(workspace, "b", model="fashion")
    for arguments, message in {
        (12,): f"12: no such version of digits; there is only {version.number}.",
        ("stable",): "stable: expected the number of a version or the folder of one, with saved_model.pb; "
        f"there is only {version.number}; `digits versions` lists all.",
        ("--model", "fashoin"): "there are fashion, digits.",
        (version.directory, "--model", "digits"): "--model digits: a folder needs no model",
    }.items():
        result = digits("lineage", *arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output
