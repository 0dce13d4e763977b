"""Each rule, on a compiled pipeline that breaks it and nothing else."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.kubeflow.compile.checks import CompileError, check_spec

Spec = dict[str, Any]


def tasks(spec: Spec) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def container(spec: Spec, step: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]
    return found


def upper_case_name(spec: Spec) -> None:
    spec["pipelineInfo"]["name"] = "Digits"


def long_name(spec: Spec) -> None:
    spec["pipelineInfo"]["name"] = "d" * 129


def underscore_in_a_step(spec: Spec) -> None:
    tasks(spec)["Run_report"] = tasks(spec)["ServingCheck"]


def digit_first_in_a_step(spec: Spec) -> None:
    tasks(spec)["2ndTrainer"] = tasks(spec)["ServingCheck"]


def long_step(spec: Spec) -> None:
    tasks(spec)["S" * 122] = tasks(spec)["ServingCheck"]


def name_of_a_driver(spec: Spec) -> None:
    tasks(spec)["Trainer-driver"] = tasks(spec)["ServingCheck"]


def reserved_component(spec: Spec) -> None:
    spec["components"]["root"] = spec["components"]["ServingCheck"]
    tasks(spec)["ServingCheck"]["componentRef"]["name"] = "root"


def missing_component(spec: Spec) -> None:
    tasks(spec)["ServingCheck"]["componentRef"]["name"] = "Other"


def resolver(spec: Spec) -> None:
    spec["deploymentSpec"]["executors"]["BaselineModel_executor"] = {"resolver": {}}


def importer(spec: Spec) -> None:
    spec["deploymentSpec"]["executors"]["BaselineModel_executor"] = {"importer": {}}


def missing_dependency(spec: Spec) -> None:
    tasks(spec)["Trainer"]["dependentTasks"].append("Tuner")


def missing_producer(spec: Spec) -> None:
    tasks(spec)["Trainer"]["inputs"]["artifacts"]["examples"]["taskOutputArtifact"]["producerTask"] = "Tuner"


def missing_output(spec: Spec) -> None:
    tasks(spec)["Trainer"]["inputs"]["artifacts"]["examples"]["taskOutputArtifact"]["outputArtifactKey"] = "model"


def condition_on_no_input(spec: Spec) -> None:
    del tasks(spec)["Trainer"]["inputs"]["artifacts"]["_DataGate.verdict"]


def condition_on_no_definition(spec: Spec) -> None:
    del spec["components"]["Trainer"]["inputDefinitions"]["artifacts"]["_DataGate.verdict"]


def no_default(spec: Spec) -> None:
    del spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"]


def default_of_another_type(spec: Spec) -> None:
    spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"] = "8"


def no_value(spec: Spec) -> None:
    del tasks(spec)["Trainer"]["inputs"]["parameters"]["run_fn"]


def missing_parameter(spec: Spec) -> None:
    tasks(spec)["Trainer"]["inputs"]["parameters"]["epochs"] = {"componentInputParameter": "passes"}


def large_integer(spec: Spec) -> None:
    tasks(spec)["MnistExampleGen"]["inputs"]["parameters"]["seed"] = {"runtimeValue": {"constant": 2.0**53}}


def unknown_placeholder_in_arguments(spec: Spec) -> None:
    container(spec, "Trainer")["args"].append("--folder={{workflow.name}}")


def placeholder_of_no_input(spec: Spec) -> None:
    container(spec, "Trainer")["image"] = "{{$.inputs.parameters['picture']}}"


def placeholder_in_a_constant(spec: Spec) -> None:
    tasks(spec)["Trainer"]["inputs"]["parameters"]["run_fn"] = {"runtimeValue": {"constant": "a-{{item}}"}}


def placeholder_in_a_default(spec: Spec) -> None:
    spec["root"]["inputDefinitions"]["parameters"]["data_uri"]["defaultValue"] = "s3://{{x}}/y"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (upper_case_name, "pipeline name 'Digits': expected up to 128 of a-z, 0-9 and -"),
        (long_name, "pipeline name 'ddd"),
        (underscore_in_a_step, "step 'Run_report': Argo takes up to 121 letters, digits and -"),
        (digit_first_in_a_step, "step '2ndTrainer': Argo takes"),
        (long_step, "step 'SSS"),
        (name_of_a_driver, "step Trainer-driver: this is what KFP calls the driver of the step Trainer"),
        (reserved_component, "step ServingCheck: KFP keeps the name root for itself"),
        (missing_component, "step ServingCheck: there is no component Other"),
        (resolver, "step BaselineModel: it runs resolver, and Kubeflow Pipelines runs containers only"),
        (importer, "step BaselineModel: it runs importer, and"),
        (missing_dependency, "step Trainer: it waits for Tuner, which is no step"),
        (missing_producer, "step Trainer: input examples comes from Tuner, which is no step"),
        (missing_output, "step Trainer: input examples is model of Transform, which has no such output"),
        (condition_on_no_input, "step Trainer: its condition asks for _DataGate.verdict, which is no input of it"),
        (condition_on_no_definition, "step Trainer: its condition asks for _DataGate.verdict, which is no input of"),
        (no_default, "parameter epochs: expected a default of type NUMBER_INTEGER, not None"),
        (default_of_another_type, "parameter epochs: expected a default of type NUMBER_INTEGER, not '8'"),
        (no_value, "step Trainer: its parameter run_fn has no value"),
        (missing_parameter, "step Trainer: epochs comes from the parameter passes, which the pipeline lacks"),
        (large_integer, "step MnistExampleGen: seed is 9007199254740992, and Kubeflow Pipelines hands on integers"),
        (unknown_placeholder_in_arguments, "step Trainer: KFP or Argo would replace {{workflow.name}}"),
        (placeholder_of_no_input, "step Trainer: KFP or Argo would replace {{$.inputs.parameters['picture']}}"),
        (placeholder_in_a_constant, "step Trainer: KFP or Argo would replace {{item}}"),
        (placeholder_in_a_default, "a default of the pipeline: KFP or Argo would replace {{x}}"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(
    compiled_spec: Spec, break_it: Callable[[Spec], None], message: str
) -> None:
    check_spec(compiled_spec)
    break_it(compiled_spec)
    with pytest.raises(CompileError, match=f"^{re.escape(message)}") as caught:
        check_spec(compiled_spec)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(compiled_spec: Spec) -> None:
    no_default(compiled_spec)
    missing_dependency(compiled_spec)
    with pytest.raises(CompileError) as caught:
        check_spec(compiled_spec)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["step Trainer", "parameter epochs"]
