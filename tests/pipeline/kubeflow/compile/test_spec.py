import os
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

from pipeline.kubeflow.compile.spec import platform_document
from pipeline.settings.settings import load_settings, parse_assignments

NO_STEPS: frozenset[str] = frozenset()


def executors(spec: dict[str, Any], *assignments: str, staged: frozenset[str] = NO_STEPS) -> dict[str, Any]:
    texts = tuple(f"kubeflow.{each}" for each in assignments)
    settings = load_settings(parse_assignments(texts), file=Path(os.devnull)).kubeflow
    document = platform_document(spec, settings, staged)
    found: dict[str, Any] = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for config in found.values():
        json_format.ParseDict(config, KubernetesExecutorConfig())
    return {label.removesuffix("_executor"): config for label, config in found.items()}


def mounts(claim: str, folder: str) -> dict[str, Any]:
    name = {"runtimeValue": {"constant": claim}}
    return {"pvcMount": [{"constant": claim, "pvcNameParameter": name, "mountPath": folder}]}


def test_the_serving_claim_is_mounted_in_the_steps_that_use_it(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "serving_claim=models", "workspace=/work")
    assert found == dict.fromkeys(("DataGate", "BaselineModel", "Pusher"), mounts("models", "/work/serving"))


def test_steps_that_use_an_object_store_get_credentials_and_an_empty_folder(compiled_spec: dict[str, Any]) -> None:
    found = executors(
        compiled_spec, "serving_store=s3://bucket/models", "store_secret=store", "store_secret_keys=KEY,SECRET"
    )
    secret = {
        "secretName": "store",
        "secretNameParameter": {"runtimeValue": {"constant": "store"}},
        "keyToEnv": [
            # Under other names, because KFP's launcher reads those of the store.
            {"secretKey": "KEY", "envVar": "DIGITS_STORE__KEY"},
            {"secretKey": "SECRET", "envVar": "DIGITS_STORE__SECRET"},
        ],
    }
    folder = {"volumeName": "serving", "mountPath": "/digits/serving"}
    # It reads data from object stores with the same credentials.
    assert found.pop("MnistExampleGen") == {"secretAsEnv": [secret]}
    both = {"secretAsEnv": [secret], "emptyDirMounts": [folder]}
    assert found == dict.fromkeys(("DataGate", "BaselineModel", "Pusher"), both)


def test_steps_that_use_no_object_store_get_no_credentials(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "store_secret=store")
    assert {name for name, config in found.items() if "secretAsEnv" in config} == {"MnistExampleGen"}


def test_pusher_gets_the_key_that_signs_versions(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "signing_secret=signing-key")
    secret = {
        "secretName": "signing-key",
        "secretNameParameter": {"runtimeValue": {"constant": "signing-key"}},
        "mountPath": "/digits/signing",
    }
    assert {step: config["secretAsVolume"] for step, config in found.items() if "secretAsVolume" in config} == {
        "Pusher": [secret]
    }


def test_claims_for_data_and_staging(compiled_spec: dict[str, Any]) -> None:
    staged = frozenset({"MnistExampleGen", "Transform"})
    found = executors(compiled_spec, "data_claim=mine", "staging_claim=shared", staged=staged)
    data, staging = mounts("mine", "/data"), mounts("shared", "/staging")
    assert found["MnistExampleGen"] == {"pvcMount": data["pvcMount"] + staging["pvcMount"]}
    assert found["Transform"] == staging


def test_image_pulls(compiled_spec: dict[str, Any]) -> None:
    found = executors(compiled_spec, "image_pull_policy=Always", "image_pull_secret=registry")
    assert set(found) == set(compiled_spec["root"]["dag"]["tasks"])
    secret = {"secretName": "registry", "secretNameParameter": {"runtimeValue": {"constant": "registry"}}}
    assert found["Trainer"] == {"imagePullPolicy": "Always", "imagePullSecret": [secret]}
