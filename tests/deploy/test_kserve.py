"""deploy/kserve: allowed by the classes of KServe's own client, and in agreement with deploy/kubernetes."""

import copy
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes.client
import kubernetes_validate
import pytest
import yaml

from registry.signatures import DEFAULT_MODEL_NAME

_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "object": (object,),
    "ResourceQuantity": (str, int),
}
_CONTAINER = re.compile(r"(list|dict)[\[(](?:str, )?(.+)[\])]")


@pytest.fixture(scope="module")
def models() -> Iterator[ModuleType]:
    """The classes of KServe's resources; the package itself would import its whole model server."""
    spec = PathFinder.find_spec("kserve")
    assert spec
    package = ModuleType("kserve")
    package.__path__ = list(spec.submodule_search_locations or [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "kserve", package)
        yield importlib.import_module("kserve.models")


@pytest.fixture
def service(deploy: Path) -> dict[str, Any]:
    return yaml.safe_load((deploy / "kserve" / "inference_service.yaml").read_text())


def problems(models: ModuleType, kind: str, value: Any, path: str = "") -> Iterator[str]:
    """What is wrong with a value of a type, as the generated clients name types: `list[str]`, `V1Probe`…"""
    if scalar := _SCALARS.get(kind):
        if not isinstance(value, scalar) or (isinstance(value, bool) and bool not in scalar and object not in scalar):
            yield f"{path}: expected {kind}, not {value!r}"
    elif container := _CONTAINER.fullmatch(kind):
        items = value.items() if container[1] == "dict" else enumerate(value)
        for key, item in items:
            yield from problems(models, container[2], item, f"{path}.{key}")
    else:
        yield from _object_problems(
            models, getattr(models, kind, None) or getattr(kubernetes.client, kind), value, path
        )


def _object_problems(models: ModuleType, described: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    names = {json_name: name for name, json_name in described.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            yield f"{path}.{key}: unknown"
        else:
            yield from problems(models, described.openapi_types[names[key]], item, f"{path}.{key}")
    given = {names[key]: item for key, item in value.items() if key in names}
    try:
        described(**given)
    except ValueError as error:
        yield f"{path}: {error}"


def test_kserve_allows_it(models: ModuleType, service: dict[str, Any]) -> None:
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert list(problems(models, "V1beta1InferenceService", service)) == []


def test_the_check_finds_what_is_wrong(models: ModuleType, service: dict[str, Any]) -> None:
    wrong = copy.deepcopy(service)
    model = wrong["spec"]["predictor"]["model"]
    wrong["spec"]["predictor"]["minReplicas"] = "2"
    model["storageURI"] = model.pop("storageUri")
    del model["modelFormat"]
    model["securityContext"]["capabilities"]["drop"] = [17]
    found = list(problems(models, "V1beta1InferenceService", wrong))
    assert found == [
        ".spec.predictor.minReplicas: expected int, not '2'",
        ".spec.predictor.model.securityContext.capabilities.drop.0: expected str, not 17",
        ".spec.predictor.model.storageURI: unknown",
        ".spec.predictor.model: Invalid value for `model_format`, must not be `None`",
    ]


def test_it_is_the_model_of_deploy_kubernetes(service: dict[str, Any], deploy: Path) -> None:
    # KServe's runtime names the model as the service: config/runtimes/kserve-tensorflow-serving.yaml.
    assert service["metadata"]["name"] == DEFAULT_MODEL_NAME
    model = service["spec"]["predictor"]["model"]
    claim = yaml.safe_load((deploy / "kubernetes" / "serving" / "serving_folder.yaml").read_text())["metadata"]["name"]
    assert model["storageUri"] == f"pvc://{claim}/{DEFAULT_MODEL_NAME}"
    kustomization = yaml.safe_load((deploy / "kubernetes" / "serving" / "kustomization.yaml").read_text())
    assert [model["runtimeVersion"]] == [image["newTag"] for image in kustomization["images"]]
    deployment = yaml.safe_load((deploy / "kubernetes" / "serving" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert model["resources"] == container["resources"]
    assert model["securityContext"].items() >= container["securityContext"].items()


def test_only_clients_and_gateways_reach_the_pods(service: dict[str, Any], deploy: Path) -> None:
    policy = yaml.safe_load((deploy / "kserve" / "network_policy.yaml").read_text())
    kubernetes_validate.validate(policy, kubernetes_validate.latest_version(), strict=True)
    spec = policy["spec"]
    # KServe's InferenceServicePodLabelKey: pkg/constants/constants.go.
    labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    assert spec["podSelector"] == {"matchLabels": labels}
    assert (spec["policyTypes"], spec["egress"]) == (["Ingress", "Egress"], [])
    other = yaml.safe_load((deploy / "kubernetes" / "serving" / "network_policy.yaml").read_text())["spec"]
    clients, gateways, monitoring = spec["ingress"]
    assert [clients["from"], monitoring["from"]] == [rule["from"] for rule in other["ingress"]]
    assert len(gateways["from"]) == 1
    assert all(rule["from"] for rule in spec["ingress"])
