"""deploy/kubernetes/serving: allowed by the schemas, and by what these do not see: values, references, confinement."""

import copy
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.cli.versions import verify
from pipeline.settings.kubeflow import KubeflowSettings
from registry.labels import TF_SERVING_ROOT
from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_MODEL_NAME, DEFAULT_REST_PORT

REPOSITORY = Path(__file__).parents[2]

Manifest = dict[str, Any]

# kubernetes-validate checks types, required and unknown fields, but no values. Source: the API reference of Kubernetes.
VALUES = {
    "strategy.type": {"RollingUpdate", "Recreate"},
    "seccompProfile.type": {"RuntimeDefault"},
    "metrics.type": {"Resource"},
    "target.type": {"Utilization"},
    "whenUnsatisfiable": {"ScheduleAnyway", "DoNotSchedule"},
    "accessModes": {"ReadWriteMany", "ReadOnlyMany"},
    "policyTypes": {"Ingress", "Egress"},
    "protocol": {"TCP"},
    "medium": {"Memory"},
    "drop": {"ALL"},
}


@pytest.fixture(scope="module")
def manifests(deploy: Path) -> list[Manifest]:
    """All that kustomization.yaml names."""
    folder = deploy / "kubernetes" / "serving"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = [folder / name for name in kustomization["resources"] if name.endswith(".yaml")]
    assert sorted(files) == sorted(set(folder.glob("*.yaml")) - {folder / "kustomization.yaml"})
    return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]


@pytest.fixture(scope="module")
def pod(manifests: list[Manifest]) -> Manifest:
    return one(manifests, "Deployment")["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    (container,) = pod["spec"]["containers"]
    return container


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def validate(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def wrong_values(node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The values that no field of this name may have, with where they are."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from wrong_values(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from wrong_values(value, path)
    else:
        allowed = VALUES.get(path[-1]) or VALUES.get(".".join(path[-2:]))
        if allowed and node not in allowed:
            yield f"{'.'.join(path)}: {node}"


def test_the_schemas_allow_it(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        validate(manifest)
        assert list(wrong_values(manifest)) == []


def test_the_checks_find_what_is_wrong(manifests: list[Manifest]) -> None:
    unknown = copy.deepcopy(one(manifests, "Deployment"))
    unknown["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        validate(unknown)
    wrong = copy.deepcopy(one(manifests, "NetworkPolicy"))
    wrong["spec"]["policyTypes"] = ["Ingress", "Exgress"]
    assert list(wrong_values(wrong)) == ["spec.policyTypes: Exgress"]


def test_kustomize_makes_one_of_it(deploy: Path, tf_serving: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    command = [program, "kustomize", str(deploy / "kubernetes")]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    manifests = list(yaml.safe_load_all(rendered))
    for manifest in manifests:
        validate(manifest)
    config = one(manifests, "ConfigMap")
    assert config["data"]["start.sh"] == (tf_serving / "start.sh").read_text()
    pod = one(manifests, "Deployment")["spec"]["template"]
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == config["metadata"]["name"] != "tf-serving-config"
    assert pod["spec"]["containers"][0]["image"] == "tensorflow/serving:2.20.0"


def test_an_init_container_can_verify_the_versions(deploy: Path, tmp_path: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    folder = Path(shutil.copytree(deploy.parent, tmp_path / "project", ignore=_all_but_deployment)) / "deploy"
    file = folder / "kubernetes" / "kustomization.yaml"
    file.write_text(file.read_text().replace("# components:\n#   - verify", "components:\n  - verify"))
    command = [program, "kustomize", str(file.parent)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    deployment = one(list(yaml.safe_load_all(rendered)), "Deployment")
    validate(deployment)
    pod = deployment["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    assert init["image"] == KubeflowSettings().image
    for bounds in init["resources"].values():
        assert set(bounds) == {"cpu", "memory", "ephemeral-storage"}
    assert {mount["name"] for mount in init["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    # The command and the settings exist, and find the mounted versions.
    environment = {variable["name"]: variable["value"] for variable in init["env"]}
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in init["volumeMounts"]}
    assert Path(environment["DIGITS_SIGNING__PUBLIC_KEY"]).parent == mounts["signing-public-key"]
    assert mounts["serving-folder"] == Path("/workspace/serving")
    assert "DIGITS_WORKSPACE=/workspace" in (deploy / "Dockerfile").read_text()
    assert init["command"][:2] == ["digits", "verify"]
    assert verify.make_context("verify", init["command"][2:]).params["model"] == DEFAULT_MODEL_NAME
    assert all(init["securityContext"][key] == value for key, value in pod["containers"][0]["securityContext"].items())


def _all_but_deployment(folder: str, names: list[str]) -> set[str]:
    """Skips what kustomize does not need."""
    return set(names) - {"deploy", "serving"} if Path(folder) == REPOSITORY else {"__pycache__"} & set(names)


def test_selectors_find_the_pods(manifests: list[Manifest], pod: Manifest) -> None:
    labels = pod["metadata"]["labels"].items()
    deployment, budget = one(manifests, "Deployment"), one(manifests, "PodDisruptionBudget")
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        one(manifests, "Service")["spec"]["selector"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_the_autoscaler_scales_the_deployment(manifests: list[Manifest]) -> None:
    autoscaler, deployment = one(manifests, "HorizontalPodAutoscaler")["spec"], one(manifests, "Deployment")
    target = autoscaler["scaleTargetRef"]
    found = (deployment["apiVersion"], deployment["kind"], deployment["metadata"]["name"])
    assert (target["apiVersion"], target["kind"], target["name"]) == found
    # A number of its own would be put back at each `kubectl apply`.
    assert "replicas" not in deployment["spec"]
    assert autoscaler["minReplicas"] > one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_ports(manifests: list[Manifest], container: Manifest) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": DEFAULT_GRPC_PORT, "http": DEFAULT_REST_PORT}
    assert {f"--port={ports['grpc']}", f"--rest_api_port={ports['http']}"} <= set(container["args"])
    service = one(manifests, "Service")["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in service} == ports
    ingress = one(manifests, "NetworkPolicy")["spec"]["ingress"]
    assert {port["port"] for rule in ingress for port in rule["ports"]} == set(ports.values())
    assert all(container[probe]["httpGet"]["port"] in ports for probe in PROBES)


PROBES = {
    "startupProbe": f"/v1/models/{DEFAULT_MODEL_NAME}/metadata",
    "readinessProbe": f"/v1/models/{DEFAULT_MODEL_NAME}/metadata",
    "livenessProbe": f"/v1/models/{DEFAULT_MODEL_NAME}",
}


def test_a_pod_is_ready_with_a_loaded_model_and_goes_without_a_failed_request(
    manifests: list[Manifest], pod: Manifest, container: Manifest
) -> None:
    assert {probe: container[probe]["httpGet"]["path"] for probe in PROBES} == PROBES
    assert one(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (drain,) = [int(variable["value"]) for variable in container["env"] if variable["name"] == "DRAIN_SECONDS"]
    # TF Serving's own limit of a request is 30 s: Server::Options of model_servers/server.h.
    assert 0 < drain <= pod["spec"]["terminationGracePeriodSeconds"] - 30


def test_what_is_mounted_is_there(
    manifests: list[Manifest], pod: Manifest, container: Manifest, tf_serving: Path
) -> None:
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts[TF_SERVING_ROOT]]["persistentVolumeClaim"] == {
        "claimName": one(manifests, "PersistentVolumeClaim")["metadata"]["name"],
        "readOnly": True,
    }
    kustomization = yaml.safe_load((tf_serving / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    assert volumes[mounts["/config"]]["configMap"]["name"] == generated["name"]
    assert {path.name for path in tf_serving.glob("*.config")} | {"start.sh"} == set(generated["files"])
    assert container["command"] == ["/bin/bash", "/config/start.sh"]
    assert pod["spec"]["serviceAccountName"] == one(manifests, "ServiceAccount")["metadata"]["name"]


def test_confined(manifests: list[Manifest], pod: Manifest, container: Manifest) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] > 0
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert one(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    for bounds in container["resources"].values():
        assert set(bounds) == {"cpu", "memory", "ephemeral-storage"}
    assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] != "tmp")
    assert one(manifests, "NetworkPolicy")["spec"]["egress"] == []


def test_flags(container: Manifest, unknown_flags: Callable[[Iterable[str]], list[str]]) -> None:
    assert unknown_flags(container["args"]) == []
    assert f"--tensorflow_session_parallelism={container['resources']['limits']['cpu']}" in container["args"]
