import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.compile.checks import CompileError, check_settings, check_spec
from pipeline.settings.settings import Settings, load_settings, parse_assignments

Spec = dict[str, Any]

VERTEX = ("kubeflow.vertex_root=gs://bucket/root", "kubeflow.serving_store=gs://bucket/serving")
WORKERS = ("beam.job_endpoint=jobs:8099", "beam.worker_pool=localhost:50000", "kubeflow.staging_claim=shared")
FLINK = ("beam.engine=flink", *WORKERS)
SPARK = ("beam.engine=spark", *WORKERS)
DATAFLOW = (
    *("beam.engine=dataflow", "beam.dataflow_project=my-project", "beam.dataflow_region=europe-west1"),
    *("beam.dataflow_temp_location=gs://bucket/temp", "beam.dataflow_image=digits:1"),
)


def load(*assignments: str) -> Settings:
    return load_settings(parse_assignments(assignments), file=Path(os.devnull))


@pytest.mark.parametrize(
    ("target", "assignments"),
    [
        ("kfp", ()),
        ("kfp", (*FLINK, "kubeflow.data_claim=mine")),
        ("kfp", SPARK),
        ("kfp", (*DATAFLOW, "kubeflow.gpu_count=1")),
        ("vertex", VERTEX),
        ("vertex", (*VERTEX, *DATAFLOW, "kubeflow.gpu_count=1", "kubeflow.gpu_type=NVIDIA_L4")),
    ],
)
def test_settings_that_the_target_can_run(target: Any, assignments: tuple[str, ...]) -> None:
    check_settings(load(*assignments), target)


@pytest.mark.parametrize(
    ("target", "assignments", "message"),
    [
        ("kfp", ("infra_validator.engine=docker",), "infra_validator.engine: TFX cannot compile InfraValidator"),
        ("kfp", FLINK[:-1], "kubeflow.staging_claim: not set, but the workers of flink cannot read files of the pods"),
        ("kfp", SPARK[:-1], "kubeflow.staging_claim: not set, but the workers of spark"),
        ("kfp", (*SPARK, "beam.worker_pool="), "beam.worker_pool: not set, but spark cannot reach workers in the pods"),
        (
            "kfp",
            ("kubeflow.data_claim=one", "kubeflow.staging_claim=one"),
            "kubeflow.staging_claim: KFP cannot mount a claim twice in one pod",
        ),
        (
            "kfp",
            ("kubeflow.data_claim=one", "kubeflow.staging_folder=/data"),
            "kubeflow.staging_folder: two volumes cannot have the same mount path",
        ),
        (
            "kfp",
            ("kubeflow.signing_secret=serving-folder",),
            "kubeflow.signing_secret: KFP cannot mount a secret and a claim of the same name",
        ),
        (
            "vertex",
            (*VERTEX, "kubeflow.signing_secret=key"),
            "kubeflow.signing_secret: Vertex AI cannot mount Kubernetes secrets",
        ),
        (
            "kfp",
            ("kubeflow.gpu_count=1", "kubeflow.gpu_type=NVIDIA_L4"),
            "kubeflow.gpu_type: NVIDIA_L4 is not a Kubernetes resource; expected DOMAIN/NAME",
        ),
        ("vertex", VERTEX[1:], "kubeflow.vertex_root: not set, but Vertex AI stores artifacts in Cloud Storage"),
        ("vertex", VERTEX[:1], "kubeflow.serving_store: Vertex AI cannot mount claims"),
        ("vertex", (VERTEX[0], "kubeflow.serving_store=s3://bucket/a"), "kubeflow.serving_store: Vertex AI cannot"),
        ("vertex", (*VERTEX, *FLINK), "beam.engine: flink needs a claim"),
        (
            "vertex",
            (*VERTEX, "kubeflow.gpu_count=1"),
            "kubeflow.gpu_type: nvidia.com/gpu is not an accelerator of Vertex",
        ),
    ],
)
def test_settings_that_the_target_cannot_run(target: Any, assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CompileError, match=f"^{re.escape(message)}") as caught:
        check_settings(load(*assignments), target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "parameter", "value", "message"),
    [
        ("MnistExampleGen", "seed", 2**53, "step MnistExampleGen: seed is 9007199254740992, but Kubeflow Pipelines"),
        ("Trainer", "run_fn", "a-{{item}}", "step Trainer: KFP or Argo would replace {{item}}"),
        ("Trainer", "run_fn", "{{$}}", "step Trainer: KFP or Argo would replace {{$}}"),
        ("Trainer", "run_fn", "x" * 128 * 1024, "step Trainer: its task has 13"),
    ],
)
def test_values_that_a_step_would_not_receive(
    compiled_spec: Spec, step: str, parameter: str, value: Any, message: str
) -> None:
    check_spec(compiled_spec, load())
    inputs = compiled_spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"]
    inputs[parameter] = {"runtimeValue": {"constant": value}}
    with pytest.raises(CompileError, match=f"^{re.escape(message)}") as caught:
        check_spec(compiled_spec, load())
    assert "\n" not in str(caught.value)


def test_all_problems_are_reported_at_once(compiled_spec: Spec) -> None:
    compiled_spec["root"]["inputDefinitions"]["parameters"]["data_uri"]["defaultValue"] = "s3://{{x}}/y"
    container = compiled_spec["deploymentSpec"]["executors"]["Trainer_executor"]["container"]
    container["args"].append("--folder={{workflow.name}}" + "x" * 128 * 1024)
    with pytest.raises(CompileError) as caught:
        check_spec(compiled_spec, load("kubeflow.resources.Trainr.memory=3Gi"))
    resources, default, placeholder, size = str(caught.value).splitlines()
    assert resources.startswith("kubeflow.resources.trainr: no such step; did you mean Trainer? Steps: BaselineModel, ")
    assert default.startswith("a default of the pipeline: KFP or Argo would replace {{x}}")
    assert placeholder.startswith("step Trainer: KFP or Argo would replace {{workflow.name}}")
    assert size.startswith("step Trainer: its container has 13")
