import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tfx.utils.name_utils import get_full_name

from components.features import ORIGINAL_URI_KEY
from components.run_report.component import ReportArtifact
from components.run_report.report import HTML_FILE
from components.verdict_artifact import VerdictArtifact
from pipeline.kubeflow.step.executor_messages import (
    HTML_TITLE,
    LocalInput,
    apply_overrides,
    globalize,
    localize,
)
from pipeline.kubeflow.step.failure import KubeflowStepError

POD = Path("/pod")
ROOT = "minio://mlpipeline/v2/artifacts/digits/run-1/Evaluator/uuid"
MODEL_TYPE = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
VERDICT_TYPE = {"instanceSchema": f"title: {VerdictArtifact.TYPE_NAME}\ntype: object\n"}

BOUNDS = {
    "accuracy": {"metric": "accuracy", "lower": 0.9},
    "log_loss": {"metric": "log_loss", "upper": 0.5, "max_worsening": None},
}
PROPERTIES = {
    "uri": "data/mnist.npz",
    "span": 0,
    "bounds": json.dumps(BOUNDS),
    "custom_config": json.dumps({"hyperparameters": {"epochs": 3}, "seed": 1}),
}
TYPES = {"epochs": "NUMBER_INTEGER", "data_span": "NUMBER_INTEGER", "min_accuracy": "NUMBER_DOUBLE"}

Json = dict[str, Any]


def artifact(uri: str, artifact_type: Json | None = None, **metadata: Any) -> Json:
    """One artifact from the driver: inputs have lost their types."""
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
    assert executor_input == before
    return local


def test_uris_become_paths_in_the_pod(executor_input: Json) -> None:
    local = localized(executor_input)
    assert [key for key, _ in local.outputs] == ["verdict"], "the executor does not write its logs"
    paths = "/pod/minio/mlpipeline/other/model", f"/pod/minio/{ROOT.removeprefix('minio://')}/verdict"
    assert (dict(local.inputs)["model"]["uri"], dict(local.outputs)["verdict"]["uri"]) == paths
    assert local.uris == dict(zip(paths, ("minio://mlpipeline/other/model", f"{ROOT}/verdict"), strict=True))
    assert local.output_file == Path(f"/pod/minio/{ROOT.removeprefix('minio://')}/output_metadata.json")
    assert dict(local.inputs)["model"]["metadata"] == {ORIGINAL_URI_KEY: "minio://mlpipeline/other/model"}


@pytest.mark.parametrize(("scheme", "mount"), [("gs", "gcs"), ("s3", "s3"), ("minio", "minio")])
def test_each_store_has_its_own_folder(scheme: str, mount: str, executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact(f"{scheme}://bucket/model")
    executor_input["outputs"]["outputFile"] = "/pod/minio/output_metadata.json"
    local = localized(executor_input)
    assert dict(local.inputs)["model"]["uri"] == f"/pod/{mount}/bucket/model"
    assert local.output_file == Path("/pod/minio/output_metadata.json")


@pytest.mark.parametrize("uri", ["hdfs://name/model", "/mnt/model", ""])
def test_uri_that_the_launcher_does_not_download_is_refused(uri: str, executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact(uri)
    message = f"^{uri}: expected the URI of an artifact to start with one of minio://, s3://, gs://; start the run"
    with pytest.raises(KubeflowStepError, match=message):
        localized(executor_input)


def test_types_are_restored(executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["data_verdict"] = artifact("minio://mlpipeline/verdict")
    local = localized(executor_input)
    verdict_type = {"schemaTitle": get_full_name(VerdictArtifact)}
    assert {key: found["type"] for key, found in local.inputs} == {"model": MODEL_TYPE, "data_verdict": verdict_type}
    assert dict(local.outputs)["verdict"]["type"] == verdict_type


def test_the_user_interface_can_show_the_page_of_a_report(executor_input: Json) -> None:
    executor_input["outputs"]["artifacts"]["report"] = artifact(f"{ROOT}/report", {"schemaTitle": HTML_TITLE})
    local = localized(executor_input)
    found = dict(local.outputs)["report"]
    assert found["type"] == {"schemaTitle": get_full_name(ReportArtifact)}
    result = globalize({"artifacts": {"report": {"artifacts": [found]}}}, local.uris, {})
    assert result["artifacts"]["report"]["artifacts"][0]["uri"] == f"{ROOT}/report/{HTML_FILE}"


def test_metadata_is_unwrapped_once(executor_input: Json) -> None:
    metadata: Json = {
        "blessed": {"struct": {"train": 1.0}},
        "splits": {"list": ["train", "eval"]},
        "nested": {"struct": {"list": [1.0]}},
        "two": {"list": [], "struct": {}},
        "display_name": "model",
    }
    executor_input["inputs"]["artifacts"]["model"] = artifact("minio://mlpipeline/model", **metadata)
    found = dict(localized(executor_input).inputs)["model"]["metadata"]
    del found[ORIGINAL_URI_KEY]
    assert found == {
        "blessed": {"train": 1.0},
        "splits": ["train", "eval"],
        "nested": {"list": [1.0]},
        "two": {"list": [], "struct": {}},
        "display_name": "model",
    }


def test_input_of_a_condition_is_dropped(executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["_DataGate.verdict"] = artifact("minio://mlpipeline/verdict")
    assert [key for key, _ in localized(executor_input).inputs] == ["model"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"uri": "data/{SPAN}/mnist.npz"}, {"uri": "/app/data/{SPAN}/mnist.npz"}),
        ({"schema_file": "data/schema.pbtxt"}, {"schema_file": "/app/data/schema.pbtxt"}),
        ({"uri": "/claim/mnist.npz"}, {"uri": "/claim/mnist.npz"}),
        ({"uri": "s3://bucket/mnist.npz"}, {"uri": "s3://bucket/mnist.npz"}),
        ({"gate": "data/mnist.npz"}, {"gate": "data/mnist.npz"}),
        ({"uri": "data/mnist.npz", "data_uri": "data/other.npz"}, {"uri": "/app/data/other.npz"}),
    ],
)
def test_relative_paths_of_data_and_schema_refer_to_the_project(
    parameters: Json, expected: Json, executor_input: Json
) -> None:
    executor_input["inputs"]["parameterValues"] = parameters
    overrides = ["uri=data_uri"] if "data_uri" in parameters else []
    assert localized(executor_input, overrides=overrides).parameters == expected


def test_run_id_is_not_an_execution_property(executor_input: Json) -> None:
    executor_input["inputs"]["parameterValues"]["pipeline_run_id"] = "run-1"
    local = localized(executor_input)
    assert (local.pipeline_run_id, local.parameters) == ("run-1", {"gate": "Evaluator"})


def test_step_without_inputs(executor_input: Json) -> None:
    del executor_input["inputs"]
    local = localized(executor_input)
    assert (local.inputs, local.parameters) == ([], {})


def test_gs_uris_are_kept_for_workers_outside_the_pod_except_verdicts(executor_input: Json) -> None:
    executor_input["inputs"]["artifacts"]["model"] = artifact("gs://bucket/model")
    executor_input["inputs"]["artifacts"]["data_verdict"] = artifact("gs://bucket/verdict")
    local = localized(executor_input, keep_gs_uris=True)
    assert {key: found["uri"] for key, found in local.inputs} == {
        "model": "gs://bucket/model",
        "data_verdict": "/pod/gcs/bucket/verdict",
    }
    assert dict(local.outputs)["verdict"]["uri"].startswith("/pod/minio/"), "only gs:// is kept"
    assert "gs://bucket/model" not in local.uris


def applied(overrides: list[str], **run_parameters: Any) -> dict[str, Any]:
    return apply_overrides({**PROPERTIES, **run_parameters}, overrides, TYPES)


def test_run_parameter_replaces_a_property() -> None:
    changed = applied(["uri=data_uri", "span=data_span"], data_uri="s3://bucket/data", data_span=7.0)
    assert changed == {**PROPERTIES, "uri": "s3://bucket/data", "span": 7}
    assert isinstance(changed["span"], int)


def test_values_in_json_are_replaced() -> None:
    overrides = [
        "custom_config.hyperparameters.epochs=epochs",
        "bounds.accuracy.lower=min_accuracy",
        "bounds.log_loss.upper=loss",
    ]
    changed = applied(overrides, epochs=5.0, min_accuracy=1.0, loss=0.25)
    assert json.loads(changed["custom_config"]) == {"hyperparameters": {"epochs": 5}, "seed": 1}
    assert '"epochs": 5}' in changed["custom_config"], "a fraction would be refused"
    assert json.loads(changed["bounds"]) == {
        "accuracy": {**BOUNDS["accuracy"], "lower": 1.0},
        "log_loss": {**BOUNDS["log_loss"], "upper": 0.25},
    }
    assert set(changed) == set(PROPERTIES)


def test_other_parameters_are_kept() -> None:
    assert applied([], data_uri="unused") == {**PROPERTIES, "data_uri": "unused"}
    assert applied(["uri=uri"]) == PROPERTIES, "a parameter may have the name of its property"


@pytest.mark.parametrize("override", ["uri=data_url", "uri", "=data_uri", ""])
def test_override_without_its_parameter_is_refused(override: str) -> None:
    with pytest.raises(
        KubeflowStepError,
        match=f"^--override={override}: expected PROPERTY=PARAMETER with a parameter of this step "
        r"\(bounds, custom_config, data_uri, span, uri\); compile the pipeline again\.$",
    ):
        applied([override], data_uri="x")


@pytest.mark.parametrize(
    "target",
    [
        "bounds.recall.lower",
        "bounds.lower",
        "bounds.accuracy.upper",
        "bounds.accuracy.lower.x",
        "uri.key",
        "span.key",
        "absent.key",
    ],
)
def test_override_of_a_missing_value_is_refused(target: str) -> None:
    name = target.partition(".")[0]
    with pytest.raises(
        KubeflowStepError,
        match=f"^--override={target}=value: there is no such value in the execution property '{name}'; compile the",
    ):
        applied([f"{target}=value"], value=1)


@pytest.mark.parametrize("value", [2.5, "3", True])
def test_integer_parameter_must_be_a_whole_number(value: Any) -> None:
    with pytest.raises(
        KubeflowStepError, match=f"^parameter epochs: expected a whole number, not {value!r}; start the"
    ):
        applied(["custom_config.hyperparameters.epochs=epochs"], epochs=value)


def test_globalized_output_has_uris_and_file_counts_and_no_empty_metadata() -> None:
    uris = {
        "/minio/run/Evaluator/uuid/blessing": "minio://run/Evaluator/uuid/blessing",
        "/minio/run/Trainer/uuid/model": "minio://run/Trainer/uuid/model",
        "/digits/serving/digits": "s3://bucket/serving/digits",
    }
    unchanged = {
        "longer name": "/minio/run/Trainer/uuid/model-2",
        "inside text": "see /minio/run/Trainer/uuid/model",
        "uri": "/app/data/mnist.npz",
        "passed": 1.0,
        "version": "",
    }
    metadata = {
        "current_model": "/minio/run/Trainer/uuid/model",
        "export": "/minio/run/Trainer/uuid/model/Format-Serving",
        "nested": {"models": ["/minio/run/Trainer/uuid/model", 1.0]},
        "pushed_destination": "/digits/serving/digits/17",
        "without value": None,
        **unchanged,
    }
    blessing = {"name": "blessing", "uri": "/minio/run/Evaluator/uuid/blessing", "metadata": metadata}
    output = {"artifacts": {"blessing": {"artifacts": [blessing]}}}
    before = copy.deepcopy(output)
    [found] = globalize(output, uris, {"blessing": 2, "other": 5})["artifacts"]["blessing"]["artifacts"]
    assert output == before
    assert found == {
        "name": "blessing",
        "uri": "minio://run/Evaluator/uuid/blessing",
        "metadata": {
            "current_model": "minio://run/Trainer/uuid/model",
            "export": "minio://run/Trainer/uuid/model/Format-Serving",
            "nested": {"models": ["minio://run/Trainer/uuid/model", 1.0]},
            "pushed_destination": "s3://bucket/serving/digits/17",
            "num_files": 2,
            **unchanged,
        },
    }
    [kept] = globalize(output, uris, {})["artifacts"]["blessing"]["artifacts"]
    assert "num_files" not in kept["metadata"]
