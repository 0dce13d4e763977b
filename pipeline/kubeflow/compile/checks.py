"""What is known to go wrong on a cluster, found before a compiled pipeline is written.

The rules are those of Kubeflow Pipelines 2.17 (https://github.com/kubeflow/pipelines/tree/2.17.0) and of the Argo
Workflows below it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.kubeflow.compile.spec import Spec, container, tasks

Problems = Iterator[str]

# Source: pipelineNamePattern in backend/src/apiserver/common/utils.go.
_PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# Source: isValidWorkflowFieldName and validateDAG in https://github.com/argoproj/argo-workflows, workflow/validate.
# It takes 128 characters, of which KFP needs those of "-driver".
_TASK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,120}")
_RESERVED_COMPONENTS = ("root", "entrypoint")
_DRIVER_SUFFIX = "-driver"
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_INPUT_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_CONDITION_INPUT = re.compile(r"inputs\.artifacts\['([^']*)'\]")
_PARAMETER_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
}
_LARGEST_INTEGER = 2**53
"""Numbers are doubles on the way to a pod: from here on, some integers would arrive as their neighbours."""


class CompileError(ValueError):
    """A pipeline that a cluster would refuse or fail to run; each line of the message is one reason."""


def check_spec(spec: Spec) -> None:
    """Checks a spec against all rules but those of sizes.

    Args:
        spec: A `PipelineSpec` as a dict.

    Raises:
        CompileError: It breaks rules; the message has a line for each place.
    """
    # The other checks look for what belongs to each step.
    raise_problems(_check_executors(spec))
    checks: tuple[Callable[[Spec], Problems], ...] = (
        _check_name,
        _check_task_names,
        _check_producers,
        _check_conditions,
        _check_parameters,
        _check_integers,
        _check_placeholders,
    )
    raise_problems(problem for check in checks for problem in check(spec))


def raise_problems(problems: Problems) -> None:
    """Raises a CompileError if there is any problem."""
    found = list(problems)
    if found:
        raise CompileError("\n".join(found))


def _check_name(spec: Spec) -> Problems:
    name = spec["pipelineInfo"]["name"]
    if not _PIPELINE_NAME.fullmatch(name):
        yield (
            f"pipeline name {name!r}: expected up to 128 of a-z, 0-9 and -, the first not a -; set `name` to such one."
        )


def _check_task_names(spec: Spec) -> Problems:
    names = set(tasks(spec))
    for name in sorted(names):
        if not _TASK_NAME.fullmatch(name):
            yield (
                f"step {name!r}: Argo takes up to 121 letters, digits and -, a letter first; give the step such an id, "
                "`.with_id(…)`."
            )
        if name + _DRIVER_SUFFIX in names:
            yield (
                f"step {name}{_DRIVER_SUFFIX}: this is what KFP calls the driver of the step {name}; give one of the "
                "two another id."
            )


def _check_executors(spec: Spec) -> Problems:
    executors = spec["deploymentSpec"]["executors"]
    for name, task in sorted(tasks(spec).items()):
        component = task["componentRef"]["name"]
        if component in _RESERVED_COMPONENTS:
            yield f"step {name}: KFP keeps the name {component} for itself; give the step another id."
        if component not in spec["components"]:
            yield f"step {name}: there is no component {component}; this is a mistake of the compiler."
            continue
        label = spec["components"][component].get("executorLabel")
        kinds = set(executors.get(label, {}))
        if kinds != {"container"}:
            kind = " or ".join(sorted(kinds)) or "nothing"
            yield (
                f"step {name}: it runs {kind}, and Kubeflow Pipelines runs containers only; replace the step by a "
                "component with an executor, as BaselineModel replaces a Resolver."
            )


def _check_producers(spec: Spec) -> Problems:
    all_tasks = tasks(spec)
    for name, task in sorted(all_tasks.items()):
        for other in task.get("dependentTasks", []):
            if other not in all_tasks:
                yield f"step {name}: it waits for {other}, which is no step; add {other} to the pipeline."
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            producer, output_key = output["producerTask"], output["outputArtifactKey"]
            if producer not in all_tasks:
                yield f"step {name}: input {key} comes from {producer}, which is no step; add it to the pipeline."
            elif output_key not in _definitions(spec, producer, "outputDefinitions", "artifacts"):
                yield f"step {name}: input {key} is {output_key} of {producer}, which has no such output; correct it."


def _check_conditions(spec: Spec) -> Problems:
    for name, task in sorted(tasks(spec).items()):
        condition = task.get("triggerPolicy", {}).get("condition", "")
        for key in _CONDITION_INPUT.findall(condition):
            given = task.get("inputs", {}).get("artifacts", {})
            if key not in given or key not in _definitions(spec, name, "inputDefinitions", "artifacts"):
                yield f"step {name}: its condition asks for {key}, which is no input of it; make it one."


def _check_parameters(spec: Spec) -> Problems:
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in sorted(inputs.items()):
        kind = definition["parameterType"]
        default = definition.get("defaultValue")
        if not isinstance(default, _PARAMETER_TYPES[kind]):
            yield f"parameter {name}: expected a default of type {kind}, not {default!r}; give it one."
    for name, task in sorted(tasks(spec).items()):
        given = task.get("inputs", {}).get("parameters", {})
        for key in sorted(set(_definitions(spec, name, "inputDefinitions", "parameters")) - set(given)):
            yield f"step {name}: its parameter {key} has no value; give it one."
        for key, value in sorted(given.items()):
            source = value.get("componentInputParameter", key)
            if "componentInputParameter" in value and source not in inputs:
                yield f"step {name}: {key} comes from the parameter {source}, which the pipeline lacks; add it."


def _check_integers(spec: Spec) -> Problems:
    for name, task in sorted(tasks(spec).items()):
        for key, value in sorted(task.get("inputs", {}).get("parameters", {}).items()):
            constant = value.get("runtimeValue", {}).get("constant")
            if isinstance(constant, int | float) and abs(constant) >= _LARGEST_INTEGER:
                yield (
                    f"step {name}: {key} is {constant:.0f}, and Kubeflow Pipelines hands on integers below 2^53 "
                    "exactly; set a smaller one."
                )


def _check_placeholders(spec: Spec) -> Problems:
    for name, task in sorted(tasks(spec).items()):
        given = task.get("inputs", {}).get("parameters", {})
        for text in _texts(container(spec, name)):
            for found in _PLACEHOLDER.findall(text):
                match = _INPUT_PLACEHOLDER.fullmatch(found)
                if found != "{{$}}" and not (match and match[1] in given):
                    yield _unknown_placeholder(f"step {name}", found)
        for text in _texts(given):
            for found in _PLACEHOLDER.findall(text):
                if found != "{{$.pipeline_job_uuid}}" or text != found:
                    yield _unknown_placeholder(f"step {name}", found)
    for text in _texts(spec["root"].get("inputDefinitions", {})):
        for found in _PLACEHOLDER.findall(text):
            yield _unknown_placeholder("a default of the pipeline", found)


def _unknown_placeholder(place: str, found: str) -> str:
    return f"{place}: KFP or Argo would replace {found}, which neither knows here; set a value without two braces."


def _definitions(spec: Spec, step: str, side: str, kind: str) -> dict[str, Any]:
    component = spec["components"].get(tasks(spec)[step]["componentRef"]["name"], {})
    found: dict[str, Any] = component.get(side, {}).get(kind, {})
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
