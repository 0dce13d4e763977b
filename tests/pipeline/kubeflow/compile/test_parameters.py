import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.compile.compiler import compile_pipeline
from pipeline.kubeflow.compile.parameters import (
    PARAMETERS,
    PipelineParameter,
    WrongDeploymentError,
    parameters_of,
    parse_arguments,
    path_in_image,
    settings_values,
)
from pipeline.kubeflow.step.executor_messages import apply_overrides
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from pipeline.settings.settings import PROJECT_ROOT, SettingsError, load_settings

NO_FILE = Path(os.devnull)
# Distinct values, so that no two parameters can be confused.
CHOSEN: dict[str, Any] = {
    "data_uri": "s3://bucket/span-{SPAN}",
    "data_span": 17,
    "image": "registry.example.com/digits:2",
    "epochs": 23,
    "accept_new_data": 1,
    **{
        parameter.name: 0.101 + number / 1000
        for number, parameter in enumerate(PARAMETERS)
        if parameter.type == "NUMBER_DOUBLE"
    },
}


def task_parameters(spec: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"]
    return found


def constants(spec: dict[str, Any], step: str) -> dict[str, Any]:
    """Returns the execution properties of TFX, with JSON parsed."""
    return {
        key: parsed(source["runtimeValue"]["constant"])
        for key, source in task_parameters(spec, step).items()
        if "runtimeValue" in source
    }


def overridden(spec: dict[str, Any], step: str, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the properties after the entry point has applied the values of a run."""
    sources = task_parameters(spec, step)
    given = {
        key: values[source["componentInputParameter"]]
        if "componentInputParameter" in source
        else source["runtimeValue"]["constant"]
        for key, source in sources.items()
    }
    arguments = spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]["args"]
    overrides = [each.removeprefix("--override=") for each in arguments if each.startswith("--override=")]
    properties = apply_overrides(given, overrides, {})
    assert properties.pop("image") == values["image"]
    return {key: parsed(value) for key, value in properties.items()}


def parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def test_a_value_of_a_run_has_the_effect_of_the_setting(compiled_spec: dict[str, Any]) -> None:
    settings = load_settings({"profile": "smoke"} | settings_values(CHOSEN), file=NO_FILE)
    as_settings, _ = yaml.safe_load_all(compile_pipeline(settings, "kfp"))
    parameters = parameters_of(load_settings({"profile": "smoke"}, file=NO_FILE))
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert set(CHOSEN) == set(defaults) == set(compiled_spec["root"]["inputDefinitions"]["parameters"])
    concerned = set()
    for step in compiled_spec["root"]["dag"]["tasks"]:
        assert overridden(compiled_spec, step, CHOSEN) == constants(as_settings, step)
        assert overridden(compiled_spec, step, defaults) == constants(compiled_spec, step)
        if constants(compiled_spec, step) != constants(as_settings, step):
            concerned.add(step)
    gates = {"BaselineModel", "Evaluator", "RobustnessEvaluator", "ServingCheck"}
    assert concerned == {"MnistExampleGen", "Trainer", *gates, "Pusher", "RunReport", "DataReport"}


@pytest.mark.parametrize(("enforced", "steps"), [(True, {"Evaluator", "ServingCheck"}), (False, {"Evaluator"})])
def test_serving_check_has_a_minimum_accuracy_if_evaluator_is_enforced(enforced: bool, steps: set[str]) -> None:
    parameters = parameters_of(load_settings({"evaluation": {"enforced": enforced}}, file=NO_FILE))
    assert set(parameters["min_accuracy"].targets) == steps


def test_every_threshold_is_a_parameter() -> None:
    thresholds = {
        f"{section}.{key}"
        for section, fields in (("evaluation", EvaluationSettings), ("robustness", RobustnessSettings))
        for key in fields.model_fields
        if key.startswith(("min_", "max_"))
    }
    chosen = {"data.uri", "data.span", "kubeflow.image", "trainer.epochs", "evaluation.accept_new_data"}
    assert {parameter.setting for parameter in PARAMETERS} == thresholds | chosen
    assert all(parameter.description for parameter in PARAMETERS)


READ_FROM_A_FILE = {
    each.name: each
    for each in (
        PipelineParameter("count", "NUMBER_INTEGER", default=8),
        PipelineParameter("share", "NUMBER_DOUBLE", default=0.5),
        PipelineParameter("data_uri", "STRING", default="data/mnist.npz"),
        PipelineParameter("is_dry", "BOOLEAN", default=False),
    )
}


@pytest.mark.parametrize(
    ("text", "value"),
    [("count=3", 3), ("count=-1", -1), ("share=1", 1.0), ("share=.5e-3", 0.0005), ("data_uri=a=b ", "a=b ")],
)
def test_arguments_have_the_type_of_the_parameter(text: str, value: Any) -> None:
    arguments = parse_arguments(["count=5", "share=0.1", "data_uri=x", text], READ_FROM_A_FILE)
    name = text.partition("=")[0]
    assert (arguments[name], type(arguments[name])) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    ["count=3.0", "count=", "share=inf", "share=1e999", "share=half", "is_dry=true", "data_uri=s3://{{workflow.name}}"],
)
def test_arguments_of_another_type_are_refused(text: str) -> None:
    with pytest.raises(
        WrongDeploymentError, match=rf"parameter {text.partition('=')[0]} \([A-Z_]+, default .* expected"
    ):
        parse_arguments([text], READ_FROM_A_FILE)


def test_a_parameter_without_a_default_needs_a_value() -> None:
    with pytest.raises(WrongDeploymentError, match=r"parameter root \(STRING, no default\): set a value with --param"):
        parse_arguments([], {"root": PipelineParameter("root", "STRING")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs=0", "^trainer.epochs: Input should be greater than or equal to 1, not 0"),
        ("min_accuracy=99", "^evaluation.min_accuracy: Input should be less than or equal to 1, not 99.0"),
        ("image=Digits", "^kubeflow.image: expected an image: "),
        ("data_span=-2", "^data.span: Input should be greater than or equal to 0"),
    ],
)
def test_arguments_are_checked_like_settings(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_arguments([text], parameters_of(load_settings(file=NO_FILE)))


def test_the_newest_span() -> None:
    parameters = parameters_of(load_settings(file=NO_FILE))
    assert parameters["data_span"].default == -1
    assert parse_arguments(["data_span=-1"], parameters) == {"data_span": -1}
    assert settings_values({"data_span": -1}) == {"data": {"span": None}}


def test_vertex_ai_has_no_parameter_for_the_image() -> None:
    settings = load_settings(file=NO_FILE)
    assert set(parameters_of(settings)) - set(parameters_of(settings, "vertex")) == {"image"}


def test_paths_in_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_in_image(str(PROJECT_ROOT / "data" / "mnist.npz")) == "data/mnist.npz"
    assert path_in_image(f"file://{PROJECT_ROOT}/data/mnist.npz") == "data/mnist.npz"
    assert path_in_image("/data/span-{SPAN}/x.npz") == "/data/span-{SPAN}/x.npz"
    assert path_in_image(f"{PROJECT_ROOT}-other/x.npz") == f"{PROJECT_ROOT}-other/x.npz"
    assert path_in_image("s3://bucket/x.npz") == "s3://bucket/x.npz"
    monkeypatch.chdir(tmp_path)
    assert path_in_image("x.npz") == str(tmp_path / "x.npz")
    monkeypatch.chdir(PROJECT_ROOT / "data")
    assert path_in_image("mnist.npz") == "data/mnist.npz"
