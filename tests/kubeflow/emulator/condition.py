"""Conditions of tasks: of CEL, the one form that TFX writes for a comparison of an artifact's property.

Source: TFX 1.21, tfx/orchestration/kubeflow/v2/compiler_utils.py (placeholder_to_cel); how Kubeflow Pipelines
evaluates it: kubeflow/pipelines 2.17.0, backend/src/v2/expression/expression.go.
"""

import operator
import re

from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.emulator.contract import ContractError, NotEmulatedError

_COMPARISON = re.compile(
    r"\(inputs\.artifacts\['(?P<key>[^']+)'\]\.artifacts\[(?P<index>\d+)\]\.metadata\['(?P<name>[^']+)'\] "
    r"(?P<operator>==|<|>) (?P<number>-?\d+\.\d+)\)"
)
_OPERATORS = {"==": operator.eq, "<": operator.lt, ">": operator.gt}


def holds(condition: str, executor_input: pipeline_spec_pb2.ExecutorInput) -> bool:
    """Evaluates the condition of a task.

    Args:
        condition: CEL over the fields of the executor input.
        executor_input: What the task is given.

    Returns:
        Whether the task is to run.

    Raises:
        ContractError: It speaks of an input or a property that is not there, or that is no number.
        NotEmulatedError: The condition is not of the form that TFX writes.
    """
    parsed = _COMPARISON.fullmatch(condition)
    if parsed is None:
        raise NotEmulatedError(f"the condition {condition!r}")
    artifacts = executor_input.inputs.artifacts
    if parsed["key"] not in artifacts:
        raise ContractError(f"evaluation error: no such key: {parsed['key']}")
    fields = artifacts[parsed["key"]].artifacts[int(parsed["index"])].metadata.fields
    if parsed["name"] not in fields or fields[parsed["name"]].WhichOneof("kind") != "number_value":
        raise ContractError(f"evaluation error: no such key, or no number: {parsed['name']}")
    return bool(_OPERATORS[parsed["operator"]](fields[parsed["name"]].number_value, float(parsed["number"])))
