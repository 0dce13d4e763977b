"""Against a real metadata database, with records such as TFX writes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from components.verdict import Finding, Verdict, write_verdict
from pipeline.local.lineage import add_metadata
from pipeline.local.metadata import record_outcome
from registry.lineage import Ancestor, Lineage
from registry.provenance import DataOrigin, GateRecord, Ingredients, Origin, Software

FIRST, SECOND = "2026-01-02T03:04:05.000006", "2026-01-03T03:04:05.000006"
DATA = DataOrigin(uri="/data/span-3", span=3, fingerprint="ab")
COMPLETE, CACHED = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED
SOFTWARE = Software(version="0.1.0", revision=None, python="3.11.7", packages={"tfx": "1.21.0"})
SETTINGS = {"trainer": {"epochs": 8}}


class Records:
    """Adds records to a metadata database."""

    def __init__(self, store: MetadataStore, root: Path) -> None:
        self.store, self._root = store, root
        contexts = ("pipeline_run", "node")
        self._contexts = {name: store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in contexts}
        self._step = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Step"))

    def artifact(self, type_name: str, step: str, **properties: str | int) -> metadata_store_pb2.Artifact:
        """Returns an artifact with an existing folder, which is not yet recorded."""
        kind = metadata_store_pb2.ArtifactType(name=type_name)
        if type_name == "Examples":
            kind.properties["span"] = metadata_store_pb2.INT
        uri = self._root / "pipeline_root" / step / type_name
        uri.mkdir(parents=True, exist_ok=True)
        artifact = metadata_store_pb2.Artifact(type_id=self.store.put_artifact_type(kind), uri=str(uri))
        for name, value in properties.items():
            if name == "span":
                artifact.properties[name].int_value = int(value)
            elif isinstance(value, int):
                artifact.custom_properties[name].int_value = value
            else:
                artifact.custom_properties[name].string_value = value
        return artifact

    def step(
        self,
        run: str,
        name: str,
        inputs: Mapping[str, metadata_store_pb2.Artifact],
        outputs: list[metadata_store_pb2.Artifact],
        *,
        state: int = COMPLETE,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Records an execution, and gives its outputs their IDs."""
        events = []
        for key, artifact in inputs.items():
            event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.INPUT)
            event.path.steps.add(key=key)
            events.append((artifact, event))
        events += [(artifact, metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)) for artifact in outputs]
        execution = metadata_store_pb2.Execution(type_id=self._step, last_known_state=state)
        for key, value in (properties or {}).items():
            execution.custom_properties[key].string_value = value
        contexts = [
            metadata_store_pb2.Context(type_id=self._contexts["pipeline_run"], name=run),
            metadata_store_pb2.Context(type_id=self._contexts["node"], name=f"digits.{name}"),
        ]
        _, numbers, _ = self.store.put_execution(execution, events, contexts, reuse_context_if_already_exist=True)
        for artifact, number in zip([*inputs.values(), *outputs], numbers, strict=True):
            artifact.id = number


@pytest.fixture
def records(store: MetadataStore, tmp_path: Path) -> Records:
    return Records(store, tmp_path)


@pytest.fixture
def pushed(records: Records) -> metadata_store_pb2.Artifact:
    """The artifact of version 17, which the second run has pushed; its data steps came from the cache."""
    schema, examples = (
        records.artifact("Schema", "ImportSchemaGen"),
        records.artifact("Examples", "MnistExampleGen", uri="/data/span-3", fingerprint="ab", span=3),
    )
    verdict = records.artifact("digits.Verdict", "DataGate", passed=1)
    write_verdict(Verdict("DataGate", (Finding("drift", "all", passed=False),), "", enforced=False), verdict.uri)
    model, baseline = records.artifact("Model", "Trainer"), records.artifact("Model", "BaselineModel", version="16")
    blessing = records.artifact("ModelBlessing", "Evaluator")
    push = records.artifact(
        "PushedModel", "Pusher", pushed=1, pushed_destination="/moved/serving/digits/17", pushed_version="17"
    )
    for run, state in ((FIRST, COMPLETE), (SECOND, CACHED)):
        records.step(run, "ImportSchemaGen", {}, [schema], state=state)
        records.step(run, "MnistExampleGen", {"schema": schema}, [examples], state=state)
        records.step(run, "DataGate", {"examples": examples}, [verdict], state=state)
    records.step(SECOND, "Trainer", {"examples": examples, "_DataGate.verdict": verdict}, [model])
    records.step(SECOND, "BaselineModel", {"candidate": model}, [baseline])
    records.step(SECOND, "Evaluator", {"model": model, "baseline_model": baseline}, [blessing])
    properties = {"code": '{"Trainer": "cd"}', "settings": json.dumps(SETTINGS)}
    inputs = {"model": model, "blessing": blessing, "data_verdict": verdict}
    records.step(SECOND, "Pusher", inputs, [push], properties=properties)
    description = {"settings": {}, "software": SOFTWARE.model_dump()}
    record_outcome(records.store, SECOND, "pushed", 0.995, description)
    return push


def version(tmp_path: Path, **values: object) -> Lineage:
    """Version 17 without provenance, unless `values` contain it."""
    found = {"model": "digits", "version": 17, "directory": tmp_path / "serving" / "digits" / "17", **values}
    return Lineage.model_validate(found)


def artifacts_of(lineage: Lineage) -> list[tuple[str, str, str | None, list[str]]]:
    """Returns type, step and run of each artifact, and the steps that wrote its inputs."""
    steps = {artifact.id: artifact.step for artifact in lineage.artifacts}
    return [(each.type, each.step, each.run, [steps[number] for number in each.inputs]) for each in lineage.artifacts]


def test_a_push_is_followed_back_to_the_data(pushed: metadata_store_pb2.Artifact, tmp_path: Path) -> None:
    lineage = add_metadata(version(tmp_path), tmp_path / "metadata.sqlite")
    assert (lineage.metadata, lineage.missing) == (tmp_path / "metadata.sqlite", ())
    assert artifacts_of(lineage) == [
        ("Schema", "ImportSchemaGen", FIRST, []),
        ("Examples", "MnistExampleGen", FIRST, ["ImportSchemaGen"]),
        ("digits.Verdict", "DataGate", FIRST, ["MnistExampleGen"]),
        # Not DataGate, which is a condition only.
        ("Model", "Trainer", SECOND, ["MnistExampleGen"]),
        ("Model", "BaselineModel", SECOND, ["Trainer"]),
        ("ModelBlessing", "Evaluator", SECOND, ["Trainer", "BaselineModel"]),
        ("PushedModel", "Pusher", SECOND, ["DataGate", "Trainer", "Evaluator"]),
    ]
    assert [artifact.data for artifact in lineage.artifacts if artifact.data] == [DATA]
    assert {artifact.exists for artifact in lineage.artifacts} == {True}
    assert lineage.artifacts[-1].uri == pushed.uri


def test_a_version_without_provenance_gets_what_ml_metadata_knows(
    pushed: metadata_store_pb2.Artifact, tmp_path: Path
) -> None:
    lineage = add_metadata(version(tmp_path), tmp_path / "metadata.sqlite")
    assert lineage.origin == Origin(
        pipeline_run=SECOND,
        model_uri=str(tmp_path / "pipeline_root" / "Trainer" / "Model"),
        ingredients=Ingredients(data=DATA, code={"Trainer": "cd"}),
        settings=SETTINGS,
        software=SOFTWARE,
        gates=(GateRecord(gate="DataGate", passed=True, enforced=False, metrics={}),),
        baseline_version=16,
    )
    assert lineage.published is not None
    assert abs(lineage.published - datetime.now(UTC)).total_seconds() < 3600


def test_the_provenance_goes_before_ml_metadata(pushed: metadata_store_pb2.Artifact, tmp_path: Path) -> None:
    data = DataOrigin(uri="of the provenance", span=0, fingerprint="cd")
    origin = Origin(pipeline_run=SECOND, ingredients=Ingredients(data=data, code={}))
    published = datetime(2026, 1, 2, tzinfo=UTC)
    artifacts = (Ancestor(id=1, type="Schema", step="ImportSchemaGen", fingerprint="12"),)
    # A rollback: ML Metadata knows only the run that pushed the original.
    before = version(tmp_path, version=21, origin=origin, published=published, artifacts=artifacts)
    lineage = add_metadata(before, tmp_path / "metadata.sqlite")
    assert lineage.metadata is not None
    assert lineage.published == published
    assert lineage.origin == origin.model_copy(update={"baseline_version": 16})
    assert [artifact.fingerprint for artifact in lineage.artifacts if artifact.fingerprint] == ["12"]


@pytest.mark.parametrize("values", [{"version": 18}, {"model": "fashion"}])
def test_an_unknown_push_leaves_the_lineage_as_it_was(
    values: dict[str, object], pushed: metadata_store_pb2.Artifact, tmp_path: Path
) -> None:
    before, file = version(tmp_path, missing=("one",), **values), tmp_path / "metadata.sqlite"
    missing = ("one", f"{file}: ML Metadata does not know the push of this version.")
    assert add_metadata(before, file) == before.model_copy(update={"missing": missing})


def test_without_a_readable_database_the_lineage_says_so(tmp_path: Path) -> None:
    file = tmp_path / "metadata.sqlite"
    assert add_metadata(version(tmp_path), file).missing == (f"{file}: there is no ML Metadata of any run.",)
    file.write_text("not a database, but long enough to be one " * 100)
    [missing] = add_metadata(version(tmp_path), file).missing
    assert f"{file}: cannot be read as a metadata database" in missing


def test_a_moved_workspace_is_reported(pushed: metadata_store_pb2.Artifact, tmp_path: Path) -> None:
    (tmp_path / "pipeline_root").rename(tmp_path / "elsewhere")
    lineage = add_metadata(version(tmp_path), tmp_path / "metadata.sqlite")
    assert {artifact.exists for artifact in lineage.artifacts} == {False}
    assert lineage.origin.gates == (), "their verdicts are files"
    [missing] = lineage.missing
    assert missing == ("7 of 7 artifacts are no longer at their URIs: the workspace was moved, or they were removed.")


def test_pruned_metadata_is_reported(records: Records, tmp_path: Path) -> None:
    model, url = records.artifact("Model", "Trainer"), records.artifact("ModelBlessing", "Evaluator")
    url.uri = "gs://bucket/blessing"
    [model.id] = records.store.put_artifacts([model])
    [url.id] = records.store.put_artifacts([url])
    push = records.artifact("PushedModel", "Pusher", pushed=1, pushed_destination="/serving/digits/17")
    records.step(FIRST, "Pusher", {"model": model, "model_blessing": url}, [push])
    file = tmp_path / "metadata.sqlite"

    lineage = add_metadata(version(tmp_path), file)
    assert lineage.missing == (
        "ML Metadata does not lead back to the data.",
        "ML Metadata has no record of the steps that wrote 2 of 3 artifacts.",
    )
    assert [(each.type, each.step, each.exists) for each in lineage.artifacts] == [
        ("Model", "", True),
        ("ModelBlessing", "", None),
        ("PushedModel", "Pusher", True),
    ]
    assert lineage.origin.ingredients is None

    of_provenance = (Ancestor(id=1, type="Examples", step="MnistExampleGen", data=DATA),)
    lineage = add_metadata(version(tmp_path, artifacts=of_provenance), file)
    assert (lineage.metadata, lineage.artifacts) == (None, of_provenance)
    assert lineage.missing == (f"{file}: ML Metadata no longer leads back to the data.",)


def test_a_refused_model_is_no_push(records: Records, tmp_path: Path) -> None:
    push = records.artifact("PushedModel", "Pusher", pushed=0, pushed_destination="/serving/digits/17")
    records.step(FIRST, "Pusher", {}, [push])
    assert add_metadata(version(tmp_path), tmp_path / "metadata.sqlite").metadata is None
