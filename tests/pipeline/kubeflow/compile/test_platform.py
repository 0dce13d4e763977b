import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.compile.checks import CompileError
from pipeline.kubeflow.compile.platform import check_documents, platform_document
from pipeline.settings.settings import load_settings, parse_assignments

NO_STEPS: frozenset[str] = frozenset()


def executors(spec: dict[str, Any], *assignments: str, staged: frozenset[str] = NO_STEPS) -> dict[str, Any]:
    texts = tuple(f"kubeflow.{each}" for each in assignments)
    settings = load_settings(parse_assignments(texts), file=Path(os.devnull)).kubeflow
    document = platform_document(spec, settings, staged)
    check_documents(spec, document)
    found: dict[str, Any] = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): config for label, config in found.items()}


def mounts(claim: str, folder: str) -> dict[str, Any]:
    name = {"runtimeValue": {"constant": claim}}
    return {"pvcMount": [{"constant": claim, "pvcNameParameter": name, "mountPath": folder}]}


def test_the_serving_folder_is_mounted_where_it_is_used(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "serving_claim=models", "workspace=/work")
    assert found == dict.fromkeys(("DataGate", "BaselineModel", "Pusher"), mounts("models", "/work/serving"))


def test_versions_in_an_object_store_need_room_and_credentials(compiled_spec: dict[str, Any]) -> None:
    found = executors(
        compiled_spec, "serving_store=s3://bucket/models", "store_secret=store", "store_secret_keys=KEY,SECRET"
    )
    secret = {
        "secretName": "store",
        "secretNameParameter": {"runtimeValue": {"constant": "store"}},
        "keyToEnv": [{"secretKey": "KEY", "envVar": "KEY"}, {"secretKey": "SECRET", "envVar": "SECRET"}],
    }
    room = {"volumeName": "serving", "mountPath": "/digits/serving"}
    # It reads data of an object store with the same credentials.
    assert found.pop("MnistExampleGen") == {"secretAsEnv": [secret]}
    both = {"secretAsEnv": [secret], "emptyDirMounts": [room]}
    assert found == dict.fromkeys(("DataGate", "BaselineModel", "Pusher"), both)


def test_credentials_go_to_no_step_that_uses_no_store(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "store_secret=store")
    assert {name for name, config in found.items() if "secretAsEnv" in config} == {"MnistExampleGen"}


def test_claims_for_data_and_for_remote_workers(compiled_spec: dict[str, Any]) -> None:
    staged = frozenset({"MnistExampleGen", "Transform"})
    found = executors(compiled_spec, "data_claim=mine", "staging_claim=shared", staged=staged)
    data, staging = mounts("mine", "/data"), mounts("shared", "/staging")
    assert found["MnistExampleGen"] == {"pvcMount": data["pvcMount"] + staging["pvcMount"]}
    assert found["Transform"] == staging


def test_how_images_are_pulled(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "image_pull_policy=Always", "image_pull_secret=registry")
    assert set(found) == set(compiled_spec["root"]["dag"]["tasks"])
    secret = {"secretName": "registry", "secretNameParameter": {"runtimeValue": {"constant": "registry"}}}
    assert found["Trainer"] == {"imagePullPolicy": "Always", "imagePullSecret": [secret]}


def test_fields_that_kubeflow_does_not_know(compiled_spec: dict[str, Any]) -> None:
    platform: dict[str, Any] = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"Trainer_executor": {}}}}}
    }
    check_documents(compiled_spec, platform)
    config = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["Trainer_executor"]
    config["volumes"] = []
    compiled_spec["root"]["dag"]["tasks"]["Trainer"]["retries"] = 3
    compiled_spec["deploymentSpec"]["executors"]["Trainer_executor"]["container"]["picture"] = "x"
    with pytest.raises(CompileError) as caught:
        check_documents(compiled_spec, platform)
    [pipeline, deployment, executor] = str(caught.value).splitlines()
    assert pipeline.startswith("pipeline: not what Kubeflow Pipelines takes: ")
    assert '"retries"' in pipeline
    assert deployment.startswith("deploymentSpec: not what")
    assert '"picture"' in deployment
    assert executor.startswith("Trainer_executor: not what")
    assert '"volumes"' in executor
