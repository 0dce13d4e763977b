"""What can be chosen for each run of a compiled pipeline: Kubeflow's parameters, and the settings they stand for."""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.settings.settings import PROJECT_ROOT, Settings, SettingsError

ParameterType = Literal["STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE"]
Value = str | int | float

IMAGE_PARAMETER = "image"
NEWEST_SPAN = -1
_ROBUSTNESS_PREFIX = "robustness_"


@dataclass(frozen=True)
class Target:
    """Where a parameter goes.

    Attributes:
        step: Id of the step.
        path: The execution property and, if it is JSON, the keys below it, joined by dots.
    """

    step: str
    path: str


@dataclass(frozen=True)
class PipelineParameter:
    """A parameter of the compiled pipeline.

    Attributes:
        name: Its name.
        type: Its type, as Kubeflow names it.
        setting: The setting that it stands for, such as `trainer.epochs`.
        targets: Where it goes; the image goes into the containers of all steps instead.
    """

    name: str
    type: ParameterType
    setting: str
    targets: tuple[Target, ...] = ()

    @property
    def description(self) -> str:
        """What the setting means."""
        section, key = self.setting.split(".")
        annotation = Settings.model_fields[section].annotation
        return annotation.model_fields[key].description or "" if annotation else ""


# Fields of the named bounds in `pipeline.evaluation`, which would import TFMA.
_EVALUATION_BOUNDS: Mapping[str, tuple[str, ...]] = {
    "min_accuracy": ("accuracy.lower",),
    "min_digit_accuracy": ("recall.lower", "precision.lower"),
    "max_log_loss": ("log_loss.upper",),
    "max_calibration_error": ("calibration_error.upper",),
    "max_accuracy_drop": ("accuracy.max_worsening",),
    "max_digit_drop": ("recall.max_worsening", "precision.max_worsening"),
    "max_log_loss_rise": ("log_loss.max_worsening",),
    "max_calibration_error_rise": ("calibration_error.max_worsening",),
}
_ROBUSTNESS_BOUNDS: Mapping[str, tuple[str, ...]] = {
    "min_mean_accuracy": ("mean_accuracy.lower",),
    "min_accuracy": ("accuracy.lower",),
    "max_mean_drop": ("mean_accuracy.max_worsening",),
    "max_drop": ("accuracy.max_worsening",),
}


def _thresholds(
    section: str, step: str, bounds: Mapping[str, tuple[str, ...]], prefix: str = ""
) -> Iterator[PipelineParameter]:
    for key, paths in bounds.items():
        targets = tuple(Target(step, f"bounds.{path}") for path in paths)
        yield PipelineParameter(f"{prefix}{key}", "NUMBER_DOUBLE", f"{section}.{key}", targets)


PARAMETERS: tuple[PipelineParameter, ...] = (
    PipelineParameter("data_uri", "STRING", "data.uri", (Target("MnistExampleGen", "uri"),)),
    PipelineParameter("data_span", "NUMBER_INTEGER", "data.span", (Target("MnistExampleGen", "span"),)),
    PipelineParameter(IMAGE_PARAMETER, "STRING", "kubeflow.image"),
    PipelineParameter(
        "epochs", "NUMBER_INTEGER", "trainer.epochs", (Target("Trainer", "custom_config.hyperparameters.epochs"),)
    ),
    *_thresholds("evaluation", "Evaluator", _EVALUATION_BOUNDS),
    *_thresholds("robustness", "RobustnessEvaluator", _ROBUSTNESS_BOUNDS, _ROBUSTNESS_PREFIX),
)


VERTEX_PARAMETERS: tuple[PipelineParameter, ...] = tuple(
    parameter for parameter in PARAMETERS if parameter.name != IMAGE_PARAMETER
)
"""An image by parameter is a feature of KFP's own driver."""


def parameter_values(settings: Settings) -> dict[str, Value]:
    """Returns the value of every parameter that stands for the settings, typed as Kubeflow wants it.

    Args:
        settings: The settings; a `data.span` that is not set becomes -1, the newest.

    Returns:
        Values by the name of the parameter: the defaults of a pipeline that is compiled with these settings. For a run
        with values of its own, `parameter_values(load_settings(settings_values(given)))` has them checked and typed.
    """
    return {parameter.name: _value(settings, parameter.setting) for parameter in PARAMETERS}


def settings_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Turns values of parameters into values of the settings, which know what is allowed.

    `load_settings(settings_values({"epochs": "0"}))` is refused with the message of the setting:
    `trainer.epochs: Input should be greater than or equal to 1, not '0'.`

    Args:
        given: Values by the name of the parameter, typed or as texts.

    Returns:
        Nested overrides for `load_settings`.

    Raises:
        SettingsError: There is no such parameter.
    """
    settings_by_name = {parameter.name: parameter.setting for parameter in PARAMETERS}
    overrides: dict[str, Any] = {}
    for name, value in given.items():
        if name not in settings_by_name:
            raise SettingsError(f"{name}: no such parameter; {_hint(name)}allowed: {', '.join(settings_by_name)}.")
        section, key = settings_by_name[name].split(".")
        is_newest = name == "data_span" and str(value).strip() == str(NEWEST_SPAN)
        overrides.setdefault(section, {})[key] = None if is_newest else value
    return overrides


def path_in_image(uri: str) -> str:
    """Returns the name that data or a file of this project has in the image, where the project has another root.

    Args:
        uri: Path or URL.

    Returns:
        A path below the project as one that is relative to it; another path as it is, absolute; a URL as it is.
    """
    path = uri.removeprefix("file://")
    if "://" in path or "::" in path:
        return uri
    return os.path.abspath(os.path.expanduser(path)).removeprefix(f"{PROJECT_ROOT}{os.sep}")


def _value(settings: Settings, setting: str) -> Value:
    section, key = setting.split(".")
    value = getattr(getattr(settings, section), key)
    if setting == "data.uri":
        return path_in_image(value)
    return NEWEST_SPAN if value is None else value


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, [parameter.name for parameter in PARAMETERS], n=1)
    return f"did you mean {close[0]}? " if close else ""
