import itertools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import Artifact, Channel
from tfx.types.artifact_utils import encode_split_names
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
    TransformGraph,
)

from components import pusher
from components.pusher import VERDICT_KEYS, AtomicPusher, Driver, Executor, gate_record
from components.verdict import Finding, Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.provenance import (
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    Provenance,
    installed_software,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import PublishingError, prune, publish, roll_back
from registry.signing import State, TrustPolicy, prepare_private_key
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions, newest_usable
from tests.support.examples import DIGITS, make_examples, schema_text
from tests.support.saved_models import make_model, weights_of

SETTINGS = '{"trainer": {"epochs": 8}}'
INGREDIENTS = Ingredients(data=DataOrigin(uri="/data/span-3", span=3, fingerprint="ab"), code={"Trainer": "cd"})
BLESSINGS = ("model_blessing", "infra_blessing", "infra_validator_blessing")

Inputs = dict[str, list[Artifact]]
Push = Callable[[Inputs], Artifact]


ANY = TrustPolicy(allow_unverified=True)


def make_artifact(directory: Path, kind: type[Artifact]) -> Artifact:
    directory.mkdir(parents=True)
    artifact = kind()
    artifact.uri = str(directory)
    return artifact


def make_verdict(directory: Path, gate: str, *, passed: bool) -> Artifact:
    artifact = make_artifact(directory, VerdictArtifact)
    findings = (
        Finding("accuracy", "all", passed=passed, value=0.995, lower_bound=0.99),
        Finding("recall", "class 7", passed=True, value=0.98),
    )
    publish_verdict(Verdict(gate, findings, "Train longer."), artifact)
    return artifact


def bless(blessing: Artifact, *, blessed: bool) -> Artifact:
    blessing.set_int_custom_property("blessed", int(blessed))
    return blessing


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """All inputs of AtomicPusher, for a model that no gate refuses."""
    artifacts = {
        "model": make_artifact(tmp_path / "model", Model),
        "examples": make_examples(tmp_path / "examples", DIGITS, {}),
        "statistics": make_artifact(tmp_path / "statistics", ExampleStatistics),
        "transform_graph": make_artifact(tmp_path / "transform_graph", TransformGraph),
        "baseline_model": make_artifact(tmp_path / "baseline_model", Model),
        "model_blessing": bless(make_artifact(tmp_path / "model_blessing", ModelBlessing), blessed=True),
        "infra_blessing": bless(make_artifact(tmp_path / "infra_blessing", InfraBlessing), blessed=True),
        "infra_validator_blessing": bless(make_artifact(tmp_path / "validator", InfraBlessing), blessed=True),
        **{key: make_verdict(tmp_path / key, f"Gate of {key}", passed=True) for key in VERDICT_KEYS},
    }
    make_model(tmp_path / "model" / "Format-Serving", "plain")
    make_model(tmp_path / "transform_graph" / "transform_fn", "mean and deviation")
    for split in ("train", "eval"):
        (tmp_path / "statistics" / f"Split-{split}").mkdir()
        (tmp_path / "statistics" / f"Split-{split}" / "FeatureStats.pb").write_text(f"statistics of {split}")
    artifacts["examples"].span = 3
    artifacts["examples"].set_string_custom_property("uri", "/data/span-3")
    artifacts["examples"].set_string_custom_property("fingerprint", "ab")
    artifacts["statistics"].split_names = encode_split_names(["train", "eval"])
    return {key: [artifact] for key, artifact in artifacts.items()}


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "digits"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return prepare_private_key(tmp_path / "key.pem", None, is_development=True, say=lambda line: None)


@pytest.fixture
def push(tmp_path: Path, serving: Path, key: Path) -> Push:
    """Runs the executor like TFX and returns the output artifact."""
    attempts = itertools.count(1)

    def run(inputs: Inputs) -> Artifact:
        pushed_model = make_artifact(tmp_path / f"pushed-{next(attempts)}", PushedModel)
        properties = {
            "serving_directory": str(serving),
            "private_key": str(key),
            "code": '{"Trainer": "cd"}',
            "settings": SETTINGS,
        }
        Executor(BaseExecutor.Context(pipeline_run_id="run 1")).Do(inputs, {"pushed_model": [pushed_model]}, properties)
        return pushed_model

    return run


def with_transform_graph(tmp_path: Path) -> Ingredients:
    return INGREDIENTS.model_copy(update={"transform_graph": model_fingerprint(tmp_path / "transform_graph")})


def only_version(serving: Path) -> tuple[Version, Provenance]:
    (version,) = list_versions(serving)
    provenance = read_provenance(version.directory)
    assert provenance
    return version, provenance


def test_a_model_without_refusals_is_pushed_once_with_its_provenance(
    inputs: Inputs, push: Push, serving: Path, key: Path, tmp_path: Path
) -> None:
    # The second push is a retry in the same run.
    pushed_models = [push(inputs), push(inputs)]
    version, provenance = only_version(serving)
    for pushed_model in pushed_models:
        assert pushed_model.get_int_custom_property("pushed") == 1
        assert pushed_model.get_string_custom_property("pushed_destination") == str(version.directory)
        assert pushed_model.get_string_custom_property("pushed_version") == str(version.number)
        assert weights_of(Path(pushed_model.uri)) == "plain"
    assert (version.directory / TRAIN_STATISTICS_FILE).read_text() == "statistics of train"
    assert provenance.model_fingerprint == model_fingerprint(tmp_path / "model" / "Format-Serving")
    assert (version.directory / "assets.extra" / "schema.pbtxt").read_text() == schema_text(DIGITS)
    assert {TRAIN_STATISTICS_FILE, "assets.extra/schema.pbtxt"} <= set(provenance.files)
    assert TrustPolicy(key).check(version.directory).state is State.VERIFIED
    metrics = {"accuracy": {"all": 0.995}, "recall": {"class 7": 0.98}}
    assert provenance.origin == Origin(
        pipeline_run="run 1",
        model_uri=str(tmp_path / "model"),
        ingredients=with_transform_graph(tmp_path),
        settings=json.loads(SETTINGS),
        software=installed_software(),
        gates=tuple(GateRecord(gate=f"Gate of {key}", passed=True, metrics=metrics) for key in VERDICT_KEYS),
    )


@pytest.mark.parametrize(("version", "recorded"), [("1795358541", 1_795_358_541), ("", None)])
def test_the_provenance_names_the_baseline(
    version: str, recorded: int | None, inputs: Inputs, push: Push, serving: Path
) -> None:
    inputs["baseline_model"][0].set_string_custom_property("version", version)
    push(inputs)
    assert only_version(serving)[1].origin.baseline_version == recorded


def test_the_provenance_names_the_original_of_a_local_copy(inputs: Inputs, push: Push, serving: Path) -> None:
    inputs["model"][0].set_string_custom_property("original_uri", "minio://mlpipeline/model")
    push(inputs)
    assert only_version(serving)[1].origin.model_uri == "minio://mlpipeline/model"


def test_the_copy_with_warm_up_requests_is_pushed(inputs: Inputs, push: Push, serving: Path, tmp_path: Path) -> None:
    stamped = make_model(tmp_path / "infra_blessing" / "stamped_model", "plain")
    (stamped / "assets.extra").mkdir()
    (stamped / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    inputs["infra_blessing"][0].set_int_custom_property("has_model", 1)
    push(inputs)
    version, provenance = only_version(serving)
    assert (version.directory / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"requests"
    assert provenance.model_fingerprint == model_fingerprint(tmp_path / "model" / "Format-Serving")
    assert provenance.origin.model_uri == str(tmp_path / "model")


@pytest.mark.parametrize("key", [*VERDICT_KEYS, "model_blessing", "infra_blessing"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_verdict_or_blessing_prevents_the_push(
    key: str, empty: bool, inputs: Inputs, push: Push, serving: Path
) -> None:
    # Kubeflow omits missing inputs or passes empty lists.
    without = {name: artifacts for name, artifacts in inputs.items() if name != key}
    pushed_model = push({**without, key: []} if empty else without)
    assert pushed_model.get_int_custom_property("pushed") == 0
    assert not serving.exists()


def test_infra_validator_is_optional(inputs: Inputs, push: Push, serving: Path) -> None:
    del inputs["infra_validator_blessing"]
    assert push(inputs).get_int_custom_property("pushed") == 1
    assert only_version(serving)


@pytest.mark.parametrize("key", [*VERDICT_KEYS, *BLESSINGS])
def test_a_single_refusal_prevents_the_push(
    key: str, inputs: Inputs, push: Push, serving: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if key in VERDICT_KEYS:
        inputs[key] = [make_verdict(tmp_path / "refusal", "The gate", passed=False)]
    else:
        bless(inputs[key][0], blessed=False)
    with caplog.at_level(logging.INFO, logger="components.pusher"):
        pushed_model = push(inputs)
    assert pushed_model.get_int_custom_property("pushed") == 0
    assert not pushed_model.has_custom_property("pushed_version")
    assert not serving.exists()
    assert list(Path(pushed_model.uri).iterdir()) == []
    reasons = {"infra_validator_blessing": "InfraValidator did not bless the model"}
    reason = "The gate refused" if key in VERDICT_KEYS else reasons.get(key, "the model is not blessed")
    messages = [record.message for record in caplog.records if record.name == "components.pusher"]
    assert messages == [f"not pushed: {reason}"]


def test_a_push_that_fails_publishes_nothing(
    inputs: Inputs, push: Push, serving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space for the archive")

    monkeypatch.setattr(pusher.io_utils, "copy_dir", fail)
    with pytest.raises(OSError, match="no space for the archive"):
        push(inputs)
    assert list_versions(serving) == []


def test_the_provenance_keeps_the_numeric_findings() -> None:
    findings = (
        Finding("accuracy", "all", passed=True, value=0.995, interval=(0.99, 0.999)),
        Finding("accuracy", "class 3", passed=True, value=1),
        Finding("change", "all", passed=True, reason="upside down", accepted=True),
        Finding("drift", "train", passed=True, value=0.01, feature="label"),
        Finding("drift", "train", passed=False, value=0.2, feature="image"),
        Finding("shape", "train", passed=True, value="28x28", feature="image"),
        Finding("comparison", "all", passed=True),
    )
    assert gate_record(Verdict("Gate", findings, "")) == GateRecord(
        gate="Gate",
        passed=False,
        accepted=("all: upside down",),
        metrics={
            "accuracy": {"all": 0.995, "class 3": 1},
            "drift of label": {"train": 0.01},
            "drift of image": {"train": 0.2},
        },
        intervals={"accuracy": {"all": (0.99, 0.999)}},
    )


def test_without_a_key_a_version_is_not_signed(
    inputs: Inputs, serving: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    properties = {"serving_directory": str(serving), "private_key": "", "code": "{}", "settings": "{}"}
    output = {"pushed_model": [make_artifact(tmp_path / "pushed", PushedModel)]}
    Executor(BaseExecutor.Context(pipeline_run_id="run 1")).Do(inputs, output, properties)
    version, _ = only_version(serving)
    assert TrustPolicy().check(version.directory).state is State.UNSIGNED
    assert f"version {version.number} is not signed; set kubeflow.signing_secret" in caplog.messages


def make_pusher(serving_directory: Path, key: Path, **channels: Any) -> AtomicPusher:
    kinds = {"model": Model, "model_blessing": ModelBlessing, "infra_blessing": InfraBlessing, "examples": Examples}
    kinds |= {"statistics": ExampleStatistics, "transform_graph": TransformGraph, "baseline_model": Model}
    channels = {key: Channel(type=kind) for key, kind in kinds.items()} | channels
    verdicts = {key: channels.pop(key, Channel(type=VerdictArtifact)) for key in VERDICT_KEYS}
    return AtomicPusher(
        serving_directory=serving_directory,
        private_key=key,
        code={"Trainer": "cd"},
        run_settings={"trainer": {"epochs": 8}},
        verdicts=verdicts,
        **channels,
    )


def test_an_object_store_is_refused_when_the_pipeline_is_built() -> None:
    with pytest.raises(PublishingError, match="gs:/bucket/serving: expected a folder of this machine"):
        make_pusher(Path("gs://bucket/serving"), Path("key.pem"))


def test_the_cache_key_changes_with_a_push_of_another_model_only(inputs: Inputs, serving: Path, tmp_path: Path) -> None:
    metadata = Metadata(sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    candidate = inputs["model"][0]
    properties = {"serving_directory": str(serving), "private_key": "key.pem"}
    info = ExecutionInfo(input_dict={"model": [candidate]}, exec_properties=properties)
    models = {"candidate": Path(candidate.uri) / "Format-Serving", "other": make_model(tmp_path / "other", "other")}
    runs = iter(range(100))

    def identity_after(*steps: str) -> str:
        for step in steps:
            if step == "rollback":
                roll_back(serving, None, ANY)
            elif step == "prune":
                assert prune(serving, 1, ANY)
            else:
                publish(models[step], serving, {}, Origin(pipeline_run=f"run {next(runs)}"))
        return Driver(metadata).run(info).exec_properties["baseline"].string_value

    assert identity_after() == identity_after("candidate") == "", "a repeated first run"
    assert identity_after("other", "candidate") == "run 1"
    assert identity_after("candidate") == "run 1", "a repeated later run"
    assert identity_after("rollback") == "run 1", "a rollback is not undone"
    assert identity_after("prune") == "run 1", "even if the original is pruned"
    assert identity_after("rollback", "rollback") == "run 1", "nor are two rollbacks"
    assert identity_after("other") == "run 4", "a model that returns is pushed again"


def run_in_pipeline(inputs: Inputs, tmp_path: Path) -> None:
    properties: dict[str, Any] = {"statistics": {"split_names": '["train", "eval"]'}, "examples": {"span": 3}}
    custom_properties: dict[str, Any] = {
        **{key: {"blessed": 1} for key in BLESSINGS},
        "examples": {"uri": "/data/span-3", "fingerprint": "ab"},
        # Without a version, TFX assumes an old layout of the files.
        "statistics": {"tfx_version": "1.21.0"},
    }
    importers = {
        key: Importer(
            artifact.uri,
            type(artifact),
            properties=properties.get(key),
            custom_properties=custom_properties.get(key),
        ).with_id(key)
        for key, [artifact] in inputs.items()
    }
    step = make_pusher(
        tmp_path / "serving" / "digits",
        tmp_path / "key.pem",
        **{key: importer.outputs["result"] for key, importer in importers.items()},
    )
    pipeline = Pipeline(
        pipeline_name="digits",
        pipeline_root=str(tmp_path / "root"),
        components=[*importers.values(), step],
        metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
        enable_cache=True,
    )
    LocalDagRunner().run(pipeline)


def test_in_a_pipeline_an_unrecorded_push_is_not_repeated(
    inputs: Inputs, serving: Path, key: Path, tmp_path: Path
) -> None:
    run_in_pipeline(inputs, tmp_path)
    version, provenance = only_version(serving)
    # As after a run that was killed before it recorded its push.
    (tmp_path / "metadata.sqlite").unlink()
    run_in_pipeline(inputs, tmp_path)
    assert only_version(serving) == (version, provenance)


def test_in_a_pipeline_only_a_deleted_or_changed_version_is_pushed_again(
    inputs: Inputs, serving: Path, key: Path, tmp_path: Path
) -> None:
    run_in_pipeline(inputs, tmp_path)
    version, provenance = only_version(serving)
    assert provenance.origin.pipeline_run
    assert provenance.origin.ingredients == with_transform_graph(tmp_path)
    assert [gate.gate for gate in provenance.origin.gates] == [f"Gate of {key}" for key in VERDICT_KEYS]
    (archive,) = (tmp_path / "root").glob("AtomicPusher/pushed_model/*")
    assert weights_of(archive) == "plain"
    run_in_pipeline(inputs, tmp_path)
    assert list_versions(serving) == [version]
    shutil.rmtree(version.directory)
    run_in_pipeline(inputs, tmp_path)
    version, _ = only_version(serving)
    run_in_pipeline(inputs, tmp_path)
    assert list_versions(serving) == [version]
    (version.directory / "saved_model.pb").write_bytes(b"changed")
    run_in_pipeline(inputs, tmp_path)
    assert newest_usable(serving, TrustPolicy(key)) == list_versions(serving)[1]
