import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto import pusher_pb2
from tfx.types import Artifact, Channel
from tfx.types.artifact_utils import encode_split_names
from tfx.types.standard_artifacts import Examples, ExampleStatistics, InfraBlessing, Model, ModelBlessing, PushedModel
from tfx.utils.proto_utils import proto_to_json

from components.pusher import component as pusher
from components.pusher.component import AtomicPusher, Driver, Executor, gate_record
from components.verdict import Finding, Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.provenance import (
    DataOrigin,
    GateRecord,
    Ingredients,
    Origin,
    Provenance,
    model_fingerprint,
    read_provenance,
)
from registry.publishing import PublishingError, prune, publish, roll_back
from registry.versions import TRAIN_STATISTICS_FILE, Version, list_versions

INGREDIENTS = Ingredients(data=DataOrigin(uri="/data/span-3", span=3, fingerprint="ab"), code={"Trainer": "cd"})
VERDICTS = ("data_verdict", "evaluation_verdict", "robustness_verdict", "serving_verdict")
BLESSINGS = ("model_blessing", "infra_blessing", "infra_validator_blessing")

Inputs = dict[str, list[Artifact]]


def make_artifact(directory: Path, kind: type[Artifact]) -> Artifact:
    directory.mkdir(parents=True)
    artifact = kind()
    artifact.uri = str(directory)
    return artifact


def make_model(directory: Path, weights: str) -> Path:
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "variables.index").write_text(weights)
    return directory


def make_verdict(directory: Path, gate: str, *, passed: bool) -> Artifact:
    artifact = make_artifact(directory, VerdictArtifact)
    findings = (
        Finding("accuracy", "all", passed=passed, value=0.995, lower_bound=0.99),
        Finding("recall", "digit 7", passed=True, value=0.98),
    )
    publish_verdict(Verdict(gate, findings, "Train longer."), artifact)
    return artifact


def bless(blessing: Artifact, *, blessed: bool) -> Artifact:
    blessing.set_int_custom_property("blessed", int(blessed))
    return blessing


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Everything that AtomicPusher takes, and nothing in it that speaks against the model."""
    artifacts = {
        "model": make_artifact(tmp_path / "model", Model),
        "examples": make_artifact(tmp_path / "examples", Examples),
        "statistics": make_artifact(tmp_path / "statistics", ExampleStatistics),
        "model_blessing": bless(make_artifact(tmp_path / "blessing", ModelBlessing), blessed=True),
        "infra_blessing": bless(make_artifact(tmp_path / "infra", InfraBlessing), blessed=True),
        "infra_validator_blessing": bless(make_artifact(tmp_path / "validator", InfraBlessing), blessed=True),
        **{key: make_verdict(tmp_path / key, f"Gate of {key}", passed=True) for key in VERDICTS},
    }
    make_model(tmp_path / "model" / "Format-Serving", "plain")
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
def push(tmp_path: Path, serving: Path) -> Callable[[Inputs], Artifact]:
    """Runs the executor the way TFX does and returns the artifact that it filled."""

    attempts = itertools.count(1)

    def run(inputs: Inputs) -> Artifact:
        pushed_model = make_artifact(tmp_path / f"pushed-{next(attempts)}", PushedModel)
        properties = {
            "push_destination": proto_to_json(destination(serving)),
            "code": '{"Trainer": "cd"}',
        }
        Executor(BaseExecutor.Context(pipeline_run_id="run 1")).Do(inputs, {"pushed_model": [pushed_model]}, properties)
        return pushed_model

    return run


def destination(serving: Path | str) -> pusher_pb2.PushDestination:
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(serving))
    return pusher_pb2.PushDestination(filesystem=filesystem)


def only_version(serving: Path) -> tuple[Version, Provenance]:
    (version,) = list_versions(serving)
    provenance = read_provenance(version.directory)
    assert provenance
    return version, provenance


def test_a_model_that_nothing_speaks_against_is_pushed(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path, tmp_path: Path
) -> None:
    pushed_model = push(inputs)
    version, provenance = only_version(serving)
    assert pushed_model.get_int_custom_property("pushed") == 1
    assert pushed_model.get_string_custom_property("pushed_destination") == str(version.directory)
    assert pushed_model.get_string_custom_property("pushed_version") == str(version.number)
    assert (Path(pushed_model.uri) / "variables" / "variables.index").read_text() == "plain"
    assert (version.directory / TRAIN_STATISTICS_FILE).read_text() == "statistics of train"
    assert provenance.model_fingerprint == model_fingerprint(tmp_path / "model" / "Format-Serving")
    assert TRAIN_STATISTICS_FILE in provenance.files


def test_provenance_says_where_the_model_comes_from(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path, tmp_path: Path
) -> None:
    push(inputs)
    _, provenance = only_version(serving)
    assert provenance.origin.pipeline_run == "run 1"
    assert provenance.origin.model_uri == str(tmp_path / "model")
    assert provenance.origin.ingredients == INGREDIENTS
    metrics = {"accuracy": {"all": 0.995}, "recall": {"digit 7": 0.98}}
    assert provenance.origin.gates == tuple(
        GateRecord(gate=f"Gate of {key}", passed=True, metrics=metrics) for key in VERDICTS
    )


def test_provenance_names_the_artifact_and_not_the_copy_that_the_step_sees(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path
) -> None:
    inputs["model"][0].set_string_custom_property("original_uri", "minio://mlpipeline/model")
    push(inputs)
    _, provenance = only_version(serving)
    assert provenance.origin.model_uri == "minio://mlpipeline/model"


def test_a_step_that_is_tried_again_after_it_has_pushed_pushes_nothing_more(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path
) -> None:
    first, second = push(inputs), push(inputs)
    version, _ = only_version(serving)
    for pushed_model in (first, second):
        assert pushed_model.get_int_custom_property("pushed") == 1
        assert pushed_model.get_string_custom_property("pushed_version") == str(version.number)
        assert pushed_model.get_string_custom_property("pushed_destination") == str(version.directory)


@pytest.mark.parametrize("key", [*VERDICTS, "model_blessing", "infra_blessing"])
@pytest.mark.parametrize("empty", [True, False])
def test_without_a_verdict_or_a_blessing_nothing_is_pushed(
    key: str, empty: bool, inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path
) -> None:
    # Kubeflow leaves absent inputs out, or gives empty lists for them.
    without = {name: artifacts for name, artifacts in inputs.items() if name != key}
    pushed_model = push({**without, key: []} if empty else without)
    assert pushed_model.get_int_custom_property("pushed") == 0
    assert not serving.exists()


def test_infra_validator_may_be_switched_off(inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path) -> None:
    del inputs["infra_validator_blessing"]
    assert push(inputs).get_int_custom_property("pushed") == 1
    assert only_version(serving)


def test_the_cache_sees_what_was_pushed_in_between(inputs: Inputs, serving: Path, tmp_path: Path) -> None:
    metadata = Metadata(sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")))
    candidate = inputs["model"][0]
    info = ExecutionInfo(
        input_dict={"model": [candidate]}, exec_properties={"push_destination": proto_to_json(destination(serving))}
    )
    models = {"candidate": Path(candidate.uri) / "Format-Serving", "other": make_model(tmp_path / "other", "other")}

    runs = iter(range(100))

    def identity_after(*steps: str) -> str:
        for step in steps:
            if step == "rollback":
                roll_back(serving, None)
            elif step == "prune":
                assert prune(serving, keep=1)
            else:
                publish(models[step], serving, {}, Origin(pipeline_run=f"run {next(runs)}"))
        return Driver(metadata).run(info).exec_properties["baseline"].string_value

    assert identity_after() == identity_after("candidate") == "", "a repeated first run changes nothing"
    assert identity_after("other", "candidate") == "run 1"
    assert identity_after("candidate") == "run 1", "nor does a repeated later one"
    assert identity_after("rollback") == "run 1", "a person's rollback is not undone"
    assert identity_after("prune") == "run 1", "nor is it when the original is gone"
    assert identity_after("rollback", "rollback") == "run 1", "nor if they change their mind twice"
    assert identity_after("other") == "run 4", "a model that comes back is pushed again"


@pytest.mark.parametrize("key", [*VERDICTS, *BLESSINGS])
def test_each_refusal_alone_keeps_the_model_back(
    key: str,
    inputs: Inputs,
    push: Callable[[Inputs], Artifact],
    serving: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if key in VERDICTS:
        inputs[key] = [make_verdict(tmp_path / "refusal", "The gate", passed=False)]
    else:
        bless(inputs[key][0], blessed=False)
    with caplog.at_level(logging.INFO, logger="components.pusher.component"):
        pushed_model = push(inputs)
    assert pushed_model.get_int_custom_property("pushed") == 0
    assert not pushed_model.has_custom_property("pushed_version")
    assert not serving.exists()
    assert list(Path(pushed_model.uri).iterdir()) == []
    reasons = {"infra_validator_blessing": "InfraValidator did not bless the model"}
    reason = "The gate refused" if key in VERDICTS else reasons.get(key, "the model is not blessed")
    assert [record.message for record in caplog.records if record.name == "components.pusher.component"] == [
        f"not pushed: {reason}"
    ]


def test_the_copy_with_warm_up_requests_is_pushed(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path, tmp_path: Path
) -> None:
    stamped = make_model(tmp_path / "infra" / "stamped_model", "plain")
    (stamped / "assets.extra").mkdir()
    (stamped / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    inputs["infra_blessing"][0].set_int_custom_property("has_model", 1)
    push(inputs)
    version, provenance = only_version(serving)
    assert (version.directory / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"requests"
    assert provenance.model_fingerprint == model_fingerprint(tmp_path / "model" / "Format-Serving")
    assert provenance.origin.model_uri == str(tmp_path / "model")


def test_nothing_is_published_by_a_push_that_fails(
    inputs: Inputs, push: Callable[[Inputs], Artifact], serving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space for the archive")

    monkeypatch.setattr(pusher.io_utils, "copy_dir", fail)
    with pytest.raises(OSError, match="no space for the archive"):
        push(inputs)
    assert list_versions(serving) == []


def test_what_is_kept_of_a_verdict() -> None:
    findings = (
        Finding("accuracy", "all", passed=True, value=0.995),
        Finding("accuracy", "digit 3", passed=True, value=1),
        Finding("drift", "train", passed=True, value=0.01, feature="label"),
        Finding("drift", "train", passed=False, value=0.2, feature="image"),
        Finding("shape", "train", passed=True, value="28x28", feature="image"),
        Finding("comparison", "all", passed=True),
    )
    assert gate_record(Verdict("Gate", findings, "")) == GateRecord(
        gate="Gate",
        passed=False,
        metrics={
            "accuracy": {"all": 0.995, "digit 3": 1},
            "drift of label": {"train": 0.01},
            "drift of image": {"train": 0.2},
        },
    )


@pytest.mark.parametrize(
    ("push_destination", "error", "message"),
    [
        (destination("gs://bucket/serving"), PublishingError, "gs://bucket/serving: expected a folder of this machine"),
        (pusher_pb2.PushDestination(), ValueError, "push_destination: expected a `filesystem` with a `base_directory`"),
        (destination(""), ValueError, "push_destination: expected a `filesystem` with a `base_directory`"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_when_the_pipeline_is_built(
    push_destination: pusher_pb2.PushDestination, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AtomicPusher(
            Channel(type=Model),
            push_destination,
            {"Trainer": "cd"},
            model_blessing=Channel(type=ModelBlessing),
            infra_blessing=Channel(type=InfraBlessing),
            examples=Channel(type=Examples),
            statistics=Channel(type=ExampleStatistics),
            data_verdict=Channel(type=VerdictArtifact),
            evaluation_verdict=Channel(type=VerdictArtifact),
            robustness_verdict=Channel(type=VerdictArtifact),
            serving_verdict=Channel(type=VerdictArtifact),
        )
