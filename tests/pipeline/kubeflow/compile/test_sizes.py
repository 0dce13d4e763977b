from typing import Any

import pytest

from pipeline.kubeflow.compile.checks import CompileError
from pipeline.kubeflow.compile.sizes import check_sizes, executor_input_estimate

KIB = 1024


def test_this_pipeline_is_far_below_the_limits(compiled_spec: dict[str, Any], compiled_smoke: str) -> None:
    check_sizes(compiled_spec, compiled_smoke)
    largest = max(executor_input_estimate(compiled_spec, step) for step in compiled_spec["root"]["dag"]["tasks"])
    assert largest < 96 * KIB


def test_an_argument_that_linux_does_not_take(compiled_spec: dict[str, Any]) -> None:
    container = compiled_spec["deploymentSpec"]["executors"]["Trainer_executor"]["container"]
    # One of 128 KiB has no room for its terminating zero.
    container["args"].append("--text=" + "x" * (128 * KIB - 7))
    with pytest.raises(CompileError, match="step Trainer: its argument --text=xxx.* has 131,072 bytes, .* 131,072"):
        check_sizes(compiled_spec, "")


@pytest.mark.parametrize("part", ["task", "input"])
def test_a_constant_that_makes_the_arguments_of_the_driver_too_large(compiled_spec: dict[str, Any], part: str) -> None:
    inputs = compiled_spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    inputs["run_fn"]["runtimeValue"]["constant"] = "x" * 128 * KIB
    with pytest.raises(CompileError, match=f"step Trainer: its {part} has 1[35][0-9],[0-9]* bytes"):
        check_sizes(compiled_spec, "")


def test_the_estimate_counts_defaults_and_artifacts(compiled_spec: dict[str, Any]) -> None:
    before = executor_input_estimate(compiled_spec, "MnistExampleGen")
    compiled_spec["root"]["inputDefinitions"]["parameters"]["data_uri"]["defaultValue"] += "x" * 1_000
    assert executor_input_estimate(compiled_spec, "MnistExampleGen") == before + 1_000
    artifacts = compiled_spec["components"]["MnistExampleGen"]["outputDefinitions"]["artifacts"]
    artifacts["more"] = artifacts["examples"]
    assert executor_input_estimate(compiled_spec, "MnistExampleGen") > before + 6_000


def test_a_file_that_the_server_does_not_take(compiled_spec: dict[str, Any]) -> None:
    with pytest.raises(CompileError, match="^the compiled pipeline has 33,554,433 bytes, and .* takes 33,554,432"):
        check_sizes(compiled_spec, "x" * (32 * KIB * KIB + 1))
