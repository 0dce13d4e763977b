"""Reads a compiled pipeline like the API server and the Argo compiler of Kubeflow Pipelines.

Source: kubeflow/pipelines 2.17.0, backend/src/apiserver/template/v2_template.go and backend/src/v2/compiler.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.contract import ContractError, NotEmulatedError

_SCHEMA_VERSION = "2.1.0"
_KINDS: Mapping[int, str] = {
    pipeline_spec_pb2.ParameterType.NUMBER_DOUBLE: "number_value",
    pipeline_spec_pb2.ParameterType.NUMBER_INTEGER: "number_value",
    pipeline_spec_pb2.ParameterType.STRING: "string_value",
    pipeline_spec_pb2.ParameterType.BOOLEAN: "bool_value",
    pipeline_spec_pb2.ParameterType.LIST: "list_value",
    pipeline_spec_pb2.ParameterType.STRUCT: "struct_value",
}
# Local images, so that nothing is pulled.
_EMULATED_FIELDS = {
    *("pvc_mount", "empty_dir_mounts", "secret_as_env", "secret_as_volume"),
    *("image_pull_policy", "image_pull_secret"),
}


@dataclass(frozen=True)
class VolumeMount:
    """A PersistentVolumeClaim in a pod."""

    claim: str
    mount_path: str


@dataclass(frozen=True)
class Task:
    """A task with everything that driver and launcher receive."""

    name: str
    spec: pipeline_spec_pb2.PipelineTaskSpec
    component: pipeline_spec_pb2.ComponentSpec
    container: pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec
    kubernetes: kubernetes_executor_config_pb2.KubernetesExecutorConfig

    @property
    def mounts(self) -> tuple[VolumeMount, ...]:
        """The claims that its pods mount."""
        return tuple(
            VolumeMount(constant(mount.pvc_name_parameter) or mount.constant, mount.mount_path)
            for mount in self.kubernetes.pvc_mount
        )

    @property
    def secret_mounts(self) -> dict[str, str]:
        """The secrets that its pods mount, by path."""
        return {
            mount.mount_path: constant(mount.secret_name_parameter) or mount.secret_name
            for mount in self.kubernetes.secret_as_volume
        }

    @property
    def dependencies(self) -> frozenset[str]:
        """The tasks that must succeed before: the named ones and the producers of its inputs."""
        inputs = self.spec.inputs
        producers = [item.task_output_artifact.producer_task for item in inputs.artifacts.values()]
        return frozenset(self.spec.dependent_tasks) | frozenset(filter(None, producers))

    @property
    def num_attempts(self) -> int:
        """The maximum number of pods of this task."""
        return 1 + int(self.spec.retry_policy.max_retry_count)


@dataclass(frozen=True)
class CompiledPipeline:
    """A pipeline that the API server accepts."""

    name: str
    tasks: Mapping[str, Task]
    root: pipeline_spec_pb2.ComponentSpec

    @classmethod
    def load(cls, file: Path) -> "CompiledPipeline":
        """Reads a compiled pipeline, strictly.

        Args:
            file: YAML of one or two documents: the pipeline and its platform spec.

        Raises:
            ContractError: The API server would refuse it.
            json_format.ParseError: The schema does not have a field.
        """
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        if spec.schema_version != _SCHEMA_VERSION:
            raise ContractError(f"schema version {spec.schema_version}, expected {_SCHEMA_VERSION}")
        platform = json_format.ParseDict(documents[1] if documents[1:] else {}, pipeline_spec_pb2.PlatformSpec())
        # The Argo compiler sorts them by name.
        tasks = {name: _task(name, spec, platform) for name in sorted(spec.root.dag.tasks)}
        for task in tasks.values():
            if unknown := task.dependencies - tasks.keys():
                raise ContractError(f"{task.name}: unknown producer tasks {sorted(unknown)}")
        return cls(spec.pipeline_info.name, tasks, spec.root)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """Returns the parameters of a run: the given values and the defaults.

        Raises:
            ContractError: A parameter is unknown, or has no value or one of the wrong type.
        """
        definitions = self.root.input_definitions.parameters
        if unknown := given.keys() - definitions.keys():
            raise ContractError(f"unknown input parameters {sorted(unknown)}")
        values: dict[str, Value] = {}
        for name, definition in definitions.items():
            if name not in given and not definition.HasField("default_value"):
                raise ContractError(f"parameter {name} is not optional, yet has neither default value nor value")
            values[name] = Value()
            if name in given:
                json_format.ParseDict(given[name], values[name])
            else:
                values[name].CopyFrom(definition.default_value)
            check_kind(name, values[name], definition.parameter_type)
        return values


def check_kind(name: str, value: Value, parameter_type: int) -> None:
    """Checks the type of a value.

    Raises:
        ContractError: The value does not have the type of its parameter.
    """
    expected, found = _KINDS[parameter_type], value.WhichOneof("kind")
    if found != expected:
        raise ContractError(f"input parameter {name!r} type mismatch: expect {expected}, got {found}")


def _task(name: str, spec: pipeline_spec_pb2.PipelineSpec, platform: pipeline_spec_pb2.PlatformSpec) -> Task:
    task = spec.root.dag.tasks[name]
    component = spec.components[task.component_ref.name]
    label = component.executor_label
    if task.HasField("parameter_iterator") or task.HasField("artifact_iterator") or not label:
        raise NotEmulatedError(f"{name}: only tasks with one container")
    # The backend ignores unknown fields of this Struct.
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec),
        pipeline_spec_pb2.PipelineDeploymentConfig(),
        ignore_unknown_fields=True,
    )
    executor = deployment.executors[label]
    if executor.WhichOneof("spec") != "container":
        raise NotEmulatedError(f"{name}: an executor of kind {executor.WhichOneof('spec')}")
    if component.output_definitions.parameters:
        raise NotEmulatedError(f"{name}: output parameters")
    return Task(name, task, component, executor.container, _kubernetes_config(name, label, platform))


def constant(parameter: pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec) -> str:
    """Returns the text of a parameter in the platform document, empty if it is not set.

    Raises:
        NotEmulatedError: It is not a constant.
    """
    if parameter.WhichOneof("kind") not in (None, "runtime_value"):
        raise NotEmulatedError(f"a parameter in the platform document that is not a constant: {parameter}")
    return str(parameter.runtime_value.constant.string_value)


def _kubernetes_config(
    name: str, label: str, platform: pipeline_spec_pb2.PlatformSpec
) -> kubernetes_executor_config_pb2.KubernetesExecutorConfig:
    config = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
    executors = platform.platforms["kubernetes"].deployment_spec.executors
    if label in executors:
        json_format.ParseDict(json_format.MessageToDict(executors[label]), config)
    if unknown := {field.name for field, _ in config.ListFields()} - _EMULATED_FIELDS:
        raise NotEmulatedError(f"{name}: {sorted(unknown)} in the platform document")
    if any(mount.sub_path for mount in config.pvc_mount):
        raise NotEmulatedError(f"{name}: a path in a volume")
    return config
