from typing import Any

import pytest

from pipeline.kubeflow.deploy.arguments import PipelineInput, check_allowed, inputs_of, parse_arguments
from pipeline.kubeflow.deploy.errors import WrongDeploymentError
from pipeline.settings.settings import SettingsError, load_settings

INPUTS = {
    each.name: each
    for each in (
        PipelineInput("epochs", "NUMBER_INTEGER", 8),
        PipelineInput("share", "NUMBER_DOUBLE", 0.5),
        PipelineInput("data_uri", "STRING", "data/mnist.npz"),
        PipelineInput("is_dry", "BOOLEAN", False),
    )
}


@pytest.mark.parametrize(
    ("text", "value"),
    [("epochs=3", 3), ("epochs=-1", -1), ("share=1", 1.0), ("share=.5e-3", 0.0005), ("data_uri=a=b ", "a=b ")],
)
def test_values_have_the_type_of_the_parameter(text: str, value: Any) -> None:
    arguments = parse_arguments(["epochs=5", "share=0.1", "data_uri=x", text], INPUTS)
    name = text.partition("=")[0]
    assert (arguments[name], type(arguments[name])) == (value, type(value))


@pytest.mark.parametrize("text", ["epochs=3.0", "epochs=", "share=inf", "share=1e999", "share=half", "is_dry=true"])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(WrongDeploymentError, match=rf"parameter {text.partition('=')[0]} \([A-Z_]+, default"):
        parse_arguments([text], INPUTS)


def test_a_parameter_without_a_default_is_asked_for() -> None:
    with pytest.raises(WrongDeploymentError, match=r"parameter root \(STRING, no default\): give a value with --param"):
        parse_arguments([], {"root": PipelineInput("root", "STRING", None)})


def test_defaults_are_those_of_the_settings() -> None:
    inputs = inputs_of(load_settings({"trainer": {"epochs": 3}}))
    assert str(inputs["epochs"]) == "epochs (NUMBER_INTEGER, default 3)"
    assert parse_arguments([], inputs) == {}


def test_values_keep_to_the_rules_of_the_settings() -> None:
    check_allowed({"epochs": 1, "data_span": -1, "of_another_pipeline": "x"})
    with pytest.raises(SettingsError, match="trainer.epochs: Input should be greater than or equal to 1, not 0"):
        check_allowed({"epochs": 0})
