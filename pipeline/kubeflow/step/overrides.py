"""Puts the parameters of a run where a step expects them: in an execution property, or somewhere in its JSON text."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.kubeflow.step.failure import KubeflowStepError

Json = dict[str, Any]


def apply_overrides(parameters: Json, overrides: Iterable[str], parameter_types: Mapping[str, str]) -> Json:
    """Moves values of run parameters into execution properties.

    Args:
        parameters: Values of the execution properties and the run parameters of the step; stay as they are.
        overrides: `PROPERTY[.KEY…]=PARAMETER`; keys lead into a property that is a JSON object.
        parameter_types: The type of each parameter as in its ComponentInputsSpec, such as `NUMBER_INTEGER`.

    Returns:
        The execution properties alone.

    Raises:
        KubeflowStepError: An override names what is not there, or its value is not of its type.
    """
    properties = dict(parameters)
    overrides = list(overrides)
    taken = set()
    for override in overrides:
        target, _, parameter = override.partition("=")
        if not target or parameter not in parameters:
            known = ", ".join(sorted(parameters)) or "none"
            raise KubeflowStepError(
                f"--override={override}: expected PROPERTY=PARAMETER with a parameter of this step ({known}); "
                "compile the pipeline again."
            )
        value = _typed(parameter, parameters[parameter], parameter_types.get(parameter))
        name, *keys = target.split(".")
        properties[name] = _replaced(properties, name, keys, value, override)
        taken.add(parameter)
    targets = {override.partition("=")[0].split(".")[0] for override in overrides}
    return {name: value for name, value in properties.items() if name not in taken - targets}


def _typed(name: str, value: Any, parameter_type: str | None) -> Any:
    # The launcher passes numbers through a floating point, and, by hand, people give what they like.
    if parameter_type != "NUMBER_INTEGER":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise KubeflowStepError(f"parameter {name}: expected a whole number, not {value!r}; start the run with one.")
    return int(value)


def _replaced(properties: Json, name: str, keys: list[str], value: Any, override: str) -> Any:
    if not keys:
        return value
    try:
        whole = json.loads(properties[name])
        holder = whole
        for key in keys[:-1]:
            holder = holder[key]
        # The executor would ignore an unknown key.
        holder[keys[-1]]
        holder[keys[-1]] = value
    except (KeyError, TypeError, ValueError) as error:
        raise KubeflowStepError(
            f"--override={override}: there is no such value in the execution property {name!r}; "
            "compile the pipeline again with the code of this image."
        ) from error
    return json.dumps(whole)
