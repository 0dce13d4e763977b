"""Emulates the driver: the input of a task, its condition, its cache key and its pod.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/driver (container.go, resolve.go, driver.go, k8s.go, cache.go) and
backend/src/v2/cacheutils/cache.go. `test_recordings.py` compares it with recordings of the real driver.
"""

import hashlib
import json
import operator
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.compiled_pipeline import Task, check_kind, constant
from tests.kubeflow.emulator.contract import (
    LOGS_KEY,
    ContractError,
    NotEmulatedError,
    check_argument_size,
    to_json,
)
from tests.kubeflow.emulator.metadata import Metadata, Run
from tests.kubeflow.emulator.stores import path_in_pod

# Of CEL, the one form that TFX writes for a comparison with a property of an artifact: tfx/orchestration/kubeflow/v2/
# compiler_utils.py (placeholder_to_cel). KFP evaluates it in backend/src/v2/expression/expression.go.
_COMPARISON = re.compile(
    r"\(inputs\.artifacts\['(?P<key>[^']+)'\]\.artifacts\[(?P<index>\d+)\]\.metadata\['(?P<name>[^']+)'\] "
    r"(?P<operator>==|<|>) (?P<number>-?\d+\.\d+)\)"
)
_OPERATORS = {"==": operator.eq, "<": operator.lt, ">": operator.gt}
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)']}}")


@dataclass(frozen=True)
class Execution:
    """The decisions of the driver about a task.

    Attributes:
        execution_id: ID in ML Metadata.
        executor_input: The input of the task.
        condition: Whether its condition holds; None if it has none.
        is_cached: Whether a former execution provides its outputs.
        pod: The patch of its pod; empty if there is none.
    """

    execution_id: int
    executor_input: pipeline_spec_pb2.ExecutorInput
    condition: bool | None
    is_cached: bool = False
    pod: dict[str, Any] = field(default_factory=dict)


def drive(task: Task, run: Run, metadata: Metadata) -> Execution:
    """Runs the driver for a task.

    Raises:
        ContractError: The driver would fail.
    """
    executor_input = pipeline_spec_pb2.ExecutorInput()
    inputs = executor_input.inputs
    _resolve_parameters(task, run, executor_input)
    _resolve_artifacts(task, run, metadata, executor_input)
    text = task.spec.trigger_policy.condition
    condition = _holds(text, executor_input) if text else None
    if condition is False:
        execution_id = metadata.create_execution(run, task.name, inputs, is_triggered=False)
        return Execution(execution_id, executor_input, condition)
    _provision_outputs(task, run, executor_input)
    check_argument_size(to_json(executor_input), f"{task.name}: --executor_input")
    check_argument_size(to_json(task.component), f"{task.name}: --component_spec")
    caching = task.spec.caching_options
    if caching.cache_key:
        raise NotEmulatedError(f"{task.name}: a custom cache key")
    fingerprint = cache_fingerprint(task, executor_input) if caching.enable_cache else ""
    cached = metadata.cached(run.pipeline.name, fingerprint)
    execution_id = metadata.create_execution(
        run, task.name, inputs, is_triggered=True, fingerprint=fingerprint, cached_execution=cached
    )
    if cached is None:
        return Execution(execution_id, executor_input, condition, pod=pod_patch(task, executor_input))
    outputs = metadata.outputs(cached)
    if missing := executor_input.outputs.artifacts.keys() - outputs.keys():
        raise ContractError(f"unable to find artifact with name {sorted(missing)} in mlmd output artifacts")
    metadata.publish(run, execution_id, "cached", outputs)
    return Execution(execution_id, executor_input, condition, is_cached=True)


def pod_patch(task: Task, executor_input: pipeline_spec_pb2.ExecutorInput) -> dict[str, Any]:
    """Returns the parts of the pod that depend on the run or on the platform document.

    Raises:
        ContractError: An input parameter does not exist.
    """
    asked = task.container.resources
    limits = {"cpu": asked.resource_cpu_limit, "memory": asked.resource_memory_limit}
    if asked.accelerator.resource_type:
        limits[asked.accelerator.resource_type] = asked.accelerator.resource_count
    requests = {"cpu": asked.resource_cpu_request, "memory": asked.resource_memory_request}
    resources = {
        name: {kind: substitute_parameters(amount, executor_input) for kind, amount in amounts.items() if amount}
        for name, amounts in (("limits", limits), ("requests", requests))
    }
    environment: list[dict[str, Any]] = [{"name": item.name, "value": item.value} for item in task.container.env]
    for secret in task.kubernetes.secret_as_env:
        name = constant(secret.secret_name_parameter) or secret.secret_name
        environment += [
            {"name": each.env_var, "valueFrom": {"secretKeyRef": {"name": name, "key": each.secret_key}}}
            for each in secret.key_to_env
        ]
    empty = [(mount.volume_name, mount.mount_path) for mount in task.kubernetes.empty_dir_mounts]
    claims = [(mount.claim, mount.mount_path) for mount in task.mounts]
    secrets = [(name, path) for path, name in task.secret_mounts.items()]
    return {
        "image": substitute_parameters(task.container.image, executor_input),
        "resources": {name: amounts for name, amounts in resources.items() if amounts},
        "volumes": [
            *({"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim, _ in claims),
            *({"name": name, "secret": {"secretName": name, "optional": False}} for name, _ in secrets),
            *({"name": name, "emptyDir": {}} for name, _ in empty),
        ],
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in claims + secrets + empty],
        "env": environment,
    }


def substitute_parameters(text: str, executor_input: pipeline_spec_pb2.ExecutorInput) -> str:
    """Replaces the placeholders of input parameters.

    Raises:
        ContractError: An input parameter does not exist.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in executor_input.inputs.parameter_values:
            raise ContractError(f"parameter {found[1]!r} not found in executor input")
        return as_text(executor_input.inputs.parameter_values[found[1]])

    return _PARAMETER.sub(value, text)


def as_text(value: Value) -> str:
    """Returns a parameter as text in a command."""
    return value.string_value if value.WhichOneof("kind") == "string_value" else to_json(value)


def cache_fingerprint(task: Task, executor_input: pipeline_spec_pb2.ExecutorInput) -> str:
    """Returns the cache key of a task.

    It depends on the IDs of the inputs, not on their files, and on the image as compiled, which is a placeholder.
    """
    inputs, outputs = executor_input.inputs, executor_input.outputs
    wiped = {key: pipeline_spec_pb2.RuntimeArtifact() for key in outputs.artifacts}
    for key, artifact in wiped.items():
        artifact.CopyFrom(outputs.artifacts[key].artifacts[0])
        artifact.ClearField("uri")
    content = {
        "inputArtifactNames": {key: [item.name for item in found.artifacts] for key, found in inputs.artifacts.items()},
        "inputParameterValues": {key: json.loads(to_json(item)) for key, item in inputs.parameter_values.items()},
        "outputArtifactsSpec": {key: json_format.MessageToDict(artifact) for key, artifact in wiped.items()},
        "containerSpec": {
            "image": task.container.image,
            "cmdArgs": [*task.container.command, *task.container.args],
            "pvcNames": sorted({mount.claim for mount in task.mounts}),
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _resolve_parameters(task: Task, run: Run, executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    values = executor_input.inputs.parameter_values
    for name, source in task.spec.inputs.parameters.items():
        values[name].CopyFrom(_parameter(task, run, name, source))
    for name, definition in task.component.input_definitions.parameters.items():
        if name not in values:
            if not definition.is_optional and not definition.HasField("default_value"):
                raise ContractError(f"neither value nor default value provided for non-optional parameter {name!r}")
        elif definition.parameter_type == pipeline_spec_pb2.ParameterType.STRING:
            values[name].string_value = as_text(values[name])
        else:
            check_kind(name, values[name], definition.parameter_type)


def _parameter(task: Task, run: Run, name: str, source: pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec) -> Value:
    match source.WhichOneof("kind"):
        case "component_input_parameter":
            if source.component_input_parameter not in run.parameters:
                raise ContractError(f"parent DAG does not have input parameter {source.component_input_parameter}")
            return run.parameters[source.component_input_parameter]
        case "runtime_value" if source.runtime_value.HasField("constant"):
            constant = source.runtime_value.constant
            special = {"{{$.pipeline_job_uuid}}": run.run_id, "{{$.pipeline_task_name}}": task.name}
            if constant.string_value in special:
                return Value(string_value=special[constant.string_value])
            return constant
        case kind:
            raise NotEmulatedError(f"{task.name}: parameter {name} from {kind}")


def _resolve_artifacts(
    task: Task, run: Run, metadata: Metadata, executor_input: pipeline_spec_pb2.ExecutorInput
) -> None:
    executions = metadata.executions(run)
    for name, source in task.spec.inputs.artifacts.items():
        producer, key = source.task_output_artifact.producer_task, source.task_output_artifact.output_artifact_key
        if not producer:
            raise NotEmulatedError(f"{task.name}: artifact {name} from {source.WhichOneof('kind')}")
        outputs = metadata.outputs(executions[producer].id)
        if key not in outputs:
            raise ContractError(f"cannot find output artifact key {key!r} in producer task {producer!r}")
        executor_input.inputs.artifacts[name].artifacts.append(outputs[key].to_runtime())


def _provision_outputs(task: Task, run: Run, executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    root = f"{run.root}/{task.name}/{uuid.uuid4()}"
    logs = pipeline_spec_pb2.ComponentOutputsSpec.ArtifactSpec()
    logs.artifact_type.schema_title = "system.Artifact"
    for name, definition in {**task.component.output_definitions.artifacts, LOGS_KEY: logs}.items():
        artifact = executor_input.outputs.artifacts[name].artifacts.add(name=name, uri=f"{root}/{name}")
        artifact.type.CopyFrom(definition.artifact_type)
        if definition.HasField("metadata"):
            artifact.metadata.CopyFrom(definition.metadata)
    executor_input.outputs.output_file = str(path_in_pod(root) / "output_metadata.json")


def _holds(condition: str, executor_input: pipeline_spec_pb2.ExecutorInput) -> bool:
    parsed = _COMPARISON.fullmatch(condition)
    if parsed is None:
        raise NotEmulatedError(f"the condition {condition!r}")
    artifacts = executor_input.inputs.artifacts
    if parsed["key"] not in artifacts:
        raise ContractError(f"evaluation error: no such key: {parsed['key']}")
    fields = artifacts[parsed["key"]].artifacts[int(parsed["index"])].metadata.fields
    if parsed["name"] not in fields or fields[parsed["name"]].WhichOneof("kind") != "number_value":
        raise ContractError(f"evaluation error: no such key, or no number: {parsed['name']}")
    return bool(_OPERATORS[parsed["operator"]](fields[parsed["name"]].number_value, float(parsed["number"])))
