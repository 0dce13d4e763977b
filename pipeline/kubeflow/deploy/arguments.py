"""The values that a run is started with: `name=value` texts, checked against the inputs of the pipeline."""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.deploy.errors import WrongDeploymentError

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

Value = str | int | float

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class PipelineInput:
    """A parameter of a pipeline.

    Attributes:
        name: Its name.
        type: What a KFP pipeline spec calls its type: `NUMBER_INTEGER`, `NUMBER_DOUBLE`, `STRING`…
        default: Its value in runs that do not say another, or None.
    """

    name: str
    type: str
    default: Any

    def parse(self, text: str) -> Value:
        """Returns the value that a text stands for.

        Raises:
            ValueError: It stands for none of this type; the message says what was expected.
        """
        if self.type == "STRING":
            return text
        if self.type == "NUMBER_INTEGER" and _INTEGER.fullmatch(text):
            return int(text)
        if self.type == "NUMBER_DOUBLE" and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if self.type in ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
            raise ValueError("expected an integer" if self.type == "NUMBER_INTEGER" else "expected a number")
        raise ValueError("a value of this type cannot be given on the command line")

    def __str__(self) -> str:
        default = "no default" if self.default is None else f"default {json.dumps(self.default)}"
        return f"{self.name} ({self.type}, {default})"


def parse_arguments(assignments: Sequence[str], inputs: Mapping[str, PipelineInput]) -> dict[str, Value]:
    """Turns `name=value` texts into the arguments of a run.

    Args:
        assignments: The texts; of two for one name the later wins.
        inputs: The parameters of the pipeline by name.

    Raises:
        WrongDeploymentError: A text has no name or no `=`, there is no such parameter, a value is of a wrong type, or
            one is missing.
    """
    arguments: dict[str, Value] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not (name and separator):
            raise WrongDeploymentError(f"parameter {assignment!r}: expected name=value, such as epochs=3.")
        if name not in inputs:
            raise WrongDeploymentError(f"parameter {name}: {_unknown(name, inputs)}")
        try:
            arguments[name] = inputs[name].parse(text)
        except ValueError as error:
            raise WrongDeploymentError(f"parameter {inputs[name]}: {error}, not {text!r}.") from error
    missing = [str(each) for each in inputs.values() if each.default is None and each.name not in arguments]
    if missing:
        raise WrongDeploymentError(f"parameter {', '.join(missing)}: give a value with --param name=value.")
    return arguments


def _unknown(name: str, inputs: Mapping[str, PipelineInput]) -> str:
    close = difflib.get_close_matches(name, inputs, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no such parameter; {hint}There are: {', '.join(map(str, inputs.values())) or 'none'}."


def inputs_of(settings: "Settings") -> dict[str, PipelineInput]:
    """Returns the parameters that the pipeline of these settings has when it is compiled."""
    from pipeline.kubeflow.compile.runtime_parameters import PARAMETERS, parameter_values

    defaults = parameter_values(settings)
    return {each.name: PipelineInput(each.name, each.type, defaults[each.name]) for each in PARAMETERS}


def check_allowed(arguments: Mapping[str, Value]) -> None:
    """Checks values by the rules of the settings that they stand for.

    Args:
        arguments: Values by the name of the parameter; those that stand for no setting are not looked at.

    Raises:
        SettingsError: A value is not allowed.
    """
    from pipeline.kubeflow.compile.runtime_parameters import PARAMETERS, settings_values
    from pipeline.settings.settings import load_settings

    names = {each.name for each in PARAMETERS}
    load_settings(settings_values({name: value for name, value in arguments.items() if name in names}))
