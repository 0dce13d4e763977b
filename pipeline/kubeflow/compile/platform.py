"""What the steps need of Kubernetes: volumes, secrets and the pulling of images, as KFP's platform document."""

from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.compile.checks import Problems, raise_problems
from pipeline.kubeflow.compile.spec import Spec, tasks
from pipeline.settings.kubeflow import KubeflowSettings

if TYPE_CHECKING:
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

SERVING_STEPS = ("DataGate", "BaselineModel", "Pusher")
"""The steps that read or write the pushed versions."""
DATA_STEP = "MnistExampleGen"

_SERVING_VOLUME = "serving"


def platform_document(spec: Spec, settings: KubeflowSettings, staged_steps: frozenset[str]) -> dict[str, Any]:
    """Builds the second document of a compiled pipeline.

    Args:
        spec: The first document.
        settings: What the pipeline asks of the cluster.
        staged_steps: The steps that share files with the workers of a remote engine.

    Returns:
        A `PlatformSpec` as a dict, with an entry for each executor that needs one.
    """
    from google.protobuf import json_format

    executors = {}
    for step, task in tasks(spec).items():
        config = _config(step, settings, staged=step in staged_steps)
        if config.ByteSize():
            label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
            executors[label] = json_format.MessageToDict(config)
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def check_documents(spec: Spec, platform: dict[str, Any] | None = None) -> None:
    """Checks that documents have the fields of KFP's messages and no others, as its API server does.

    Args:
        spec: A `PipelineSpec` as a dict.
        platform: A `PlatformSpec`.

    Raises:
        CompileError: A field is unknown or of another type.
    """
    raise_problems(_field_problems(spec, platform))


def _field_problems(spec: Spec, platform: dict[str, Any] | None) -> Problems:
    from google.protobuf import json_format
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
    from kfp.pipeline_spec import pipeline_spec_pb2 as messages

    parts: list[tuple[str, Any, Any]] = [
        ("pipeline", spec, messages.PipelineSpec()),
        # The two are free-form where the documents hold them.
        ("deploymentSpec", spec["deploymentSpec"], messages.PipelineDeploymentConfig()),
    ]
    if platform:
        parts.append(("platform document", platform, messages.PlatformSpec()))
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        parts += [(label, config, KubernetesExecutorConfig()) for label, config in executors.items()]
    for name, values, message in parts:
        try:
            json_format.ParseDict(values, message)
        except json_format.ParseError as error:
            # The second line lists the fields that there are.
            reason = str(error).splitlines()[0].rstrip(".")
            yield f"{name}: not what Kubeflow Pipelines takes: {reason}; this is a mistake of the compiler."


def _config(step: str, settings: KubeflowSettings, *, staged: bool) -> "KubernetesExecutorConfig":
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes

    config = kubernetes.KubernetesExecutorConfig(image_pull_policy=settings.image_pull_policy)
    if settings.image_pull_secret:
        config.image_pull_secret.add(
            secret_name=settings.image_pull_secret, secret_name_parameter=_constant(settings.image_pull_secret)
        )
    if step in SERVING_STEPS:
        _mount_serving_folder(config, settings)
    if step == DATA_STEP and settings.data_claim:
        _mount_claim(config, settings.data_claim, str(settings.data_folder))
    if staged:
        _mount_claim(config, settings.staging_claim, str(settings.staging_folder))
    if settings.store_secret and (step == DATA_STEP or (step in SERVING_STEPS and settings.serving_store)):
        config.secret_as_env.add(
            secret_name=settings.store_secret,
            secret_name_parameter=_constant(settings.store_secret),
            key_to_env=[{"secret_key": key, "env_var": key} for key in settings.store_secret_keys],
        )
    return config


def _mount_serving_folder(config: "KubernetesExecutorConfig", settings: KubeflowSettings) -> None:
    folder = str(settings.workspace / "serving")
    if settings.serving_store:
        # The versions are fetched to where the claim would be mounted.
        config.empty_dir_mounts.add(volume_name=_SERVING_VOLUME, mount_path=folder)
    else:
        _mount_claim(config, settings.serving_claim, folder)


def _mount_claim(config: "KubernetesExecutorConfig", claim: str, folder: str) -> None:
    # KFP before 2.4 reads `constant`, later ones the parameter; the SDK, too, writes both.
    config.pvc_mount.add(constant=claim, pvc_name_parameter=_constant(claim), mount_path=folder)


def _constant(value: str) -> dict[str, Any]:
    return {"runtime_value": {"constant": {"string_value": value}}}
