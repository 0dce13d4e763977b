"""Tests that the manifests of deploy/flink are valid and agree with each other and with the settings."""

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.settings.beam import BeamSettings
from pipeline.settings.kubeflow import KubeflowSettings

Manifest = dict[str, Any]

COMPONENTS = {"flink-job-manager", "flink-task-manager", "beam-job-server"}


@pytest.fixture(scope="module")
def folder(deploy: Path) -> Path:
    return deploy / "flink"


@pytest.fixture(scope="module")
def kustomization(folder: Path) -> Manifest:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


@pytest.fixture(scope="module")
def configuration(folder: Path) -> Manifest:
    """The configuration of Flink."""
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.fixture(scope="module")
def manifests(folder: Path, kustomization: Manifest) -> list[Manifest]:
    """All manifests in kustomization.yaml."""
    files = [folder / name for name in kustomization["resources"]]
    generated = {folder / name for each in kustomization["configMapGenerator"] for name in each["files"]}
    assert sorted(files) == sorted(set(folder.glob("*.yaml")) - generated - {folder / "kustomization.yaml"})
    return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]


@pytest.fixture(scope="module")
def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Pod templates by the name of their Deployment."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in manifests if one["kind"] == "Deployment"}


def containers(pods: dict[str, Manifest]) -> dict[str, Manifest]:
    return {container["name"]: container for pod in pods.values() for container in pod["spec"]["containers"]}


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def test_manifests_match_the_schemas(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kustomize_renders_it(folder: Path) -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=True).stdout
    found = list(yaml.safe_load_all(rendered))
    (config,) = of_kind(found, "ConfigMap").values()
    assert set(config["data"]) == {"config.yaml", "log4j-console.properties"}
    images = [each["image"] for one in of_kind(found, "Deployment").values() for each in spec(one)["containers"]]
    assert all(":" in image for image in images)


def spec(deployment: Manifest) -> Manifest:
    return deployment["spec"]["template"]["spec"]


def test_selectors_match_the_pods(manifests: list[Manifest], pods: dict[str, Manifest]) -> None:
    assert set(pods) == COMPONENTS
    for name, deployment in of_kind(manifests, "Deployment").items():
        assert deployment["spec"]["selector"]["matchLabels"].items() <= pods[name]["metadata"]["labels"].items()
    for name, service in of_kind(manifests, "Service").items():
        labels = pods[name]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        ports = {port["name"]: port["containerPort"] for port in pods[name]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports


def test_only_steps_reach_the_job_server_and_only_its_parts_reach_flink(
    manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    everything = policies["flink"]["spec"]["podSelector"]["matchLabels"].items()
    assert all(everything <= pod["metadata"]["labels"].items() for pod in pods.values())
    (rule,) = policies["flink"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": policies["flink"]["spec"]["podSelector"]}]
    (rule,) = policies["beam-job-server"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"pipelines.kubeflow.org/v2_component": "true"}}}]
    service = of_kind(manifests, "Service")["beam-job-server"]
    assert {port["port"] for port in rule["ports"]} == {port["port"] for port in service["spec"]["ports"]}


def test_addresses_exist(manifests: list[Manifest], pods: dict[str, Manifest], configuration: Manifest) -> None:
    services = {name: each["spec"]["ports"] for name, each in of_kind(manifests, "Service").items()}
    addresses = {f"{name}:{port['port']}" for name, ports in services.items() for port in ports}
    (master,) = arguments(pods, "job-server", "flink-master")
    assert master == f"{configuration['rest.address']}:8081"
    assert {master, f"{configuration['jobmanager.rpc.address']}:6123"} <= addresses
    ports = {port["name"]: port["containerPort"] for port in containers(pods)["task-manager"]["ports"]}
    assert ports == {key: configuration[f"taskmanager.{key}.port"] for key in ("data", "rpc")}
    settings = BeamSettings(engine="flink", job_endpoint="beam-job-server:8099", worker_pool="localhost:50000")
    assert settings.job_endpoint in addresses
    assert arguments(pods, "workers", "port") == [settings.worker_pool.partition(":")[2]]


def arguments(pods: dict[str, Manifest], container: str, name: str) -> list[str]:
    values = [argument.partition("=") for argument in containers(pods)[container]["args"]]
    return [value for key, _, value in values if key == f"--{name}"]


def test_steps_and_workers_share_the_staging_folder(pods: dict[str, Manifest], deploy: Path) -> None:
    claim = yaml.safe_load((deploy / "kubernetes" / "kubeflow" / "staging" / "staging_folder.yaml").read_text())
    for name in ("flink-task-manager", "beam-job-server"):
        volumes = {volume["name"]: volume for volume in pods[name]["spec"]["volumes"]}
        assert volumes["staging-folder"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for container in ("workers", "task-manager", "job-server"):
        mounts = {mount["name"]: mount["mountPath"] for mount in containers(pods)[container]["volumeMounts"]}
        assert mounts["staging-folder"] == str(KubeflowSettings().staging_folder)


def test_mounted_volumes_exist(pods: dict[str, Manifest], kustomization: Manifest) -> None:
    for pod in pods.values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = {mount["name"] for each in pod["spec"]["containers"] for mount in each["volumeMounts"]}
        assert mounted == set(volumes)
        if "config" in volumes:
            generated = {each["name"] for each in kustomization["configMapGenerator"]}
            assert volumes["config"]["configMap"]["name"] in generated


def test_each_worker_pool_has_one_slot(manifests: list[Manifest], configuration: Manifest) -> None:
    assert configuration["taskmanager.numberOfTaskSlots"] == 1
    replicas = of_kind(manifests, "Deployment")["flink-task-manager"]["spec"]["replicas"]
    assert configuration["parallelism.default"] == replicas


def test_memory_fits_the_limits(pods: dict[str, Manifest], configuration: Manifest) -> None:
    limits = {name: each["resources"]["limits"]["memory"] for name, each in containers(pods).items()}
    keys = ("task.heap.size", "task.off-heap.size", "managed.size", "network.max")
    explicit = sum(megabytes(configuration[f"taskmanager.memory.{key}"]) for key in keys)
    # Flink adds 128 MB of heap and of direct memory for itself, 256 for classes, and a ninth of all for the JVM:
    # https://nightlies.apache.org/flink/flink-docs-release-1.19/docs/deployment/memory/mem_setup_tm/
    in_all = (explicit + 2 * 128 + 256) / 0.9
    assert 0.9 * megabytes(limits["task-manager"]) < in_all < megabytes(limits["task-manager"])
    assert limits["job-manager"] == "1600Mi"
    assert configuration["jobmanager.memory.process.size"] == "1600m"


def test_temporary_files_fit_the_limits(pods: dict[str, Manifest]) -> None:
    for pod in pods.values():
        # Kubernetes evicts a pod whose files, `emptyDir` included, take more than its containers may use together.
        folders = [megabytes(each["emptyDir"]["sizeLimit"]) for each in pod["spec"]["volumes"] if "emptyDir" in each]
        limits = [megabytes(each["resources"]["limits"]["ephemeral-storage"]) for each in pod["spec"]["containers"]]
        assert sum(folders) < sum(limits)


def test_the_worker_pool_is_reachable_only_in_its_pod(pods: dict[str, Manifest]) -> None:
    assert arguments(pods, "workers", "host") == ["localhost"]
    workers = containers(pods)["workers"]
    (port,) = arguments(pods, "workers", "port")
    for probe in ("startupProbe", "readinessProbe"):
        # The kubelet, which is outside, could not connect.
        assert f'("localhost", {port})' in workers[probe]["exec"]["command"][-1]


def megabytes(size: str) -> int:
    parts = re.fullmatch(r"(\d+)([gm])i?", size.lower())
    assert parts, size
    return int(parts[1]) * {"m": 1, "g": 1024}[parts[2]]


def test_versions_agree(kustomization: Manifest) -> None:
    tags = {image["name"]: image["newTag"] for image in kustomization["images"]}
    flink = ".".join(tags["flink"].split(".")[:2])
    assert tags[f"apache/beam_flink{flink}_job_server"] == version("apache-beam")
    name, _, tag = KubeflowSettings().image.partition(":")
    assert tags[name] == tag


def test_containers_are_restricted(pods: dict[str, Manifest]) -> None:
    for pod in pods.values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            for bounds in container["resources"].values():
                assert set(bounds) == {"cpu", "memory", "ephemeral-storage"}
            assert re.search("tmp", str(container["volumeMounts"]))
