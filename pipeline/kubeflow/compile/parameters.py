"""The parameters of a compiled pipeline: what each run can set, and which setting each one stands for."""

import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.settings.settings import PROJECT_ROOT, Settings, load_settings
from registry.errors import UsageError

CompileTarget = Literal["kfp", "vertex"]
Value = str | int | float

IMAGE_PARAMETER = "image"
NEWEST_SPAN = -1

PLACEHOLDER = re.compile(r"\{\{.*?\}\}")
"""What KFP or Argo replaces in the values of a pipeline."""

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class WrongDeploymentError(UsageError):
    """Input of `digits deploy` that cannot be used; the message names it and what is expected."""


@dataclass(frozen=True)
class PipelineParameter:
    """A parameter of a compiled pipeline.

    Attributes:
        name: Its name.
        type: Its type in the pipeline spec of KFP, such as `STRING`, `NUMBER_INTEGER` or `NUMBER_DOUBLE`.
        setting: The setting that it stands for, such as `trainer.epochs`; empty if it was read from a compiled file.
        targets: By id of the step that gets its value, where the value goes: execution properties of the step and, if
            they are JSON, the keys below them, joined by dots. The image goes into the containers of all steps.
        default: Its value in runs that do not set it; None if it has no default.
    """

    name: str
    type: str
    setting: str = ""
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: Any = None

    @property
    def description(self) -> str:
        """The description of its setting."""
        section, key = self.setting.split(".")
        annotation = Settings.model_fields[section].annotation
        return annotation.model_fields[key].description or "" if annotation else ""

    def parse(self, text: str) -> Value:
        """Converts text to a value of this parameter's type.

        Raises:
            ValueError: The text is not of this type.
        """
        if self.type == "STRING":
            if PLACEHOLDER.search(text):
                raise ValueError("expected a text without two braces, which KFP or Argo would replace")
            return text
        if self.type == "NUMBER_INTEGER":
            if not _INTEGER.fullmatch(text):
                raise ValueError("expected an integer")
            return int(text)
        if self.type == "NUMBER_DOUBLE":
            if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
                raise ValueError("expected a number")
            return float(text)
        raise ValueError("expected a STRING or a NUMBER: the command line cannot set other types")

    def __str__(self) -> str:
        default = "no default" if self.default is None else f"default {json.dumps(self.default)}"
        return f"{self.name} ({self.type}, {default})"


# Fields of the named bounds in `pipeline.evaluation`, which would import TFMA.
_EVALUATION_BOUNDS: Mapping[str, tuple[str, ...]] = {
    "min_accuracy": ("accuracy.lower",),
    "min_class_accuracy": ("recall.lower", "precision.lower"),
    "max_log_loss": ("log_loss.upper",),
    "max_calibration_error": ("calibration_error.upper",),
    "max_accuracy_drop": ("accuracy.max_worsening",),
    "max_class_drop": ("recall.max_worsening", "precision.max_worsening"),
    "max_log_loss_rise": ("log_loss.max_worsening",),
    "max_calibration_error_rise": ("calibration_error.max_worsening",),
    "max_new_data_drop": ("accuracy.max_new_data_drop",),
    "max_new_data_class_drop": ("recall.max_new_data_drop",),
}
_ROBUSTNESS_BOUNDS: Mapping[str, tuple[str, ...]] = {
    "min_mean_accuracy": ("mean_accuracy.lower",),
    "min_accuracy": ("accuracy.lower",),
    "max_mean_drop": ("mean_accuracy.max_worsening",),
    "max_drop": ("accuracy.max_worsening",),
}


_OTHER_TARGETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "evaluation.min_accuracy": {"ServingCheck": ("evaluation_min_accuracy",)},
}


def _thresholds(
    section: str, step: str, bounds: Mapping[str, tuple[str, ...]], prefix: str = ""
) -> Iterator[PipelineParameter]:
    for key, paths in bounds.items():
        setting = f"{section}.{key}"
        targets = {step: tuple(f"bounds.{path}" for path in paths), **_OTHER_TARGETS.get(setting, {})}
        yield PipelineParameter(f"{prefix}{key}", "NUMBER_DOUBLE", setting, targets)


PARAMETERS: tuple[PipelineParameter, ...] = (
    PipelineParameter("data_uri", "STRING", "data.uri", {"MnistExampleGen": ("uri",)}),
    PipelineParameter("data_span", "NUMBER_INTEGER", "data.span", {"MnistExampleGen": ("span",)}),
    PipelineParameter(IMAGE_PARAMETER, "STRING", "kubeflow.image"),
    PipelineParameter(
        "epochs", "NUMBER_INTEGER", "trainer.epochs", {"Trainer": ("custom_config.hyperparameters.epochs",)}
    ),
    *_thresholds("evaluation", "Evaluator", _EVALUATION_BOUNDS),
    PipelineParameter(
        "accept_new_data", "NUMBER_INTEGER", "evaluation.accept_new_data", {"BaselineModel": ("data_accepted",)}
    ),
    *_thresholds("robustness", "RobustnessEvaluator", _ROBUSTNESS_BOUNDS, "robustness_"),
)
"""All parameters, without defaults."""


def parameters_of(settings: Settings, target: CompileTarget = "kfp") -> dict[str, PipelineParameter]:
    """Returns the parameters of the pipeline that these settings compile to, by name.

    Their defaults are the values of the settings; an unset `data.span` becomes -1, the newest. Vertex AI gets no
    parameter for the image: only KFP's driver can set the image at run time.
    """
    # Without Evaluator's bounds, ServingCheck has no minimum accuracy.
    unused = set() if settings.evaluation.enforced else {"ServingCheck"}

    def adapted(parameter: PipelineParameter) -> PipelineParameter:
        targets = {step: paths for step, paths in parameter.targets.items() if step not in unused}
        return replace(parameter, targets=targets, default=_value(settings, parameter.setting))

    return {
        parameter.name: adapted(parameter)
        for parameter in PARAMETERS
        if target == "kfp" or parameter.name != IMAGE_PARAMETER
    }


def parse_arguments(assignments: Sequence[str], parameters: Mapping[str, PipelineParameter]) -> dict[str, Value]:
    """Converts `name=value` texts to the arguments of a run.

    Args:
        assignments: The texts; a later one replaces an earlier one of the same name.
        parameters: The parameters of the pipeline by name.

    Raises:
        WrongDeploymentError: A text is not `name=value`, a parameter does not exist or has no value, or a value has
            the wrong type.
        SettingsError: The setting does not allow the value.
    """
    arguments: dict[str, Value] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not (name and separator):
            raise WrongDeploymentError(f"parameter {assignment!r}: expected name=value, such as epochs=3.")
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            existing = ", ".join(map(str, parameters.values())) or "none"
            raise WrongDeploymentError(f"parameter {name}: no such parameter; {hint}Parameters: {existing}.")
        try:
            arguments[name] = parameters[name].parse(text)
        except ValueError as error:
            raise WrongDeploymentError(f"parameter {parameters[name]}: {error}, not {text!r}.") from error
    missing = [str(each) for each in parameters.values() if each.default is None and each.name not in arguments]
    if missing:
        raise WrongDeploymentError(f"parameter {', '.join(missing)}: set a value with --param name=value.")
    load_settings(settings_values(arguments))
    return arguments


def settings_values(arguments: Mapping[str, Value]) -> dict[str, Any]:
    """Converts arguments of a run, by parameter, to nested overrides for `load_settings`, which checks them."""
    overrides: dict[str, Any] = {}
    for parameter in PARAMETERS:
        if parameter.name in arguments:
            value = arguments[parameter.name]
            section, key = parameter.setting.split(".")
            is_newest = parameter.name == "data_span" and value == NEWEST_SPAN
            overrides.setdefault(section, {})[key] = None if is_newest else value
    return overrides


def path_in_image(uri: str) -> str:
    """Returns the path of a file in the image: relative for a file of this project, else absolute; keeps a URL."""
    path = uri.removeprefix("file://")
    if "://" in path or "::" in path:
        return uri
    return os.path.abspath(os.path.expanduser(path)).removeprefix(f"{PROJECT_ROOT}{os.sep}")


def _value(settings: Settings, setting: str) -> Value:
    section, key = setting.split(".")
    value = getattr(getattr(settings, section), key)
    if setting == "data.uri":
        return path_in_image(value)
    # The types of parameters have no other form of a truth value that the command line can set.
    return NEWEST_SPAN if value is None else int(value) if isinstance(value, bool) else value
