"""What TFX's pipeline spec lacks to run on Kubeflow Pipelines: functions that change the spec, as a dict, in place.

Keys are those of https://github.com/kubeflow/pipelines/blob/2.17.0/api/v2alpha1/pipeline_spec.proto.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.kubeflow.compile.runtime_parameters import IMAGE_PARAMETER, PipelineParameter, Value
from pipeline.settings.kubeflow import KubeflowSettings, RetrySettings, StepResources

Spec = dict[str, Any]

UNCACHED_STEPS = ("MnistExampleGen", "DataGate", "BaselineModel", "Pusher")
"""The steps that look at what no input of theirs tells.

KFP's cache compares parameters, the ids of input artifacts, command and image. It sees neither that the data behind the
URI of MnistExampleGen has changed, nor what was pushed to or removed from the serving folder since, which DataGate,
BaselineModel and Pusher look into. TFX's own cache does: there the fingerprint of the data is a parameter, and the
drivers of the others, which KFP does not call, add that of the baseline.
"""

RUN_ID_PARAMETER = "pipeline_run_id"
_TRAINER = "Trainer"


def tasks(spec: Spec) -> dict[str, Any]:
    """Returns the tasks by name."""
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def container(spec: Spec, step: str) -> dict[str, Any]:
    """Returns what runs in the pod of a step."""
    label = spec["components"][tasks(spec)[step]["componentRef"]["name"]]["executorLabel"]
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][label]["container"]
    return found


def set_constant(spec: Spec, step: str, parameter: str, value: Value) -> None:
    """Gives a parameter of a step another value."""
    tasks(spec)[step]["inputs"]["parameters"][parameter] = {"runtimeValue": {"constant": value}}


def add_arguments(spec: Spec, step: str, arguments: Iterable[str]) -> None:
    """Appends to the command line of a step."""
    container(spec, step)["args"] += arguments


def drop_beam_arguments(spec: Spec, beam_steps: Iterable[str], beam_args: Sequence[str]) -> None:
    """Takes the options of Beam, which TFX gives to all steps, from those that do not use Beam.

    The command line is part of the key of KFP's cache: another engine is no reason to train anew.
    """
    for step in set(tasks(spec)) - set(beam_steps):
        arguments = container(spec, step)["args"]
        del arguments[len(arguments) - len(beam_args) :]


def add_parameters(spec: Spec, parameters: Iterable[PipelineParameter], defaults: Mapping[str, Value]) -> None:
    """Makes parameters inputs of the pipeline and of the steps that they concern, and tells the steps where they go."""
    definitions = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for parameter in parameters:
        definitions[parameter.name] = {
            "parameterType": parameter.type,
            "defaultValue": defaults[parameter.name],
            "description": parameter.description,
            "isOptional": True,
        }
        for step in dict.fromkeys(target.step for target in parameter.targets):
            _add_input(spec, step, parameter.name, parameter.type, {"componentInputParameter": parameter.name})
        for target in parameter.targets:
            add_arguments(spec, target.step, [f"--override={target.path}={parameter.name}"])


def set_image_by_parameter(spec: Spec) -> None:
    """Lets each run choose the image of all steps.

    KFP's driver resolves the placeholder from the inputs of the task (resolvePodSpecInputRuntimeParameter in
    backend/src/v2/driver/resolve.go), so each task needs the input.
    """
    for step in tasks(spec):
        _add_input(spec, step, IMAGE_PARAMETER, "STRING", {"componentInputParameter": IMAGE_PARAMETER})
        container(spec, step)["image"] = f"{{{{$.inputs.parameters['{IMAGE_PARAMETER}']}}}}"


def add_run_id(spec: Spec, step: str) -> None:
    """Tells a step the id of the run, which KFP gives to no container."""
    _add_input(spec, step, RUN_ID_PARAMETER, "STRING", {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}})


def drop_caching(spec: Spec, steps: Iterable[str] = UNCACHED_STEPS) -> None:
    """Makes steps run every time."""
    for step in steps:
        tasks(spec)[step].pop("cachingOptions", None)


def drop_lifecycle(spec: Spec) -> None:
    """Drops the hooks in which Vertex AI calls TFX's drivers; KFP reads them and does nothing."""
    for step in tasks(spec):
        container(spec, step).pop("lifecycle", None)


def set_retries(spec: Spec, retries: RetrySettings) -> None:
    """Has failed steps tried again, later each time.

    What KFP calls `backoffMaxDuration` bounds no wait: Argo counts it from the first start of the step, gives up when
    it is over and ends a further attempt that still runs then (processNodeRetries in its
    workflow/controller/operator.go). Without one, KFP's templates would have it 0.
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


def set_resources(spec: Spec, settings: KubeflowSettings) -> None:
    """States what each step needs, in the fields that KFP 2.17 reads first (getPodResource in driver/driver.go).

    Memory is limited to what is reserved, because a node that runs out of it ends any pod; CPUs are not, because
    nothing is lost by using those that are idle.
    """
    for step in tasks(spec):
        needs = _needs(step, settings)
        resources: dict[str, Any] = {}
        if needs.cpu:
            resources["resourceCpuRequest"] = needs.cpu
        if needs.memory:
            resources |= {"resourceMemoryRequest": needs.memory, "resourceMemoryLimit": needs.memory}
        if step == _TRAINER and settings.gpu_count:
            resources["accelerator"] = {"resourceType": settings.gpu_type, "resourceCount": str(settings.gpu_count)}
        if resources:
            container(spec, step)["resources"] = resources


def set_vertex_resources(spec: Spec, settings: KubeflowSettings) -> None:
    """States what each step needs as Vertex AI wants it: the size of a machine of its own, memory in gigabytes."""
    from kubernetes.utils.quantity import parse_quantity

    for step in tasks(spec):
        needs = _needs(step, settings)
        resources: dict[str, Any] = {}
        if needs.cpu:
            resources["cpuLimit"] = float(parse_quantity(needs.cpu))
        if needs.memory:
            resources["memoryLimit"] = float(parse_quantity(needs.memory)) / 1e9
        if step == _TRAINER and settings.gpu_count:
            resources["accelerator"] = {"type": settings.gpu_type, "count": str(settings.gpu_count)}
        if resources:
            container(spec, step)["resources"] = resources


def _needs(step: str, settings: KubeflowSettings) -> StepResources:
    own = settings.resources.get(step.lower(), StepResources())
    return StepResources(cpu=own.cpu or settings.cpu, memory=own.memory or settings.memory)


def _add_input(spec: Spec, step: str, name: str, kind: str, value: dict[str, Any]) -> None:
    task = tasks(spec)[step]
    task.setdefault("inputs", {}).setdefault("parameters", {})[name] = value
    definitions = spec["components"][task["componentRef"]["name"]].setdefault("inputDefinitions", {})
    definitions.setdefault("parameters", {})[name] = {"parameterType": kind}
