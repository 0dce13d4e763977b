"""deploy/kubernetes with Kubeflow Pipelines: the manifests match what the steps and TF Serving need."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.settings.kubeflow import KubeflowSettings

Manifest = dict[str, Any]

CHANGED = {
    ("PersistentVolumeClaim", "spec", "accessModes"): ["ReadWriteOnce"],
    ("HorizontalPodAutoscaler", "spec", "minReplicas"): 1,
    ("HorizontalPodAutoscaler", "spec", "maxReplicas"): 2,
}
"""What a cluster of one node has of its own, besides smaller requests."""


@pytest.fixture(scope="module")
def folder(deploy: Path) -> Path:
    return deploy / "kubernetes" / "kubeflow"


def load(file: Path) -> Manifest:
    (manifest,) = yaml.safe_load_all(file.read_text())
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    return dict(manifest)


def render(folder: Path) -> dict[str, Manifest]:
    """All that would be applied, by kind; of each there is one."""
    manifests = render_all(folder)
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind


def render_all(folder: Path) -> list[Manifest]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    process = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=True)
    manifests = list(yaml.safe_load_all(process.stdout))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    return manifests


def test_every_file_is_applied_or_can_be(folder: Path) -> None:
    text = (folder / "kustomization.yaml").read_text()
    offered = set(re.findall(r"^  (?:# )?- (\S+\.yaml)$", text, re.MULTILINE))
    assert offered == {file.name for file in folder.glob("*.yaml")} - {
        "kustomization.yaml",
        "object_store.template.yaml",
    }
    for name in offered:
        load(folder / name)


def test_claims_are_those_of_the_settings(folder: Path, deploy: Path) -> None:
    settings = KubeflowSettings()
    serving = load(deploy / "kubernetes" / "serving" / "serving_folder.yaml")
    assert serving["metadata"]["name"] == settings.serving_claim
    comments = (folder / "kustomization.yaml").read_text()
    for name, file in (("data", "data_folder.yaml"), ("staging", "staging/staging_folder.yaml")):
        claim = load(folder / file)["metadata"]["name"]
        KubeflowSettings.model_validate({f"{name}_claim": claim})
        assert f"`--set kubeflow.{name}_claim={claim}`" in comments


def test_the_secret_is_a_template_for_what_the_steps_read(folder: Path) -> None:
    secret = load(folder / "object_store.template.yaml")
    assert set(secret["stringData"]) == set(KubeflowSettings().store_secret_keys)
    assert set(secret["stringData"].values()) == {""}
    assert (
        f"--set kubeflow.store_secret={secret['metadata']['name']}"
        in (folder / "object_store.template.yaml").read_text()
    )


def test_the_steps_can_write_what_tf_serving_reads(folder: Path, deploy: Path) -> None:
    job = load(folder / "volume_owner.yaml")["spec"]["template"]["spec"]
    (container,) = job["containers"]
    (user,) = re.findall(r"^USER (\d+)", (deploy / "Dockerfile").read_text(), re.MULTILINE)
    assert container["command"][1].partition(":")[0] == user
    (mount,) = container["volumeMounts"]
    assert container["command"][2] == mount["mountPath"]
    (volume,) = job["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == KubeflowSettings().serving_claim
    # Not more than the namespace of Kubeflow Pipelines allows: pod-security.kubernetes.io/enforce: baseline.
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}


def test_all_is_where_the_runs_are(folder: Path) -> None:
    manifests = render(folder)
    namespace = manifests.pop("Namespace")["metadata"]
    assert {manifest["metadata"].get("namespace") for manifest in manifests.values()} == {namespace["name"]}
    # Without those that Kubeflow Pipelines gives it, `kubectl apply` would take them away.
    assert namespace["labels"] == {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    # The pods of steps have no such label.
    selected = manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selected == manifests["Deployment"]["spec"]["selector"]["matchLabels"] != {}
    image = manifests["Job"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert re.fullmatch("busybox@sha256:[0-9a-f]{64}", image)


def test_steps_and_workers_can_write_to_the_staging_folder(deploy: Path, tmp_path: Path) -> None:
    shutil.copytree(deploy, tmp_path / "deploy")
    shutil.copytree(deploy.parent / "serving" / "tf_serving", tmp_path / "serving" / "tf_serving")
    kubernetes = tmp_path / "deploy" / "kubernetes"
    kustomization = kubernetes / "kubeflow" / "kustomization.yaml"
    text = kustomization.read_text()
    uncommented = text.replace("# components:\n#   - staging\n", "components:\n  - staging\n")
    assert uncommented != text
    kustomization.write_text(uncommented)
    manifests = {
        (manifest["kind"], manifest["metadata"]["name"]): manifest
        for manifest in render_all(kubernetes / "single-node")
    }
    assert manifests["PersistentVolumeClaim", "staging-folder"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    job = manifests["Job", "volume-owner"]["spec"]["template"]["spec"]
    (container,) = job["containers"]
    assert container["command"][2:] == [mount["mountPath"] for mount in container["volumeMounts"]]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in job["volumes"]}
    mounted = [claims[mount["name"]] for mount in container["volumeMounts"]]
    assert mounted == [KubeflowSettings().serving_claim, "staging-folder"]


def test_one_node(folder: Path) -> None:
    usual, small = render(folder), render(folder.parent / "single-node")
    for (kind, section, field), value in CHANGED.items():
        assert usual[kind][section][field] != value
        usual[kind][section][field] = value
    requests = [
        each["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"].pop("requests")
        for each in (usual, small)
    ]
    assert requests[0] != requests[1] == {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "128Mi"}
    assert small == usual


def test_without_kubeflow_it_is_tf_serving_alone(folder: Path) -> None:
    manifests = render(folder.parent)
    assert manifests == render(folder.parent / "serving")
    assert not any("namespace" in manifest["metadata"] for manifest in manifests.values())
