import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.compile.checks import CompileError
from pipeline.kubeflow.compile.requirements import check_requirements
from pipeline.settings.settings import Settings, load_settings, parse_assignments

VERTEX = ("kubeflow.vertex_root=gs://bucket/root", "kubeflow.serving_store=gs://bucket/serving")

FLINK = (
    *("beam.engine=flink", "beam.job_endpoint=jobs:8099"),
    *("beam.worker_pool=localhost:50000", "kubeflow.staging_claim=shared"),
)
SPARK = (
    *("beam.engine=spark", "beam.job_endpoint=jobs:8099"),
    *("beam.worker_pool=localhost:50000", "kubeflow.staging_claim=shared"),
)
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
def test_settings_that_fit_together(target: Any, assignments: tuple[str, ...]) -> None:
    check_requirements(load(*assignments), target)


@pytest.mark.parametrize(
    ("target", "assignments", "message"),
    [
        ("kfp", ("infra_validator.engine=docker",), "infra_validator.engine: TFX cannot compile InfraValidator"),
        ("kfp", FLINK[:-1], "kubeflow.staging_claim: not set, and the workers of flink see no file"),
        ("kfp", SPARK[:-1], "kubeflow.staging_claim: not set, and the workers of spark see no file"),
        ("kfp", (*SPARK, "beam.worker_pool="), "beam.worker_pool: not set, and spark cannot reach workers in the pods"),
        (
            "kfp",
            ("kubeflow.data_claim=one", "kubeflow.staging_claim=one"),
            "kubeflow.staging_claim: KFP cannot mount a claim twice in one pod",
        ),
        (
            "kfp",
            ("kubeflow.data_claim=one", "kubeflow.staging_folder=/data"),
            "kubeflow.staging_folder: two volumes cannot have one place",
        ),
        (
            "kfp",
            ("kubeflow.gpu_count=1", "kubeflow.gpu_type=NVIDIA_L4"),
            "kubeflow.gpu_type: NVIDIA_L4 is no resource of Kubernetes; expected DOMAIN/NAME",
        ),
        (
            "vertex",
            VERTEX[1:],
            "kubeflow.vertex_root: not set, and Vertex AI keeps artifacts in Cloud Storage; expected gs://BUCKET/FOLDER",
        ),
        ("vertex", VERTEX[:1], "kubeflow.serving_store: Vertex AI mounts no claims, so the pushed versions need a"),
        (
            "vertex",
            (VERTEX[0], "kubeflow.serving_store=s3://bucket/a"),
            "kubeflow.serving_store: Vertex AI mounts no claims",
        ),
        ("vertex", (*VERTEX, *FLINK), "beam.engine: flink needs a claim, which Vertex AI lacks"),
        ("vertex", (*VERTEX, "kubeflow.gpu_count=1"), "kubeflow.gpu_type: nvidia.com/gpu is no accelerator of Vertex"),
    ],
)
def test_settings_that_do_not(target: Any, assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CompileError, match=f"^{re.escape(message)}") as caught:
        check_requirements(load(*assignments), target)
    assert "\n" not in str(caught.value)
