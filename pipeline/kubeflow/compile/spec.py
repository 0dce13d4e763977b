"""Adapts TFX's pipeline spec to Kubeflow Pipelines: functions that change the spec, a dict, in place.

Keys: https://github.com/kubeflow/pipelines/blob/2.17.0/api/v2alpha1/pipeline_spec.proto and, for the platform document,
https://github.com/kubeflow/pipelines/blob/2.17.0/kubernetes_platform/proto/kubernetes_executor_config.proto.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from components.run_report.report import REPORT_STEPS
from pipeline.kubeflow.compile.parameters import IMAGE_PARAMETER, CompileTarget, PipelineParameter, Value
from pipeline.kubeflow.step.entrypoint import STORE_VARIABLE
from pipeline.kubeflow.step.executor_messages import HTML_TITLE
from pipeline.settings.kubeflow import KubeflowSettings, RetrySettings, StepResources

Spec = dict[str, Any]

PUSHER = "Pusher"
SERVING_STEPS = ("DataGate", "BaselineModel", PUSHER)
"""Steps that read or write the pushed versions."""
UNCACHED_STEPS = ("MnistExampleGen", "ImportSchemaGen", *SERVING_STEPS)
"""Steps that read more than their inputs, or have no inputs.

KFP's cache compares parameters, the ids of input artifacts, the command and the image. It cannot detect new data behind
the URI of MnistExampleGen, nor a change in the serving folder. TFX's own cache can: there, the fingerprint of the data
is a parameter, and drivers, which KFP does not call, add that of the baseline. A step without inputs would come from
the cache after the root of the artifacts has moved to another store, from which KFP cannot download its output.
"""
SIGNING_FOLDER = "signing"
"""Folder in the workspace where Pusher mounts `kubeflow.signing_secret`."""
IMAGE_PLACEHOLDER = f"{{{{$.inputs.parameters['{IMAGE_PARAMETER}']}}}}"
RUN_ID_PARAMETER = "pipeline_run_id"
RUN_ID_PLACEHOLDER = "{{$.pipeline_job_uuid}}"

_DATA_STEP = "MnistExampleGen"
_GPU_STEP = "Trainer"


def tasks(spec: Spec) -> dict[str, Any]:
    """Returns the tasks by step."""
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def container(spec: Spec, step: str) -> dict[str, Any]:
    """Returns the container of a step."""
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][_executor_label(spec, step)]["container"]
    return found


def set_constant(spec: Spec, step: str, parameter: str, value: Value) -> None:
    """Sets a parameter of a step to a constant."""
    tasks(spec)[step]["inputs"]["parameters"][parameter] = {"runtimeValue": {"constant": value}}


def add_arguments(spec: Spec, steps: Iterable[str], *arguments: str) -> None:
    """Appends to the command line of steps."""
    for step in steps:
        container(spec, step)["args"] += arguments


def drop_beam_arguments(spec: Spec, beam_steps: Iterable[str], beam_args: Sequence[str]) -> None:
    """Drops the Beam options, which TFX passes to all steps, from steps that do not use Beam.

    The command line is part of KFP's cache key: a change of the engine must not train the model again.
    """
    for step in set(tasks(spec)) - set(beam_steps):
        arguments = container(spec, step)["args"]
        del arguments[len(arguments) - len(beam_args) :]


def drop_hooks_and_caching(spec: Spec) -> None:
    """Drops the hooks in which Vertex AI calls TFX's drivers, which KFP ignores, and the caching of uncached steps."""
    for step, task in tasks(spec).items():
        container(spec, step).pop("lifecycle", None)
        if step in UNCACHED_STEPS:
            task.pop("cachingOptions", None)


def add_parameters(spec: Spec, parameters: Iterable[PipelineParameter]) -> None:
    """Adds inputs of the pipeline, passes them to the steps that use them, and adds `--override` to these steps."""
    definitions = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for parameter in parameters:
        definitions[parameter.name] = {
            "parameterType": parameter.type,
            "defaultValue": parameter.default,
            "description": parameter.description,
            "isOptional": True,
        }
        if parameter.name == IMAGE_PARAMETER:
            for step in tasks(spec):
                # KFP's driver resolves the placeholder from the inputs of the task.
                _add_input(spec, step, parameter)
                container(spec, step)["image"] = IMAGE_PLACEHOLDER
        else:
            for step, paths in parameter.targets.items():
                _add_input(spec, step, parameter)
                add_arguments(spec, [step], *(f"--override={path}={parameter.name}" for path in paths))
            if _DATA_STEP not in parameter.targets:
                # They show the settings in the provenance and in the report.
                for step in (PUSHER, *REPORT_STEPS):
                    _add_input(spec, step, parameter)
                    add_arguments(spec, [step], f"--override=settings.{parameter.setting}={parameter.name}")


def add_run_id(spec: Spec, step: str) -> None:
    """Passes the id of the run to a step; KFP does not set it in containers."""
    _add_input(spec, step, PipelineParameter(RUN_ID_PARAMETER, "STRING"))
    set_constant(spec, step, RUN_ID_PARAMETER, RUN_ID_PLACEHOLDER)


def show_reports(spec: Spec) -> None:
    """Gives reports the type that the UI of Kubeflow Pipelines shows as a page."""
    for step in REPORT_STEPS:
        definitions = spec["components"][tasks(spec)[step]["componentRef"]["name"]]["outputDefinitions"]
        definitions["artifacts"]["report"]["artifactType"] = {"schemaTitle": HTML_TITLE, "schemaVersion": "0.0.1"}


def set_retries(spec: Spec, retries: RetrySettings) -> None:
    """Retries failed steps with increasing delays.

    KFP's `backoffMaxDuration` does not limit a delay: Argo counts it from the first start of the step, stops retrying
    when it is over, and ends an attempt that is still running then. KFP's own default for it is 0.
    """
    if not retries.max_retries:
        return
    for task in tasks(spec).values():
        task["retryPolicy"] = {
            "maxRetryCount": retries.max_retries,
            "backoffDuration": f"{retries.first_back_off_s}s",
            "backoffFactor": float(retries.factor),
            "backoffMaxDuration": f"{retries.time_limit_s}s",
        }


def set_resources(spec: Spec, settings: KubeflowSettings, target: CompileTarget) -> None:
    """Sets the CPU, memory and GPUs of each step.

    On Kubernetes, memory is limited to the reserved amount, because a node that runs out of memory ends any pod; CPU is
    not limited, because idle CPUs are free to use. On Vertex AI, the limits choose the machine.
    """
    for step in tasks(spec):
        own = settings.resources.get(step.lower(), StepResources())
        cpu, memory = own.cpu or settings.cpu, own.memory or settings.memory
        resources = _vertex_limits(cpu, memory) if target == "vertex" else _kubernetes_resources(cpu, memory)
        if step == _GPU_STEP and settings.gpu_count:
            kind, count = ("type", "count") if target == "vertex" else ("resourceType", "resourceCount")
            resources["accelerator"] = {kind: settings.gpu_type, count: str(settings.gpu_count)}
        if resources:
            container(spec, step)["resources"] = resources


def _kubernetes_resources(cpu: str, memory: str) -> dict[str, Any]:
    resources = {"resourceCpuRequest": cpu} if cpu else {}
    return resources | ({"resourceMemoryRequest": memory, "resourceMemoryLimit": memory} if memory else {})


def _vertex_limits(cpu: str, memory: str) -> dict[str, Any]:
    from kubernetes.utils.quantity import parse_quantity

    limits = {"cpuLimit": float(parse_quantity(cpu))} if cpu else {}
    return limits | ({"memoryLimit": float(parse_quantity(memory)) / 1e9} if memory else {})


def platform_document(spec: Spec, settings: KubeflowSettings, staged_steps: frozenset[str]) -> dict[str, Any]:
    """Builds the second document of a compiled pipeline, a `PlatformSpec`: volumes, secrets and image pulls.

    The `staged_steps` share files with the workers of a remote engine.
    """
    executors = {}
    for step in tasks(spec):
        config = _kubernetes_config(step, settings, is_staged=step in staged_steps)
        if config:
            executors[_executor_label(spec, step)] = config
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _kubernetes_config(step: str, settings: KubeflowSettings, *, is_staged: bool) -> dict[str, Any]:
    claims: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    uses_store = step == _DATA_STEP
    if settings.image_pull_policy:
        config["imagePullPolicy"] = settings.image_pull_policy
    if settings.image_pull_secret:
        config["imagePullSecret"] = [_secret(settings.image_pull_secret)]
    if step in SERVING_STEPS:
        folder = str(settings.workspace / "serving")
        if settings.serving_store:
            uses_store = True
            config["emptyDirMounts"] = [{"volumeName": "serving", "mountPath": folder}]
        else:
            claims.append(_claim(settings.serving_claim, folder))
    if step == _DATA_STEP and settings.data_claim:
        claims.append(_claim(settings.data_claim, str(settings.data_folder)))
    if is_staged:
        claims.append(_claim(settings.staging_claim, str(settings.staging_folder)))
    if claims:
        config["pvcMount"] = claims
    if step == PUSHER and settings.signing_secret:
        folder = str(settings.workspace / SIGNING_FOLDER)
        config["secretAsVolume"] = [{**_secret(settings.signing_secret), "mountPath": folder}]
    if uses_store and settings.store_secret:
        variables = [{"secretKey": key, "envVar": f"{STORE_VARIABLE}{key}"} for key in settings.store_secret_keys]
        config["secretAsEnv"] = [{**_secret(settings.store_secret), "keyToEnv": variables}]
    return config


def _claim(name: str, folder: str) -> dict[str, Any]:
    # KFP before 2.4 reads `constant`, later versions the parameter. The SDK writes both too.
    return {"constant": name, "pvcNameParameter": {"runtimeValue": {"constant": name}}, "mountPath": folder}


def _secret(name: str) -> dict[str, Any]:
    return {"secretName": name, "secretNameParameter": {"runtimeValue": {"constant": name}}}


def _executor_label(spec: Spec, step: str) -> str:
    label: str = spec["components"][tasks(spec)[step]["componentRef"]["name"]]["executorLabel"]
    return label


def _add_input(spec: Spec, step: str, parameter: PipelineParameter) -> None:
    task = tasks(spec)[step]
    sources = task.setdefault("inputs", {}).setdefault("parameters", {})
    sources[parameter.name] = {"componentInputParameter": parameter.name}
    definitions = spec["components"][task["componentRef"]["name"]].setdefault("inputDefinitions", {})
    definitions.setdefault("parameters", {})[parameter.name] = {"parameterType": parameter.type}
