import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.compiler import Compiler
from kfp.components import load_component_from_file
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.beam.options import direct_runner_args
from pipeline.kubeflow.compile.checks import CompileError
from pipeline.kubeflow.compile.compiler import compile_pipeline
from pipeline.settings.settings import load_settings, parse_assignments
from pipeline.settings.tuned import write_tuned

VERTEX = ("kubeflow.vertex_root=gs://bucket/root", "kubeflow.serving_store=gs://bucket/serving")
BEAM_STEPS = {
    *("MnistExampleGen", "StatisticsGen", "Transform"),
    *("Evaluator", "CorruptedExampleGen", "RobustnessEvaluator"),
}


def compiled(*assignments: str, target: Any = "kfp") -> list[dict[str, Any]]:
    settings = load_settings(parse_assignments(("profile=smoke", *assignments)), file=Path(os.devnull))
    return list(yaml.safe_load_all(compile_pipeline(settings, target)))


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def containers(spec: dict[str, Any]) -> dict[str, Any]:
    executors = spec["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): executor["container"] for label, executor in executors.items()}


def test_the_sdk_loads_the_file_and_recompiles_it_unchanged(compiled_smoke: str, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(compiled_smoke)
    component = load_component_from_file(str(tmp_path / "pipeline.yaml"))
    Compiler().compile(component, str(tmp_path / "again.yaml"))
    documents = list(yaml.safe_load_all(compiled_smoke))
    assert len(documents) == 2
    assert list(yaml.safe_load_all((tmp_path / "again.yaml").read_text())) == documents


def test_compilation_is_reproducible(compiled_smoke: str) -> None:
    assert compile_pipeline(load_settings({"profile": "smoke"}, file=Path(os.devnull)), "kfp") == compiled_smoke


def test_kfp_and_argo_accept_the_names_and_the_kinds_of_steps(compiled_spec: dict[str, Any]) -> None:
    executors = compiled_spec["deploymentSpec"]["executors"]
    json_format.ParseDict(compiled_spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    for name, task in tasks(compiled_spec).items():
        # Argo accepts 128 characters; KFP appends "-driver".
        assert re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,120}", name)
        assert f"{name}-driver" not in tasks(compiled_spec)
        assert task["componentRef"]["name"] not in ("root", "entrypoint")
        assert set(executors[f"{name}_executor"]) == {"container"}


def test_every_input_of_a_step_has_a_source(compiled_spec: dict[str, Any]) -> None:
    components, parameters = compiled_spec["components"], compiled_spec["root"]["inputDefinitions"]["parameters"]
    for name, task in tasks(compiled_spec).items():
        assert set(task.get("dependentTasks", [])) <= set(tasks(compiled_spec))
        inputs = task["inputs"]
        for source in inputs.get("artifacts", {}).values():
            output = source["taskOutputArtifact"]
            assert output["outputArtifactKey"] in components[output["producerTask"]]["outputDefinitions"]["artifacts"]
        definitions = components[name]["inputDefinitions"]
        assert set(inputs.get("artifacts", {})) == set(definitions.get("artifacts", {}))
        assert set(inputs["parameters"]) == set(definitions["parameters"])
        for source in inputs["parameters"].values():
            assert source.get("componentInputParameter", "epochs") in parameters
    assert all("defaultValue" in definition for definition in parameters.values())


def test_arguments_stay_far_below_the_limit_of_linux(compiled_spec: dict[str, Any]) -> None:
    # KFP passes these parts, and the executor input, as one argument of up to 128 KiB each.
    for name, task in tasks(compiled_spec).items():
        for part in (task, compiled_spec["components"][name], containers(compiled_spec)[name]):
            assert len(json.dumps(part)) < 32 * 1024


def test_steps_that_read_more_than_their_inputs_or_have_none_are_not_cached(compiled_spec: dict[str, Any]) -> None:
    cached = {
        name for name, task in tasks(compiled_spec).items() if task.get("cachingOptions") == {"enableCache": True}
    }
    uncached = {"MnistExampleGen", "ImportSchemaGen", "DataGate", "BaselineModel", "Pusher"}
    assert set(tasks(compiled_spec)) - cached == uncached
    [spec, _] = compiled("enable_cache=false")
    assert not any("cachingOptions" in task for task in tasks(spec).values())


def test_training_and_later_steps_wait_for_the_data_gate(compiled_spec: dict[str, Any]) -> None:
    conditional = {}
    for name, task in tasks(compiled_spec).items():
        if "triggerPolicy" in task:
            assert "DataGate" in task["dependentTasks"]
            [key] = [
                key
                for key, source in task["inputs"]["artifacts"].items()
                if source["taskOutputArtifact"] == {"producerTask": "DataGate", "outputArtifactKey": "verdict"}
            ]
            # Numbers of a Struct are doubles, and CEL compares no double with an int.
            passed = "0.0" if name == "DataReport" else "1.0"
            condition = f"(inputs.artifacts['{key}'].artifacts[0].metadata['passed'] == {passed})"
            assert task["triggerPolicy"] == {"condition": condition}
            conditional[name] = key
    before = {"MnistExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "DataGate"}
    assert set(conditional) == set(tasks(compiled_spec)) - before
    assert conditional["Pusher"] == "data_verdict"


def test_every_container_runs_our_entry_point_in_the_image_of_the_run(compiled_spec: dict[str, Any]) -> None:
    for name, container in containers(compiled_spec).items():
        assert container["image"] == "{{$.inputs.parameters['image']}}"
        assert tasks(compiled_spec)[name]["inputs"]["parameters"]["image"] == {"componentInputParameter": "image"}
        definitions = compiled_spec["components"][name]["inputDefinitions"]["parameters"]
        assert definitions["image"] == {"parameterType": "STRING"}
        assert container["command"] == ["python", "-m", "pipeline.kubeflow.step.entrypoint"]
        assert "lifecycle" not in container


def test_only_beam_steps_receive_beam_options(compiled_spec: dict[str, Any]) -> None:
    with_options = {name for name, each in containers(compiled_spec).items() if "--runner=FnApiRunner" in each["args"]}
    assert with_options == BEAM_STEPS
    for name in BEAM_STEPS:
        [*_, args] = [containers(compiled_spec)[name]["args"]]
        assert [each for each in args if each in direct_runner_args()] == direct_runner_args()
    assert containers(compiled_spec)["DataGate"]["args"][-2] == "--json_serialized_inputs_spec_args"


def test_files_of_the_project_have_their_path_in_the_image(compiled_spec: dict[str, Any]) -> None:
    inputs = {name: task["inputs"]["parameters"] for name, task in tasks(compiled_spec).items()}
    assert inputs["ImportSchemaGen"]["schema_file"]["runtimeValue"]["constant"] == "data/schema.pbtxt"
    example_gen = {
        key: value["runtimeValue"]["constant"]
        for key, value in inputs["MnistExampleGen"].items()
        if "runtimeValue" in value
    }
    assert (example_gen["uri"], example_gen["span"], example_gen["fingerprint"]) == ("data/mnist.npz", -1, "")
    assert inputs["BaselineModel"]["serving_directory"]["runtimeValue"]["constant"] == "/digits/serving/digits-smoke"


def test_the_trials_behind_tuned_hyperparameters_come_from_the_local_workspace(tmp_path: Path) -> None:
    trials = [{"trial": 1, "eval_loss": 0.5, "eval_accuracy": 0.9, "learning_rate": 0.02}]
    settings = {"profile": "smoke", "workspace": str(tmp_path)}
    write_tuned(load_settings(settings, file=Path(os.devnull)), trials)
    tuned = load_settings({**settings, "tuned": True}, file=Path(os.devnull))
    spec, _ = yaml.safe_load_all(compile_pipeline(tuned, "kfp"))
    constant = tasks(spec)["RunReport"]["inputs"]["parameters"]["trials"]["runtimeValue"]["constant"]
    assert json.loads(constant) == trials


def test_pusher_receives_the_run_id(compiled_spec: dict[str, Any]) -> None:
    pusher = tasks(compiled_spec)["Pusher"]["inputs"]["parameters"]
    assert pusher["pipeline_run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}


@pytest.mark.parametrize(
    ("assignments", "key"), [((), ""), (("kubeflow.signing_secret=key",), "/digits/signing/private_key.pem")]
)
def test_pusher_signs_with_the_key_of_the_secret_only(assignments: tuple[str, ...], key: str) -> None:
    [spec, _] = compiled(*assignments)
    pusher = tasks(spec)["Pusher"]["inputs"]["parameters"]
    assert pusher["private_key"] == {"runtimeValue": {"constant": key}}


def test_failed_steps_are_retried(compiled_spec: dict[str, Any]) -> None:
    policy = {"maxRetryCount": 2, "backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "86400s"}
    assert all(task["retryPolicy"] == policy for task in tasks(compiled_spec).values())
    [spec, _] = compiled("kubeflow.retries.max_retries=0")
    assert not any("retryPolicy" in task for task in tasks(spec).values())


def test_resources() -> None:
    [spec, _] = compiled(
        *("kubeflow.cpu=", "kubeflow.memory=2Gi", "kubeflow.gpu_count=2"),
        *("kubeflow.resources.Trainer.cpu=4", "kubeflow.resources.Evaluator.memory=6Gi"),
    )
    found = {name: container["resources"] for name, container in containers(spec).items()}
    assert found.pop("Trainer") == {
        "resourceCpuRequest": "4",
        "resourceMemoryRequest": "2Gi",
        "resourceMemoryLimit": "2Gi",
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"},
    }
    assert found.pop("Evaluator") == {"resourceMemoryRequest": "6Gi", "resourceMemoryLimit": "6Gi"}
    assert all(each == {"resourceMemoryRequest": "2Gi", "resourceMemoryLimit": "2Gi"} for each in found.values())


def test_steps_that_use_versions_receive_the_serving_store() -> None:
    [spec, platform] = compiled("kubeflow.serving_store=s3://bucket/models")
    with_store = {
        name for name, each in containers(spec).items() if "--serving_store=s3://bucket/models" in each["args"]
    }
    assert with_store == {"DataGate", "BaselineModel", "Pusher"}
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert not any("pvcMount" in each for each in executors.values())


def test_a_seed_that_kfp_would_change_is_refused() -> None:
    with pytest.raises(CompileError, match="^step MnistExampleGen: seed is 9007199254740992, .* below 2\\^53 exactly"):
        compiled("data.seed=9007199254740993")


def test_the_vertex_ai_job() -> None:
    [job] = compiled(*VERTEX, "kubeflow.gpu_count=1", "kubeflow.gpu_type=NVIDIA_TESLA_T4", target="vertex")
    assert job["displayName"] == "digits-smoke"
    assert job["runtimeConfig"] == {"gcsOutputDirectory": "gs://bucket/root"}
    spec = job["pipelineSpec"]
    assert spec["schemaVersion"] == "2.1.0"
    assert "image" not in spec["root"]["inputDefinitions"]["parameters"]
    assert spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"] == 4
    assert {each["image"] for each in containers(spec).values()} == {"digit-classifier:0.1.0"}
    assert containers(spec)["Trainer"]["resources"] == {
        "cpuLimit": 1.0,
        "memoryLimit": pytest.approx(4.294967296),
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"},
    }
    assert "--serving_store=gs://bucket/serving" in containers(spec)["Pusher"]["args"]
