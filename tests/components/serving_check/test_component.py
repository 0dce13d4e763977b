import json

from tfx.types import Channel
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model

from components.serving_check.component import ServingCheck
from components.serving_check.executor import Executor
from components.serving_check.limits import ServingLimits
from components.verdict_artifact import VerdictArtifact


def test_contract() -> None:
    model, examples = Channel(type=Model), Channel(type=Examples)
    step = ServingCheck(
        model,
        examples,
        split="test",
        limits=ServingLimits(huge_batch=7),
        model_name="digits",
    )
    assert step.inputs == {"model": model, "examples": examples}
    assert {key: channel.type for key, channel in step.outputs.items()} == {
        "blessing": InfraBlessing,
        "verdict": VerdictArtifact,
    }
    assert step.executor_spec.executor_class is Executor
    limits = json.loads(step.exec_properties.pop("limits"))
    assert limits["huge_batch"] == 7
    assert step.exec_properties == {"split": "test", "model_name": "digits"}
