import os
from pathlib import Path

import pytest

from pipeline.settings.kubeflow import KubeflowSettings
from pipeline.settings.settings import SettingsError, load_settings, parse_assignments


def load(*assignments: str) -> KubeflowSettings:
    return load_settings(parse_assignments(assignments), file=Path(os.devnull)).kubeflow


@pytest.mark.parametrize("quantity", ["1", "0.5", "500m", "4Gi", "8G", "1e3", ""])
def test_kubernetes_quantities(quantity: str) -> None:
    assert load(f"kubeflow.memory={quantity}").memory == quantity


def test_resources_of_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # Names of environment variables ignore case.
    monkeypatch.setenv("DIGITS_KUBEFLOW__RESOURCES__TRAINER__CPU", "4")
    resources = load("kubeflow.resources.Evaluator.memory=8Gi").resources
    assert {step: needs.model_dump() for step, needs in resources.items()} == {
        "evaluator": {"cpu": "", "memory": "8Gi"},
        "trainer": {"cpu": "4", "memory": ""},
    }


def test_keys_of_a_secret_are_separated_by_commas() -> None:
    keys = load("kubeflow.store_secret_keys=AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL").store_secret_keys
    assert keys == ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("image=Digits:1", "image: expected an image: .*, not 'Digits:1'"),
        ("image=", "image: String should have at least 1 character"),
        ("image_pull_policy=Sometimes", "image_pull_policy: Input should be '', 'Always', 'IfNotPresent' or 'Never'"),
        ("image_pull_secret=My_Secret", "image_pull_secret: expected a DNS-1123 subdomain"),
        ("serving_claim=serving.folder", "serving_claim: expected a DNS-1123 label: up to 63 of a-z, 0-9 and -"),
        ("serving_claim=", "serving_claim: String should have at least 1 character"),
        ("serving_claim=" + "a" * 64, "serving_claim: expected a DNS-1123 label"),
        ("serving_store=http://bucket/a", "serving_store: expected s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"),
        ("serving_store=s3://Bucket/a", "serving_store: expected s3://BUCKET/FOLDER"),
        ("vertex_root=s3://bucket/a", "vertex_root: expected gs://BUCKET/FOLDER"),
        ("store_secret_keys=A,2B", "store_secret_keys.1: expected the name of an environment variable"),
        ("store_secret_keys=", "store_secret_keys: Tuple should have at least 1 item"),
        ("workspace=digits", "workspace: expected the absolute path of a folder in the pods, such as /digits"),
        ("workspace=/", "workspace: expected the absolute path of a folder"),
        ("data_folder=/data/../etc", "data_folder: expected the absolute path of a folder"),
        ("data_folder=/minio/data", "data_folder: expected a folder outside of those that KFP itself mounts, /minio"),
        ("memory=4GB", "memory: expected a Kubernetes quantity: a number, optionally with m, k, M"),
        ("cpu=-1", "cpu: expected a Kubernetes quantity"),
        ("resources.Trainer.mem=3Gi", "resources.Trainer: expected only cpu and memory, not {'mem': '3Gi'}"),
        ("resources.Trainer.cpu=many", "resources.Trainer.cpu: expected a Kubernetes quantity"),
        ("gpu_count=-1", "gpu_count: Input should be greater than or equal to 0"),
        ("gpu_type=a gpu", "gpu_type: String should match pattern"),
        ("retries.factor=1.5", "retries.factor: Input should be a valid integer"),
        ("retries.max=3", "retries.max: no such setting"),
    ],
)
def test_invalid_values_are_refused_with_the_rule(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^kubeflow.{message}"):
        load(f"kubeflow.{assignment}")
