import copy
from pathlib import Path
from typing import Any

import pytest

from components.original_uri import ORIGINAL_URI_KEY
from pipeline.kubeflow.step.executor_input import LocalInput, localize
from pipeline.kubeflow.step.failure import KubeflowStepError

POD = Path("/pod")
ROOT = "minio://mlpipeline/v2/artifacts/digits/run-1/Evaluator/uuid"
MODEL_TYPE = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
VERDICT_TYPE = {"instanceSchema": "title: digits.Verdict\ntype: object\n"}

Json = dict[str, Any]


def artifact(uri: str, artifact_type: Json | None = None, **metadata: Any) -> Json:
    """One artifact, as the driver hands it over: inputs have lost their types."""
    found = {"uri": uri, "metadata": metadata, "type": artifact_type or {"instanceSchema": ""}, "name": "17"}
    return {"artifacts": [found]}


@pytest.fixture
def executor_input() -> Json:
    return {
        "inputs": {
            "parameterValues": {"gate": "Evaluator"},
            "artifacts": {"model": artifact("minio://mlpipeline/other/model")},
        },
        "outputs": {
            "artifacts": {
                "verdict": artifact(f"{ROOT}/verdict", VERDICT_TYPE),
                "executor-logs": artifact(f"{ROOT}/executor-logs", {"schemaTitle": "system.Artifact"}),
            },
            "outputFile": "/minio/mlpipeline/v2/artifacts/digits/run-1/Evaluator/uuid/output_metadata.json",
        },
    }


def localized(executor_input: Json, **options: Any) -> LocalInput:
    spec = {
        "artifacts": {"model": {"artifactType": MODEL_TYPE}, "data_verdict": {"artifactType": VERDICT_TYPE}},
        "parameters": {"gate": {"parameterType": "STRING"}, "epochs": {"parameterType": "NUMBER_INTEGER"}},
    }
    before = copy.deepcopy(executor_input)
    local = localize(executor_input, spec, pod_root=POD, project_root=Path("/app"), **options)
    assert executor_input == before, "what the launcher gave is left as it is"
    return local


def test_f1_the_log_is_no_output_of_the_executor(executor_input: Json) -> None:
    assert set(localized(executor_input).outputs) == {"verdict"}


def test_f2_uris_become_the_paths_to_which_the_launcher_copies(executor_input: Json) -> None:
    local = localized(executor_input)
    paths = "/pod/minio/mlpipeline/other/model", f"/pod/minio/{ROOT.removeprefix('minio://')}/verdict"
    assert (local.inputs["model"][0]["uri"], local.outputs["verdict"][0]["uri"]) == paths
    assert local.uris == dict(zip(paths, ("minio://mlpipeline/other/model", f"{ROOT}/verdict"), strict=True))
    assert local.output_file == Path(f"/pod/minio/{ROOT.removeprefix('minio://')}/output_metadata.json")


@pytest.mark.parametrize(("scheme", "mount"), [("gs", "gcs"), ("s3", "s3"), ("minio", "minio")])
def test_f2_each_store_has_its_own_folder(scheme: str, mount: str, executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact(f"{scheme}://bucket/model")
    assert localized(executor_input).inputs["model"][0]["uri"] == f"/pod/{mount}/bucket/model"


@pytest.mark.parametrize("uri", ["hdfs://name/model", "/mnt/model", ""])
def test_f2_what_the_launcher_does_not_copy_is_refused(uri: str, executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact(uri)
    with pytest.raises(
        KubeflowStepError,
        match=f"^{uri}: expected the URI of an artifact to begin with one of minio://, s3://, gs://; start the run",
    ):
        localized(executor_input)


def test_f2_an_output_file_that_is_below_the_root_already_stays_there(executor_input: Json) -> None:
    executor_input["outputs"]["outputFile"] = "/pod/minio/output_metadata.json"
    assert localized(executor_input).output_file == Path("/pod/minio/output_metadata.json")


def test_f3_inputs_get_the_types_that_they_have_lost(executor_input: Json) -> None:
    assert localized(executor_input).inputs["model"][0]["type"] == MODEL_TYPE


def test_f3_verdicts_get_a_type_that_tfx_can_import(executor_input: Json) -> None:
    from tfx.utils.name_utils import get_full_name

    from components.verdict_artifact import VerdictArtifact

    executor_input["inputs"]["artifacts"]["data_verdict"] = artifact("minio://mlpipeline/verdict")
    local = localized(executor_input)
    for found in (local.inputs["data_verdict"], local.outputs["verdict"]):
        assert found[0]["type"] == {"schemaTitle": get_full_name(VerdictArtifact)}
    assert f"title: {VerdictArtifact.TYPE_NAME}\n" in VERDICT_TYPE["instanceSchema"]


def test_f8_lists_and_dictionaries_are_unwrapped_once(executor_input: Json) -> None:
    metadata: Json = {
        "blessed": {"struct": {"train": 1.0}},
        "splits": {"list": ["train", "eval"]},
        "nested": {"struct": {"list": [1.0]}},
        "two": {"list": [], "struct": {}},
        "display_name": "model",
    }
    executor_input["inputs"]["artifacts"]["model"] = artifact("minio://mlpipeline/model", **metadata)
    found = localized(executor_input).inputs["model"][0]["metadata"]
    del found["original_uri"]
    assert found == {
        "blessed": {"train": 1.0},
        "splits": ["train", "eval"],
        "nested": {"list": [1.0]},
        "two": {"list": [], "struct": {}},
        "display_name": "model",
    }


def test_what_only_a_condition_looks_at_is_no_input_of_the_executor(executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["_DataGate.verdict"] = artifact("minio://mlpipeline/verdict")
    assert set(localized(executor_input).inputs) == {"model"}


def test_inputs_keep_their_uri_for_whoever_records_it(executor_input: Json) -> None:
    metadata = localized(executor_input).inputs["model"][0]["metadata"]
    assert metadata[ORIGINAL_URI_KEY] == "minio://mlpipeline/other/model"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("uri", "data/mnist.npz", "/app/data/mnist.npz"),
        ("uri", "data/{SPAN}/mnist.npz", "/app/data/{SPAN}/mnist.npz"),
        ("schema_file", "data/schema.pbtxt", "/app/data/schema.pbtxt"),
        ("uri", "/claim/mnist.npz", "/claim/mnist.npz"),
        ("uri", "s3://bucket/mnist.npz", "s3://bucket/mnist.npz"),
        ("gate", "data/mnist.npz", "data/mnist.npz"),
    ],
)
def test_relative_paths_of_data_and_schema_are_in_the_project(
    name: str, value: str, expected: str, executor_input: Json
) -> None:
    executor_input["inputs"]["parameterValues"] = {name: value}
    assert localized(executor_input).parameters == {name: expected}


def test_a_run_may_name_data_in_the_project(executor_input: Json) -> None:
    executor_input["inputs"]["parameterValues"] = {"uri": "data/mnist.npz", "data_uri": "data/other.npz"}
    assert localized(executor_input, overrides=["uri=data_uri"]).parameters == {"uri": "/app/data/other.npz"}


def test_the_id_of_the_run_is_no_execution_property(executor_input: Json) -> None:
    executor_input["inputs"]["parameterValues"]["pipeline_run_id"] = "run-1"
    local = localized(executor_input)
    assert (local.pipeline_run_id, local.parameters) == ("run-1", {"gate": "Evaluator"})


def test_a_step_without_inputs_has_no_parameters_either(executor_input: Json) -> None:
    del executor_input["inputs"]
    assert (localized(executor_input).inputs, localized(executor_input).parameters) == ({}, {})


def test_gs_uris_stay_for_workers_elsewhere_but_verdicts_are_local(executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact("gs://bucket/model")
    executor_input["inputs"]["artifacts"]["data_verdict"] = artifact("gs://bucket/verdict")
    local = localized(executor_input, keep_gs_uris=True)
    assert local.inputs["model"][0]["uri"] == "gs://bucket/model"
    assert local.inputs["data_verdict"][0]["uri"] == "/pod/gcs/bucket/verdict"
    assert local.outputs["verdict"][0]["uri"].startswith("/pod/minio/"), "other stores are no matter of theirs"
    assert "gs://bucket/model" not in local.uris
