import shutil
from pathlib import Path
from typing import Any

import pytest

from registry.labels import MODELS_CONFIG_FILE, set_label
from registry.lineage import Ancestor, Users, trace_version
from registry.provenance import (
    PROVENANCE_FILE,
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    hash_files,
    model_fingerprint,
)
from registry.publishing import publish, roll_back
from registry.signing import State, TrustPolicy, prepare_private_key
from registry.versions import Version
from tests.support.saved_models import make_model

DATA = DataOrigin(uri="/data/span-3", span=3, fingerprint="ab")
ORIGIN = Origin(
    pipeline_run="run 1",
    model_uri="minio://mlpipeline/Trainer/model",
    ingredients=Ingredients(data=DATA, code={"Trainer": "cd"}, transform_graph="ef"),
    gates=(GateRecord(gate="Evaluator", passed=True, metrics={}),),
)
SCHEMA = {"assets.extra/schema.pbtxt": b"feature {}"}


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


@pytest.fixture
def policy(tmp_path: Path) -> TrustPolicy:
    return TrustPolicy(prepare_private_key(tmp_path / "key.pem", None, is_development=True, say=lambda line: None))


def push(serving: Path, policy: TrustPolicy, weights: str = "a", **values: Any) -> Version:
    model = make_model(serving.parents[1] / weights, weights)
    assert isinstance(policy.public_key, Path)
    return publish(model, serving, SCHEMA, ORIGIN.model_copy(update=values), policy.public_key)


def test_a_version_leads_back_to_the_data(serving: Path, policy: TrustPolicy) -> None:
    version = push(serving, policy)
    lineage = trace_version(version.directory, policy)
    assert (lineage.model, lineage.version, lineage.published) == ("digits", version.number, version.pushed)
    assert (lineage.state, lineage.problem, lineage.metadata, lineage.missing) == (State.VERIFIED, None, None, ())
    assert lineage.origin == ORIGIN
    schema = hash_files(version.directory)["assets.extra/schema.pbtxt"]
    fingerprint = model_fingerprint(version.directory)
    assert lineage.artifacts == (
        Ancestor(id=1, type="Schema", step="ImportSchemaGen", fingerprint=schema),
        Ancestor(id=2, type="Examples", step="MnistExampleGen", data=DATA, inputs=(1,)),
        Ancestor(id=3, type="TransformGraph", step="Transform", fingerprint="ef", inputs=(1, 2)),
        Ancestor(id=4, type="Model", step="Trainer", uri=ORIGIN.model_uri, fingerprint=fingerprint, inputs=(1, 2, 3)),
        Ancestor(id=5, type="digits.Verdict", step="Evaluator"),
        Ancestor(id=6, type="PushedModel", step="Pusher", run="run 1", inputs=(4, 5)),
    )


def test_a_version_leads_forward_to_its_users(serving: Path, policy: TrustPolicy) -> None:
    first = push(serving, policy)
    second = push(serving, policy, "b", baseline_version=first.number)
    key = policy.public_key
    assert isinstance(key, Path)
    copy = roll_back(serving, first.number, policy, key)
    back = roll_back(serving, second.number, policy, key)
    for label in ("stable", "canary"):
        set_label(serving.parent, "digits", label, first.number, on_wait=lambda seconds: None)

    of_first = trace_version(first.directory, policy)
    assert of_first.users == Users(labels=("canary", "stable"), copies=(copy.number,), baseline_of=(second.number,))
    of_copy = trace_version(copy.directory, policy)
    assert of_copy.users == Users()
    assert (of_copy.rolled_back_to, of_copy.origin) == (first.number, ORIGIN)
    assert trace_version(back.directory, policy).users == Users(current=True)


def test_a_copy_in_another_place_is_traced(serving: Path, policy: TrustPolicy, tmp_path: Path) -> None:
    version = push(serving, policy)
    copy = tmp_path / "copy"
    shutil.copytree(version.directory, copy)
    lineage = trace_version(copy, policy, anywhere=True)
    assert (lineage.model, lineage.version, lineage.state) == ("digits", version.number, State.VERIFIED)
    assert lineage.origin == ORIGIN
    assert lineage.missing == (f"{copy}: a copy, so its users are unknown.",)
    (copy / "saved_model.pb").write_text("changed")
    assert trace_version(copy, policy, anywhere=True).state is State.CHANGED
    assert trace_version(copy, policy).state is State.CHANGED, "a version in the serving folder must be in its place"


def test_a_copy_of_a_whole_serving_folder_knows_its_users(serving: Path, policy: TrustPolicy, tmp_path: Path) -> None:
    number = push(serving, policy).number
    shutil.copytree(serving.parent, tmp_path / "copy")
    lineage = trace_version(tmp_path / "copy" / "digits" / str(number), policy, anywhere=True)
    assert (lineage.users, lineage.missing) == (Users(current=True), ())


def test_what_a_provenance_of_earlier_releases_lacks_is_named(serving: Path, policy: TrustPolicy) -> None:
    version = push(serving, policy, ingredients=Ingredients(data=DATA, code={}))
    lineage = trace_version(version.directory, policy)
    assert [artifact.data for artifact in lineage.artifacts if artifact.data] == [DATA]
    [missing] = lineage.missing
    assert missing == "The provenance is from an earlier release, without the Transform graph and the baseline."
    older = push(serving, policy, "b", ingredients=None)
    lineage = trace_version(older.directory, policy)
    assert [artifact.type for artifact in lineage.artifacts] == ["Model", "digits.Verdict", "PushedModel"]
    assert lineage.missing == ("The provenance names no data and no code.",)


@pytest.mark.parametrize(
    ("content", "state", "problem"),
    [(None, State.NO_PROVENANCE, "has no provenance"), ("{", State.CHANGED, "not the provenance of a version")],
)
def test_a_version_without_a_readable_provenance(
    content: str | None, state: State, problem: str, serving: Path, policy: TrustPolicy
) -> None:
    version = push(serving, policy)
    file = version.directory / PROVENANCE_FILE
    file.unlink() if content is None else file.write_text(content)
    lineage = trace_version(version.directory, policy)
    assert (lineage.model, lineage.version, lineage.state) == ("digits", version.number, state)
    assert problem in str(lineage.problem)
    assert (lineage.origin, lineage.artifacts, lineage.published) == (Origin(), (), None)


def test_a_removed_version_is_reported(serving: Path, policy: TrustPolicy) -> None:
    lineage = trace_version(serving / "17", policy)
    assert (lineage.model, lineage.version, lineage.state) == ("digits", 17, None)
    assert lineage.missing == (f"{serving / '17'}: the version has been removed, and its provenance with it.",)


def test_damaged_labels_do_not_hide_the_rest(serving: Path, policy: TrustPolicy) -> None:
    version = push(serving, policy)
    (serving.parent / MODELS_CONFIG_FILE).write_text("model {")
    lineage = trace_version(version.directory, policy)
    assert lineage.origin == ORIGIN
    [missing] = lineage.missing
    assert f"{MODELS_CONFIG_FILE}: not a ModelServerConfig" in missing
